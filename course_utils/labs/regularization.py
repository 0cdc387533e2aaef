"""Lesson 8: few labels, and what keeps the network from learning them by heart."""

from typing import ClassVar

from matplotlib.figure import Figure

from course_utils import plots
from course_utils.architecture import set_dropout
from course_utils.data import QUEUES, load_ticket_splits, take_per_label, tokenize
from course_utils.devices import pick_device
from course_utils.history import FineTuneSettings
from course_utils.labs.controls import dropdown, rate_slider
from course_utils.labs.lab import KEPT, Lab, small_batches
from course_utils.labs.tickets import Tickets
from course_utils.live import LiveTraining
from course_utils.models import load_classifier, load_tokenizer
from course_utils.training import copy_weights, put_weights


class RegularizationLab(Lab):
    """A run on few labels, with a knob for each means against over-fitting.

    Every run takes at most `steps` steps and is validated every 5 on `validation_rows` tickets of each queue; the
    weights that are best by the metric `monitor` are kept. The last run with everything off stays on the chart.
    """

    title = "Regularization lab"
    plain = "all off"
    off: ClassVar = {"dropout": "0.0", "weight decay": "0.0", "label smoothing": "0.0", "patience": "without end"}
    usual: ClassVar = {**off, "monitor": "validation loss"}  # what the legend leaves out

    def __init__(self, model: str = "gpt2-mini", steps: int = 100, validation_rows: int = 8):
        self.steps, self.validation_rows, self.tokenizer = steps, validation_rows, load_tokenizer(model)
        self.model = load_classifier(QUEUES, model, pooling="mean").to(pick_device())
        self.untrained = copy_weights(self.model)
        controls = {
            "labels": dropdown("labels a queue", [4, 8, 16, 32], 16),
            "dropout": dropdown("dropout", [0.0, 0.1, 0.3, 0.5], 0.0),
            "weight_decay": dropdown("weight decay", [0.0, 0.01, 0.1, 1.0], 0.0),
            "label_smoothing": dropdown("label smoothing", [0.0, 0.1, 0.2], 0.0),
            # 0 and not None, which a list shows as no choice at all.
            "patience": dropdown(
                "patience, validations", [("without end", 0), *((f"{count}", count) for count in (1, 2, 3, 5))], 0
            ),
            "monitor": dropdown(
                "monitored metric",
                [("validation loss", "validation_loss"), ("macro-F1", "macro_f1")],
                "validation_loss",
            ),
            "learning_rate": rate_slider(),
            "seed": dropdown("seed, for the draw of labels", list(range(5)), 0),
        }
        super().__init__(controls, Tickets(self.tokenizer, QUEUES))

    def make_run(self, **options) -> LiveTraining:
        """Build a run on few labels, validated every 5 steps."""
        values = {name: box.value for name, box in self.controls.items()}
        values["patience"] = values["patience"] or None
        tables = load_ticket_splits()
        few = {
            "train": take_per_label(tables["train"], values.pop("labels"), values["seed"]),
            "validation": take_per_label(tables["validation"], self.validation_rows),
        }
        data = tokenize(few, self.tokenizer)
        put_weights(self.model, self.untrained)
        set_dropout(self.model, values.pop("dropout"))
        settings = FineTuneSettings(
            **values, **small_batches(16), steps=self.steps, validate_every=5, warmup_share=0.0, schedule="constant",
        )  # fmt: skip
        return LiveTraining(self.model, data["train"], data["validation"], settings, **options)

    def settings_shown(self, run: LiveTraining) -> dict[str, str]:
        """The settings of a run, without those that are switched off and without the usual metric."""
        return {name: value for name, value in super().settings_shown(run).items() if self.usual.get(name) != value}

    def kept(self, runs: list[LiveTraining]) -> list[LiveTraining]:
        """Of the runs before, the last ones, and always the last one with everything off, to compare with."""
        plain = [run for run in runs if all(run.values[name] == value for name, value in self.off.items())]
        recent = [run for run in runs if run not in plain[-1:]]
        room = KEPT - len(plain[-1:])
        return [run for run in runs if run in plain[-1:] or run in recent[-room:]]

    def draw(self, figure: Figure) -> None:
        """Both losses, the gap between them, and the score."""
        self.name_runs()
        kept = f"best {self.current.values['monitor']}, restored" if self.current else ""
        shaded = self.current is None or self.losses_are_alike(self.current)
        plots.draw_gap(figure, self.current, self.earlier, self.tickets, kept, shaded)

    def losses_are_alike(self, run: LiveTraining) -> bool:
        """Whether both losses of a run are measured in the same way: with all units, and against plain labels."""
        return all(run.values[name] == self.off[name] for name in ("dropout", "label smoothing"))

    def describe(self, run: LiveTraining) -> str:
        """The state of the run, the gap, and what early stopping saved."""
        text, best = super().describe(run), run.history.best
        if best is None:
            return text
        last = run.history.validations[-1]
        gap = last["validation_loss"] - last["train_loss"]
        if self.losses_are_alike(run):
            text += f" Validation loss is ≈ {abs(gap):.2f} {'above' if gap >= 0 else 'below'} training loss."
        if run.state == "stopped early":
            text += f" Stopped early: ≈ {run.steps - len(run.history.loss)} of {run.steps} steps saved."
        if not run.is_going:
            text += f" Back to step ≈ {best['step']}, with a validation loss of ≈ {best['validation_loss']:.2f}."
        return text

    def describe_earlier(self, run: LiveTraining) -> str:
        """The last validation loss and score of an earlier run."""
        if not run.history.validations:
            return "no validation"
        last = run.history.validations[-1]
        return f"validation loss ≈ {last['validation_loss']:.2f}, macro-F1 ≈ {last['macro_f1']:.2f} at the end"
