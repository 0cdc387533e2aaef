"""Lesson 7: the learning rate, turned while the network trains."""

from typing import ClassVar

from matplotlib.figure import Figure

from course_utils import plots
from course_utils.data import QUEUES, load_ticket_splits, take_per_label, tokenize
from course_utils.devices import pick_device
from course_utils.diagnosis import read_range_test
from course_utils.history import FineTuneSettings
from course_utils.labs.controls import dropdown, rate_slider
from course_utils.labs.lab import Lab, small_batches
from course_utils.live import LiveTraining, RangeTest
from course_utils.models import load_classifier, load_tokenizer
from course_utils.pipeline import SCHEDULES
from course_utils.training import copy_weights, put_weights


class LearningRateLab(Lab):
    """A run whose learning rate can be turned: a new one holds from the next step on.

    Every run takes `steps` steps and is validated every 20 on `validation_rows` tickets of each queue.
    """

    title = "Learning-rate lab"
    presets: ClassVar = {"too low": 1e-5, "good": 1e-3, "too high": 1e-1, "stuck": 1e-2}

    def __init__(self, model: str = "gpt2-mini", steps: int = 120, validation_rows: int = 8):
        splits = load_ticket_splits()
        validation = take_per_label(splits["validation"], validation_rows)
        self.data = tokenize({"train": splits["train"], "validation": validation}, load_tokenizer(model))
        self.steps = steps
        self.model = load_classifier(QUEUES, model).to(pick_device())
        self.untrained = copy_weights(self.model)
        self.preset = dropdown("preset", ["choose ...", *self.presets], "choose ...")
        self.preset.observe(lambda change: self.take_preset(change["new"]), "value")
        controls = {
            "learning_rate": rate_slider(),
            "schedule": dropdown("schedule", SCHEDULES, "constant"),
            "warmup_share": dropdown("warm-up, share of steps", [0.0, 0.1, 0.3], 0.0),
            "batch_size": dropdown("batch size", [4, 8, 16, 32], 16),
        }
        controls["learning_rate"].observe(lambda change: self.set_learning_rate(change["new"]), "value")
        super().__init__(controls, above=[self.preset])
        self.add_button("Range test", "raise the rate step by step, from a millionth to 1", self.start_range_test)
        self.row.children = list(self.buttons.values())

    def make_run(self, **options) -> LiveTraining:
        """Build a run that begins, like every other, with the same untrained head."""
        put_weights(self.model, self.untrained)
        values = {name: box.value for name, box in self.controls.items()}
        batches = small_batches(values.pop("batch_size"))
        settings = FineTuneSettings(**values, **batches, steps=self.steps, validate_every=20, patience=None)
        run = LiveTraining(self.model, self.data["train"], self.data["validation"], settings, **options)
        run.name = f"{settings.learning_rate:.1e}, {settings.schedule}"
        return run

    def make_range_test(self, **options) -> RangeTest:
        """Build a sweep over all rates of the slider."""
        put_weights(self.model, self.untrained)
        settings = FineTuneSettings(**small_batches(self.controls["batch_size"].value))
        return RangeTest(self.model, self.data["train"], settings, **options)

    def start_range_test(self) -> None:
        """Sweep in the background."""
        self.start_run(self.make_range_test)

    def run_range_test(self) -> tuple[float, float | None]:
        """Sweep at once; return the rates of steepest descent and of the blow-up (None: there was none)."""
        history = self.finish_run(self.make_range_test)
        return read_range_test(history.learning_rate, history.loss)

    def set_learning_rate(self, rate: float) -> None:
        """What moving the slider does to a run that is going on."""
        if self.is_busy:
            self.current.set_learning_rate(rate)

    def take_preset(self, name: str) -> None:
        """Set the rate of a preset, constant from the first step on."""
        if name in self.presets:
            self.set(learning_rate=self.presets[name], schedule="constant", warmup_share=0.0)

    def can_be_compared(self, run: LiveTraining | None) -> bool:
        """Whether a run stays on the chart when the next one begins; a sweep does not."""
        return super().can_be_compared(run) and not isinstance(run, RangeTest)

    def draw(self, figure: Figure) -> None:
        """The chart of the runs, or of the range test."""
        if not isinstance(self.current, RangeTest):
            plots.draw_runs(figure, self.current, self.earlier)
            return
        history, marks = self.current.history, {}
        if self._sweep_is_done():
            steepest, blow_up = read_range_test(history.learning_rate, history.loss)
            marks = {"steepest descent": steepest} | ({"blow-up": blow_up} if blow_up else {})
        plots.draw_range_test(figure, history.learning_rate, history.loss, marks)

    def words(self) -> str:
        """The state of the run, or what the range test says."""
        if not self._sweep_is_done():
            return super().words()
        steepest, blow_up = read_range_test(self.current.history.learning_rate, self.current.history.loss)
        end = f"blows up at ≈ {blow_up:.1e}" if blow_up else "does not blow up"
        return f"Range test: the loss falls most steeply at a rate of ≈ {steepest:.1e}, and {end}."

    def _sweep_is_done(self) -> bool:
        return isinstance(self.current, RangeTest) and not self.is_busy and len(self.current.history.loss) >= 20
