"""Lesson 8: few labels, and what keeps the network from learning them by heart."""

from matplotlib.figure import Figure

from course_utils import plots
from course_utils.architecture import set_dropout
from course_utils.data import QUEUES, load_ticket_splits, take_per_label, tokenize
from course_utils.devices import pick_device
from course_utils.history import FineTuneSettings
from course_utils.labs.controls import dropdown, rate_slider
from course_utils.labs.lab import Lab, small_batches
from course_utils.live import LiveTraining
from course_utils.models import load_classifier, load_tokenizer
from course_utils.training import copy_weights, put_weights


class RegularizationLab(Lab):
    """A run on few labels, with a knob for each means against over-fitting.

    Every run takes at most `steps` steps and is validated every 10 on `validation_rows` tickets of each queue; the
    weights of the lowest validation loss are kept.
    """

    title = "Regularization lab"

    def __init__(self, model: str = "gpt2-mini", steps: int = 150, validation_rows: int = 8):
        self.steps, self.validation_rows, self.tokenizer = steps, validation_rows, load_tokenizer(model)
        self.model = load_classifier(QUEUES, model).to(pick_device())
        self.untrained = copy_weights(self.model)
        controls = {
            "labels": dropdown("labels a queue", [4, 8, 16, 32], 16),
            "dropout": dropdown("dropout", [0.0, 0.1, 0.3, 0.5], 0.0),
            "weight_decay": dropdown("weight decay", [0.0, 0.01, 0.1, 1.0], 0.0),
            "label_smoothing": dropdown("label smoothing", [0.0, 0.1, 0.2], 0.0),
            # 0 and not None, which a list shows as no choice at all.
            "patience": dropdown(
                "patience, validations", [("never stop", 0), *((f"{count}", count) for count in (1, 2, 3, 5))], 0
            ),
            "learning_rate": rate_slider(),
            "seed": dropdown("seed, for the draw of labels", list(range(5)), 0),
        }
        super().__init__(controls)

    def make_run(self, **options) -> LiveTraining:
        """Build a run on few labels, validated every 10 steps, the best validation loss kept."""
        values = {name: box.value for name, box in self.controls.items()}
        values["patience"] = values["patience"] or None
        name = ", ".join(f"{key} {value:g}" for key, value in values.items() if value and key != "learning_rate")
        tables = load_ticket_splits()
        few = {
            "train": take_per_label(tables["train"], values.pop("labels"), values["seed"]),
            "validation": take_per_label(tables["validation"], self.validation_rows),
        }
        data = tokenize(few, self.tokenizer)
        put_weights(self.model, self.untrained)
        set_dropout(self.model, values.pop("dropout"))
        settings = FineTuneSettings(
            **values, **small_batches(16), steps=self.steps, validate_every=10, warmup_share=0.0, schedule="constant",
            monitor="validation_loss",
        )  # fmt: skip
        run = LiveTraining(self.model, data["train"], data["validation"], settings, **options)
        run.name = name
        return run

    def draw(self, figure: Figure) -> None:
        """Both losses, the gap between them, and the score."""
        plots.draw_gap(figure, self.current, self.earlier)

    def words(self) -> str:
        """The state of the run, the gap, and what early stopping saved."""
        run, text = self.current, super().words()
        best = run and run.history.best
        if best is None:
            return text
        last = run.history.validations[-1]
        gap = last["validation_loss"] - last["train_loss"]
        text += f" Validation loss is ≈ {abs(gap):.2f} {'above' if gap >= 0 else 'below'} training loss."
        if run.state == "stopped early":
            text += f" Stopped early: ≈ {run.steps - len(run.history.loss)} of {run.steps} steps saved."
        if not run.is_going:
            text += f" Back to step ≈ {best['step']}, with a validation loss of ≈ {best['validation_loss']:.2f}."
        return text
