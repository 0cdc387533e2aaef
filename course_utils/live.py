"""Lessons 7 to 9: the loop of lesson 5 in a thread, with a hand on it. No widgets here; those are in `labs`."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from datasets import Dataset

from course_utils.diagnosis import running_mean
from course_utils.history import FineTuneSettings, History, check_settings
from course_utils.pipeline import steps_in_epoch
from course_utils.training import copy_weights, put_weights, train_and_validate


class Stopped(Exception):
    """Raised inside a run when somebody asked it to stop."""


def check_limit(steps: int | None) -> None:
    """Raise ValueError for a largest number of steps that allows none."""
    if steps is not None and steps < 1:
        raise ValueError(f"steps is the largest number of steps, 1 or more, got {steps}.")


class LiveTraining:
    """One fine-tuning run, in a thread of its own (`start`) or at once (`run`).

    It is `training.train_and_validate` with a hand on it: before every batch it looks whether it should pause or stop,
    and before every step whether it has a new learning rate. Everything else is that loop's: same settings, same
    batches, same losses as `fine_tune`, unless another cell draws from PyTorch's random numbers while a run with
    dropout goes on. At the end, however it comes, the model has the weights of its best validation (those it began
    with, if there was none).

    `state` is "ready", "running", "paused", or how it ended: "finished", "stopped early", "stopped" (by hand),
    "diverged" or "failed"; `message` is then the reason in one sentence. `changes` lists (step, new learning rate);
    `wanted_rate` is the learning rate before the schedule scales it, `rate` the one of the last step; `steps` is the
    length of the whole run; `name` is for legends.

    `on_change(run)` is called in the training thread before every batch, after every step and at every change of state.
    `on_end(run)` is called there once, when the best weights are back and `outcome` says how the run ended, but while
    it still counts as going on: what it does belongs to the run.

    Raises ValueError for impossible settings.
    """

    def __init__(
        self,
        model,
        train: Dataset,
        validation: Dataset | None,
        settings: FineTuneSettings | None = None,
        on_change: Callable[["LiveTraining"], None] | None = None,
        on_end: Callable[["LiveTraining"], None] | None = None,
    ):
        self.settings = settings or FineTuneSettings()
        check_settings(self.settings)
        self.model, self.train, self.validation = model, train, validation
        self.steps = self.settings.steps or self.settings.epochs * steps_in_epoch(
            len(train), self.settings.batch_size, self.settings.accumulate
        )
        self.on_change, self.on_end = on_change or (lambda run: None), on_end or (lambda run: None)
        self.history, self.state, self.outcome, self.message, self.name = History(), "ready", "", "", ""
        self.changes: list[tuple[int, float]] = []
        self.wanted_rate = self._last_wanted = self.settings.learning_rate
        self._stop, self._go = threading.Event(), threading.Event()
        self._go.set()
        self._times: deque[float] = deque(maxlen=11)
        self._counted = 0
        self._thread: threading.Thread | None = None

    # --- the hand on it -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Train in the background. Raises RuntimeError when the run has been started before."""
        self._begin()
        # A daemon: it ends with the kernel and leaves nothing behind.
        self._thread = threading.Thread(target=self._train_to_the_end, name="live training", daemon=True)
        self._thread.start()

    def run(self, steps: int | None = None) -> History:
        """Train at once, in the caller's thread, for at most `steps` steps; return the history.

        Raises ValueError for less than one step.
        """
        check_limit(steps)
        self._begin()
        self._train_to_the_end(steps)
        return self.history

    def pause(self) -> None:
        """Hold after the batch in hand, until `resume`."""
        if self.state == "running":
            self._go.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        self._times.clear()
        self._go.set()

    def stop(self) -> None:
        """End the run after the batch in hand; what it learned up to its best validation is kept."""
        self._stop.set()
        self._go.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the run has ended, for at most `seconds`; return whether it has."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.is_going

    def set_learning_rate(self, rate: float) -> None:
        """Take another learning rate from the next step on; the schedule goes on scaling it. Must be above 0."""
        if not rate > 0:
            raise ValueError(f"The learning rate must be above 0, got {rate}.")
        self.wanted_rate = rate

    def release(self) -> None:
        """Let go of the network and the data of a run that has ended; its history stays."""
        self.model = self.train = self.validation = None

    @property
    def is_held(self) -> bool:
        """Whether a pause was asked for."""
        return not self._go.is_set()

    @property
    def is_going(self) -> bool:
        """Whether the run has begun and not ended."""
        return self.state in ("running", "paused")

    @property
    def rate(self) -> float:
        """The learning rate of the last step, as the schedule scaled it; 0 before the first."""
        return self.history.learning_rate[-1] if self.history.learning_rate else 0.0

    @property
    def speed(self) -> float:
        """Optimizer steps a second, over the last ten."""
        if len(self._times) < 2 or self._times[-1] == self._times[0]:
            return 0.0
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    # --- what goes on in the thread -----------------------------------------------------------------------------

    def _begin(self) -> None:
        if self.state != "ready":
            raise RuntimeError("This run has been started before: make a new one.")
        self.state = "running"

    def _enter(self, state: str) -> None:
        self.state = state
        self.on_change(self)

    def _train_to_the_end(self, limit: int | None = None) -> None:
        """Run the loop; turn every way to end into a state and a sentence."""
        try:
            self.on_change(self)
            self._run_loop(limit)
            self.outcome = self.history.ended
        except (Stopped, KeyboardInterrupt):  # the latter is the notebook's stop button, when there is no thread
            self.outcome = self.history.ended = "stopped"
        except FloatingPointError:
            self.outcome = self.history.ended = "diverged"
            rate = f"{self._last_wanted:.1e}"
            self.message = f"The loss is no longer a number: it has diverged at a learning rate of {rate}; lower it."
        except Exception as error:  # a thread's error would be lost otherwise; nobody waits for it
            self.outcome, self.message = "failed", f"{type(error).__name__}: {error}"
        try:
            self.on_end(self)
        except KeyboardInterrupt:
            self.outcome = "stopped"
        except Exception as error:
            self.outcome, self.message = "failed", f"{type(error).__name__}: {error}"
        self._enter(self.outcome)

    def _run_loop(self, limit: int | None = None) -> None:
        """Train and validate, step by step."""
        loop = train_and_validate(
            self.model,
            self.train,
            self.validation,
            self.settings,
            rate_at=self._take_rate,
            before_batch=self._obey,
            limit=limit,
        )
        with closing(loop):
            self.history = next(loop)
            for _ in loop:
                if len(self.history.loss) > self._counted:  # after a step, and not after a validation
                    self._counted = len(self.history.loss)
                    self._times.append(time.monotonic())
                if self._is_over():
                    break
                self.on_change(self)

    def _is_over(self) -> bool:
        """Whether the run ends here although its steps are not done; never, for a plain run."""
        return False

    def _next_rate(self, step: int) -> float:
        """The learning rate wanted for the step that comes after `step` steps."""
        return self.wanted_rate

    def _take_rate(self, step: int) -> float:
        """Read the wanted rate, once, and note it when it is a new one."""
        rate = self._next_rate(step)
        if rate != self._last_wanted:
            self.changes.append((step + 1, rate))
        self._last_wanted = rate
        return rate

    def _obey(self) -> None:
        """Wait while paused; raise Stopped when asked to stop."""
        if not self._go.is_set() and not self._stop.is_set():
            self._enter("paused")
            self._go.wait()
            self._enter("running")
        if self._stop.is_set():
            raise Stopped
        self.on_change(self)


class RangeTest(LiveTraining):
    """Raise the learning rate by a factor at every step, from `low` to `high`, and watch the loss.

    Where it falls most steeply is a good rate, where it blows up is one too many. After Smith 2017, arXiv:1506.01186,
    who raised the rate linearly and watched accuracy.

    The sweep ends when the smoothed loss is half as high again as it was at the start. It leaves the model as it was.
    """

    def __init__(self, model, train, settings=None, steps=100, low=1e-6, high=1.0, on_change=None, on_end=None):
        settings = replace(
            settings or FineTuneSettings(), learning_rate=low, steps=steps, warmup_share=0.0, schedule="constant"
        )
        super().__init__(model, train, None, settings, on_change, on_end)
        self.low, self.high = low, high

    def _next_rate(self, step: int) -> float:
        return self.low * (self.high / self.low) ** (step / max(1, self.steps - 1))

    def _is_over(self) -> bool:
        smoothed = running_mean(self.history.loss)
        if len(smoothed) > 10 and smoothed[-1] > 1.5 * smoothed[9]:
            self.history.ended = "finished"
            return True
        return False

    def _run_loop(self, limit: int | None = None) -> None:
        untrained = copy_weights(self.model)
        try:
            super()._run_loop(limit)
        finally:
            put_weights(self.model, untrained)
