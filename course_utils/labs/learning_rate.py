"""Lesson 7: the learning rate, turned while the network trains."""

from typing import ClassVar

from matplotlib.figure import Figure

from course_utils import plots
from course_utils.data import QUEUES, load_ticket_splits, take_per_label, tokenize
from course_utils.devices import pick_device
from course_utils.diagnosis import describe_run, noise, read_range_test, running_mean
from course_utils.history import FineTuneSettings
from course_utils.labs.controls import dropdown, rate_slider
from course_utils.labs.lab import Lab, small_batches
from course_utils.labs.tickets import Tickets
from course_utils.live import LiveTraining, RangeTest
from course_utils.models import load_classifier, load_tokenizer
from course_utils.pipeline import SCHEDULES
from course_utils.training import copy_weights, put_weights


class LearningRateLab(Lab):
    """A run whose learning rate can be turned: a new one holds from the next step on.

    Every run takes `steps` steps and is validated every 20 on `validation_rows` tickets of each queue. A preset has a
    rate of its own, which the lab keeps to itself until `reveal`; `presets` has them all.
    """

    title = "Learning-rate lab"
    presets: ClassVar = {"A": 1e-2, "B": 1e-5, "C": 1e-3, "D": 1e-1}
    kinds: ClassVar = {"A": "too high", "B": "too low", "C": "right", "D": "far too high"}

    def __init__(self, model: str = "gpt2-mini", steps: int = 120, validation_rows: int = 8):
        splits = load_ticket_splits()
        validation = take_per_label(splits["validation"], validation_rows)
        tokenizer = load_tokenizer(model)
        self.data = tokenize({"train": splits["train"], "validation": validation}, tokenizer)
        self.steps, self.revealed = steps, False
        self.model = load_classifier(QUEUES, model).to(pick_device())
        self.untrained = copy_weights(self.model)
        controls = {
            "preset": dropdown("preset", [("none: the rate below", ""), *((name, name) for name in self.presets)], ""),
            "learning_rate": rate_slider(),
            "schedule": dropdown("schedule", SCHEDULES, "constant"),
            "warmup_share": dropdown("warm-up, share of steps", [0.0, 0.1, 0.3], 0.0),
            "batch_size": dropdown("batch size", [4, 8, 16, 32], 16),
        }
        controls["learning_rate"].observe(lambda change: self.set_learning_rate(change["new"]), "value")
        super().__init__(controls, Tickets(tokenizer, QUEUES))
        self.add_button("Reveal", "say the rates of the presets", self.reveal)
        self.add_button("Range test", "raise the rate step by step, from a millionth to 1", self.start_range_test)
        self.row.children = list(self.buttons.values())

    def make_run(self, **options) -> LiveTraining:
        """Build a run that begins, like every other, with the same untrained head."""
        put_weights(self.model, self.untrained)
        values = {name: box.value for name, box in self.controls.items()}
        preset, batches = values.pop("preset"), small_batches(values.pop("batch_size"))
        values["learning_rate"] = self.presets.get(preset, values["learning_rate"])
        settings = FineTuneSettings(**values, **batches, steps=self.steps, validate_every=20, patience=None)
        return LiveTraining(self.model, self.data["train"], self.data["validation"], settings, **options)

    def make_range_test(self, **options) -> RangeTest:
        """Build a sweep over all rates of the slider."""
        put_weights(self.model, self.untrained)
        settings = FineTuneSettings(**small_batches(self.controls["batch_size"].value))
        return RangeTest(self.model, self.data["train"], settings, **options)

    def start_range_test(self) -> None:
        """Sweep in the background."""
        self.start_run(self.make_range_test)

    def run_range_test(self) -> tuple[float, float | None]:
        """Sweep at once; return the rates of steepest descent and where the gain was lost (None: nowhere)."""
        history = self.finish_run(self.make_range_test)
        return read_range_test(history.learning_rate, history.loss)

    def set(self, **values) -> None:
        """Set controls by name; a learning rate without a preset is meant to hold, so it ends the preset."""
        if "learning_rate" in values:
            values["preset"] = values.pop("preset", "")  # the last to be set: a slider that moves ends a preset
        super().set(**values)
        if "learning_rate" in values and not values["preset"]:
            self.set_learning_rate(values["learning_rate"])  # a slider that stands there already tells nobody

    def set_learning_rate(self, rate: float) -> None:
        """What moving the slider does: end the preset, and turn the rate of a run that is going on."""
        self.controls["preset"].value = ""
        if self.is_busy:
            self.current.set_learning_rate(rate)

    def reveal(self) -> dict[str, str]:
        """Say which preset is which, on the chart as well: {preset: what it is}."""
        self.revealed = True
        if self.is_busy and self.current.state != "paused":
            self._due = 0.0  # the run's thread draws it, between two steps: here the curves might grow meanwhile
        else:
            self.refresh()
        return {name: f"{kind}, {self.presets[name]:g}" for name, kind in self.kinds.items()}

    def clear(self) -> None:
        """Forget all runs, and keep the presets' rates to yourself again."""
        self.revealed = False
        super().clear()

    def is_hidden(self, run: LiveTraining) -> bool:
        """Whether the rate of a run is still to be guessed."""
        is_sweep = isinstance(run, RangeTest)
        return not self.revealed and not is_sweep and run.values["preset"] in self.presets

    def settings_shown(self, run: LiveTraining) -> dict[str, str]:
        """The settings of a run: of a preset its letter, and its rate once that is revealed."""
        shown, preset = super().settings_shown(run), run.values["preset"]
        if preset not in self.presets:
            return {name: value for name, value in shown.items() if name != "preset"}
        del shown["learning rate"]
        return shown | ({"preset": f"{preset} ({self.presets[preset]:g})"} if self.revealed else {})

    def can_be_compared(self, run: LiveTraining | None) -> bool:
        """Whether a run stays on the chart when the next one begins; a sweep does not."""
        return super().can_be_compared(run) and not isinstance(run, RangeTest)

    def draw(self, figure: Figure) -> None:
        """The chart of the runs, or of the range test."""
        if not isinstance(self.current, RangeTest):
            self.name_runs()
            runs = [*self.earlier, *([self.current] if self.current else [])]
            hidden = [run for run in runs if self.is_hidden(run)]
            plots.draw_runs(figure, self.current, self.earlier, self.tickets, hidden)
            return
        history, marks = self.current.history, {}
        if self._sweep_is_done():
            steepest, lost = read_range_test(history.learning_rate, history.loss)
            marks = {"steepest descent": steepest} | ({"gain lost": lost} if lost else {})
        plots.draw_range_test(figure, history.learning_rate, history.loss, marks)

    def words(self) -> str:
        """The state of the runs, or what the range test says; the presets, once they are revealed."""
        revealed = "; ".join(f"{name} is {kind} ({self.presets[name]:g})" for name, kind in self.kinds.items())
        revealed = f" The presets: {revealed}." if self.revealed else ""
        if not self._sweep_is_done():
            return super().words() + revealed
        steepest, lost = read_range_test(self.current.history.learning_rate, self.current.history.loss)
        end = f"the gain is lost at ≈ {lost:.1e}" if lost else "the gain is not lost"
        return f"Range test: the loss falls most steeply at a rate of ≈ {steepest:.1e}, and {end}.{revealed}"

    def describe(self, run: LiveTraining) -> str:
        """The facts of a run; of a preset that is not revealed, without its rate and without a diagnosis."""
        return describe_run(run, self.is_hidden(run))

    def describe_earlier(self, run: LiveTraining) -> str:
        """The mean loss at the end of an earlier run, and its noise."""
        losses = run.history.loss
        spread = f", noise ≈ {noise(losses):.2f}" if len(losses) > 10 else ""
        return f"mean loss ≈ {running_mean(losses)[-1]:.2f}{spread}"

    def _sweep_is_done(self) -> bool:
        return isinstance(self.current, RangeTest) and not self.is_busy and len(self.current.history.loss) >= 20
