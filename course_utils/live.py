"""Lessons 7 to 9: a fine-tuning run that can be steered while it goes on. No widgets here; those are in `labs`."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from datasets import Dataset
from torch.nn import functional as F

from course_utils.evaluation import Evaluation, predict_logits
from course_utils.pipeline import make_loader, make_optimizer, make_scheduler
from course_utils.training import (
    FineTuneSettings,
    History,
    check_settings,
    copy_weights,
    put_weights,
    record_epoch,
    train_steps,
    update_best,
)

PIECE = 8  # rows that go through the network at once, so that Stop need not wait for a whole batch


class Stopped(Exception):
    """Raised inside a run when somebody asked it to stop."""


class LiveTraining:
    """One fine-tuning run of `steps` optimizer steps, in a thread of its own (`start`) or at once (`run`).

    It is the loop of lesson 5 with a hand on it: between two small batches it looks whether it should pause or stop,
    and between two steps whether it has a new learning rate. A validation every `validate_every` steps makes a row of
    `history.epochs`; `settings.patience` counts these, `settings.epochs` is not looked at. Both ways give the same
    numbers for the same settings, unless another cell draws from PyTorch's random numbers while a run with dropout goes
    on. At the end, however it comes, the model has the weights of its best validation (those it began with, if there
    was none).

    `state` is "ready", "running", "paused", or how it ended: "finished", "stopped early", "stopped" (by hand),
    "diverged" or "failed"; `message` is then the reason in one sentence. `changes` lists (step, new learning rate);
    `wanted_rate` is the learning rate before the schedule scales it, `rate` the one of the step in hand; `name` is for
    legends. `on_change(run)` is called in the training thread before every small batch, after every step and at every
    change of state.

    Raises ValueError for impossible settings.
    """

    def __init__(
        self,
        model,
        train: Dataset,
        validation: Dataset,
        settings: FineTuneSettings | None = None,
        steps: int = 120,
        validate_every: int = 20,
        on_change: Callable[["LiveTraining"], None] | None = None,
    ):
        self.settings = settings or FineTuneSettings()
        check_settings(self.settings)
        if steps < 1 or validate_every < 1:
            raise ValueError(f"steps and validate_every count from 1 up, got {steps} and {validate_every}.")
        self.model, self.train, self.steps, self.validate_every = model, train, steps, validate_every
        # Rows of one length together: little padding when a few of them are validated at a time.
        self.validation = validation.select(np.argsort([len(ids) for ids in validation["input_ids"]], kind="stable"))
        self.on_change = on_change or (lambda run: None)
        self.history, self.state, self.message, self.name = History(), "ready", "", ""
        self.rate = 0.0
        self.changes: list[tuple[int, float]] = []
        self.commonest: tuple[str, float] | None = None  # the label predicted most at the last validation, its share
        self.wanted_rate = self.settings.learning_rate
        self._stop, self._go = threading.Event(), threading.Event()
        self._go.set()
        self._times: deque[float] = deque(maxlen=11)
        self._thread: threading.Thread | None = None

    # --- the hand on it -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Train in the background. Raises RuntimeError when the run has been started before."""
        if self.state != "ready":
            raise RuntimeError("This run has been started before: make a new one.")
        self._enter("running")
        # A daemon: it ends with the kernel and leaves nothing behind.
        self._thread = threading.Thread(target=self._train_to_the_end, name="live training", daemon=True)
        self._thread.start()

    def run(self, steps: int | None = None) -> History:
        """Train at once, in the caller's thread, for at most `steps` steps; return the history."""
        if self.state != "ready":
            raise RuntimeError("This run has been started before: make a new one.")
        self._enter("running")
        self._train_to_the_end(steps)
        return self.history

    def pause(self) -> None:
        """Hold after the small batch in hand, until `resume`."""
        if self.state == "running":
            self._go.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        self._times.clear()
        self._go.set()

    def stop(self) -> None:
        """End the run after the small batch in hand; what it learned up to its best validation is kept."""
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
    def speed(self) -> float:
        """Optimizer steps a second, over the last ten."""
        if len(self._times) < 2 or self._times[-1] == self._times[0]:
            return 0.0
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    # --- what goes on in the thread -----------------------------------------------------------------------------

    def _enter(self, state: str, message: str = "") -> None:
        self.state, self.message = state, message
        self.on_change(self)

    def _train_to_the_end(self, limit: int | None = None) -> None:
        """Run through all steps; turn every way to end into a state and a sentence."""
        best = copy_weights(self.model)
        end, message = "finished", ""
        try:
            for step in self._optimizer_steps(min(self.steps, limit or self.steps)):
                if step % self.validate_every == 0:
                    self._validate()
                    if update_best(self.history, self.settings):
                        best = copy_weights(self.model)
                    if self.history.ended != "running":
                        end = self.history.ended
                        break
        except Stopped:
            end = "stopped"
        except KeyboardInterrupt:  # the notebook's stop button, when the run is not in a thread
            end = "stopped"
        except FloatingPointError:
            end = "diverged"
            message = (
                f"The loss is no longer a number: it has diverged at a learning rate of {self.rate:.1e}; lower it."
            )
        except Exception as error:  # a thread's error would be lost otherwise; nobody waits for it
            end, message = "failed", f"{type(error).__name__}: {error}"
        put_weights(self.model, best)
        self.model.eval()
        self.history.ended = end
        self._enter(end, message)

    def _optimizer_steps(self, count: int) -> Iterator[int]:
        """Train; yield the number of every optimizer step after it is done."""
        size = min(PIECE, self.settings.batch_size)
        settings = replace(self.settings, batch_size=size, accumulate=max(1, self.settings.batch_size // size))
        optimizer = make_optimizer(self.model, self.wanted_rate, settings.weight_decay, settings.layer_decay)
        scheduler = make_scheduler(optimizer, self.steps, settings.warmup_share, settings.schedule)
        shares = [base / self.wanted_rate for base in scheduler.base_lrs]  # 1, unless the rate differs between layers
        torch.manual_seed(settings.seed)  # dropout draws from here
        rate = self._apply_rate(optimizer, scheduler, shares)
        for loss in train_steps(self.model, self._batches(size), optimizer, scheduler, settings):
            self.history.loss.append(loss)
            self.history.learning_rate.append(rate)
            self._times.append(time.monotonic())
            yield len(self.history.loss)
            if len(self.history.loss) >= count:
                return
            self.on_change(self)  # who watches may still choose the next step's rate
            rate = self._apply_rate(optimizer, scheduler, shares)

    def _batches(self, size: int) -> Iterator[dict]:
        """Yield small batches without end, epoch after epoch, and obey pause and stop before each."""
        loader = make_loader(self.train, size, self.model.config.pad_token_id, self.settings.seed)
        epoch = 0
        while True:
            epoch += 1
            loader.batch_sampler.set_epoch(epoch)
            for batch in loader:
                self._obey()
                yield {name: tensor.to(self.model.device) for name, tensor in batch.items()}

    def _obey(self) -> None:
        """Wait while paused; raise Stopped when asked to stop."""
        if not self._go.is_set():
            self._enter("paused")
            self._go.wait()
            self._enter("running")
        if self._stop.is_set():
            raise Stopped
        self.on_change(self)

    def _next_rate(self) -> float:
        return self.wanted_rate

    def _apply_rate(self, optimizer, scheduler, shares: list[float]) -> float:
        """Give the optimizer the rate that is wanted now, scaled by the schedule; return the head's."""
        wanted = self._next_rate()
        if wanted != scheduler.base_lrs[0]:
            self.changes.append((len(self.history.loss) + 1, wanted))
        scheduler.base_lrs = [wanted * share for share in shares]
        for group, base, scale in zip(optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
            group["lr"] = base * scale(scheduler.last_epoch)
        self.rate = optimizer.param_groups[0]["lr"]
        return self.rate

    def _validate(self) -> None:
        """Evaluate on the validation rows, a few at a time, and add a row to the history."""
        start, logits = time.monotonic(), []
        for first in range(0, len(self.validation), 2 * PIECE):
            self._obey()
            rows = self.validation[first : first + 2 * PIECE]["input_ids"]
            logits.append(predict_logits(self.model, rows))
        probabilities = F.softmax(torch.cat(logits), dim=-1).numpy()
        names, true = self.validation.features["label"].names, np.array(self.validation["label"])
        result = Evaluation(names, true, probabilities.argmax(axis=1), probabilities)
        counts = np.bincount(result.predicted, minlength=len(names))
        self.commonest = (names[counts.argmax()], counts.max() / counts.sum())
        epoch = len(self.history.epochs) + 1
        record_epoch(self.history, epoch, result, self.validate_every, time.monotonic() - start)


class RangeTest(LiveTraining):
    """Raise the learning rate by a factor at every step, from `low` to `high`, and watch the loss.

    Where it falls most steeply is a good rate, where it blows up is one too many. After Smith 2017, arXiv:1506.01186,
    who raised the rate linearly and watched accuracy.

    The sweep ends when the smoothed loss is half as high again as it was at the start.
    """

    def __init__(self, model, train, validation, settings=None, steps=100, low=1e-6, high=1.0, on_change=None):
        settings = replace(settings or FineTuneSettings(), warmup_share=0.0, schedule="constant", learning_rate=low)
        super().__init__(model, train, validation, settings, steps, validate_every=steps + 1, on_change=on_change)
        self.low, self.high = low, high

    def _next_rate(self) -> float:
        step = len(self.history.loss)
        return self.low * (self.high / self.low) ** (step / max(1, self.steps - 1))

    def _optimizer_steps(self, count: int) -> Iterator[int]:
        for step in super()._optimizer_steps(count):
            yield step
            smoothed = running_mean(self.history.loss)
            if step > 10 and smoothed[-1] > 1.5 * smoothed[9]:
                return


def read_range_test(rates: list[float], losses: list[float]) -> tuple[float, float | None]:
    """Read a range test: (rate where the smoothed loss falls most steeply, rate where it blows up or None).

    Steepness is the fall of the loss for each tenfold of the rate. The blow-up is the first rate after the lowest
    point at which the smoothed loss is above its value at the start. Raises ValueError for fewer than 20 steps.
    """
    if len(losses) < 20:
        raise ValueError(f"A range test needs at least 20 steps to be read, this one has {len(losses)}.")
    smoothed = running_mean(losses)
    slope = np.gradient(smoothed[9:], np.log10(rates[9:]))
    lowest = int(np.argmin(smoothed))
    above = [i for i in range(lowest, len(losses)) if smoothed[i] > smoothed[9]]
    steepest = 9 + int(np.argmin(slope[: max(1, lowest - 8)]))
    return rates[steepest], rates[above[0]] if above else None


def running_mean(values: list[float], window: int = 10) -> np.ndarray:
    """Mean of the last `window` values at every place, fewer at the start; shape as given."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def diagnose(run: LiveTraining) -> str:
    """Say in one sentence how a run is doing, from its loss and its predictions."""
    loss = run.history.loss
    if run.state == "diverged":
        return run.message
    if len(loss) < 20:
        return "Too early to say."
    smoothed = running_mean(loss)
    lowest = int(np.argmin(smoothed[9:])) + 9
    chance = math.log(run.model.config.num_labels)
    if smoothed[-1] > max(1.2 * smoothed[lowest], chance + 0.3):
        return f"The loss is at ≈ {smoothed[-1]:.1f}, and rising since step ≈ {lowest + 1}: the rate is too high."
    if smoothed[-1] > max(loss[0], chance) + 0.3:
        return f"The loss is at ≈ {smoothed[-1]:.1f}, above the ≈ {loss[0]:.1f} it began with: the rate is too high."
    if run.commonest is not None and run.commonest[1] > 0.95:
        return f"It puts nearly every message into {run.commonest[0]!r}: stuck at one class."
    fall = smoothed[9] - smoothed[-1]
    if abs(fall) < 0.1 and len(loss) >= 40:
        flat = f"Since step 10 the loss has moved by only ≈ {abs(fall):.2f}"
        return f"{flat}: the rate is too low, or so high that the network is stuck."
    if fall <= 0:
        return "The loss is not falling yet."
    end = f", and is no better yet than guessing (≈ {chance:.2f})." if smoothed[-1] > chance - 0.1 else "."
    return f"The loss has fallen by ≈ {fall:.2f} since step 10{end}"


def describe(run: LiveTraining) -> str:
    """The facts of the chart as one line of text; ≈ stands before what was measured on a trained network."""
    history = run.history
    if run.state == "failed":
        return f"The run failed. {run.message}"
    if not history.loss:
        return f"{run.state.capitalize()}: no step done yet."
    place = f", step {len(history.loss)} of" if run.is_going else f" after {len(history.loss)} of"
    parts = [
        f"{run.state.capitalize()}{place} {run.steps} steps",
        f"loss ≈ {history.loss[-1]:.2f} (mean of 10 steps: ≈ {running_mean(history.loss)[-1]:.2f})",
        f"learning rate {history.learning_rate[-1]:.2g}",
    ]
    if history.epochs:
        last, best = history.epochs[-1], history.epochs[(history.best_epoch or 1) - 1]
        name = "lowest validation loss" if run.settings.monitor == "validation_loss" else "best validation"
        there = f"≈ {best['macro_f1']:.2f} at the {name}, step ≈ {best['step']}"
        parts.append(f"validation macro-F1 ≈ {last['macro_f1']:.2f} ({there})")
    if run.is_going:
        parts.append(f"{run.speed:.1f} steps/s")
    return "; ".join(parts) + ". " + diagnose(run)
