"""Lesson 5: every choice of a fine-tuning run, and what happened in it."""

from dataclasses import dataclass, field

import pandas as pd

from course_utils.devices import PRECISIONS

METRICS = ("macro_f1", "accuracy", "validation_loss")


@dataclass(frozen=True)
class FineTuneSettings:
    """Every choice of a fine-tuning run.

    A run takes `epochs` passes over the data or, if given, `steps` optimizer steps. It validates after each epoch or,
    if given, every `validate_every` steps, and always at the end. `accumulate` batches of `batch_size` rows make one
    optimizer step; `clip` bounds the gradient's norm; `monitor` is the validation metric that picks the best weights
    ("macro_f1", "accuracy" or "validation_loss"); training stops after `patience` validations without a new best (None:
    never); `seed` fixes batches and dropout; `layer_decay` below 1 gives lower layers lower rates. `precision` of the
    matrix products is "fp32", "bf16", or "auto": bf16 where this machine is faster with it.
    """

    learning_rate: float = 1e-3
    epochs: int = 5
    steps: int | None = None
    validate_every: int | None = None
    batch_size: int = 16
    accumulate: int = 1
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    schedule: str = "linear"
    clip: float = 1.0
    label_smoothing: float = 0.0
    monitor: str = "macro_f1"
    patience: int | None = 2
    seed: int = 0
    layer_decay: float = 1.0
    precision: str = "auto"


@dataclass
class History:
    """What happened: loss and learning rate of every optimizer step, each validation, and how the run ended.

    A validation is a dict with the columns of `table`, and with the label that was predicted most and its share of all
    predictions. `ended` is "running", "finished", "stopped early" or "interrupted"; who catches what ended a run from
    outside, such as `Diverged`, may write "stopped" or "diverged" there.
    """

    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    validations: list[dict] = field(default_factory=list)
    best_step: int | None = None
    ended: str = "running"

    @property
    def best(self) -> dict | None:
        """The validation whose weights are kept; None before the first."""
        return next((row for row in self.validations if row["step"] == self.best_step), None)

    @property
    def best_epoch(self) -> float | None:
        """The epoch of the best validation, a whole number where validation comes at the end of an epoch."""
        return self.best and self.best["epoch"]

    def table(self) -> pd.DataFrame:
        """One row a validation: step, epoch, losses (nats), accuracy, macro-F1, seconds. Empty before the first."""
        columns = ["step", "epoch", "train_loss", "validation_loss", "accuracy", "macro_f1", "seconds"]
        return pd.DataFrame(self.validations, columns=columns).set_index("step")


class Diverged(FloatingPointError):
    """The loss is no longer a number. `history` holds the run up to there."""

    def __init__(self, loss: float, rate: float, history: History):
        super().__init__(
            f"The loss became {loss}: training has diverged; lower the learning rate of {rate:g}, by a factor of 3 at "
            "first."
        )
        self.history = history


def check_settings(settings: FineTuneSettings) -> None:
    """Raise ValueError, in one sentence, for settings that cannot work and that no other part would catch."""
    for name in ("epochs", "steps", "validate_every", "batch_size", "accumulate", "patience"):
        count = getattr(settings, name)
        if count is not None and not (isinstance(count, int) and count >= 1):
            raise ValueError(f"{name} counts from 1 up, in whole numbers (an int), got {count!r}.")
    if not 0 <= settings.label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a share, from 0 to 1, got {settings.label_smoothing}.")
    if not settings.seed >= 0:
        raise ValueError(f"seed is 0 or above, got {settings.seed}.")
    if settings.monitor not in METRICS:
        raise ValueError(f"monitor is one of {', '.join(METRICS)}, not {settings.monitor!r}.")
    if settings.precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {settings.precision!r}.")
    if not settings.clip > 0:
        raise ValueError(
            f"clip is the largest norm of the gradient, above 0 (math.inf: no limit), got {settings.clip}."
        )


def record_validation(history: History, epoch: float, result, seconds: float) -> None:
    """Add a row to the history: mean training loss since the validation before, and what validation says."""
    before = history.validations[-1]["step"] if history.validations else 0
    recent = history.loss[before:]
    label, share = result.commonest()
    history.validations.append(
        {
            "step": len(history.loss),
            "epoch": int(epoch) if epoch.is_integer() else round(epoch, 2),
            "train_loss": sum(recent) / len(recent),
            "validation_loss": result.loss,
            "accuracy": result.accuracy,
            "macro_f1": result.macro_f1,
            "seconds": seconds,
            "commonest": label,
            "commonest_share": share,
        }
    )


def update_best(history: History, settings: FineTuneSettings) -> bool:
    """Note the best validation so far, and the early stop when `patience` has run out. True: the last is the best."""
    sign = -1 if settings.monitor == "validation_loss" else 1
    scores = [sign * row[settings.monitor] for row in history.validations]
    best = max(range(len(scores)), key=scores.__getitem__)  # the first of equals: fewer steps for the same score
    history.best_step = history.validations[best]["step"]
    if settings.patience is not None and len(scores) - 1 - best >= settings.patience:
        history.ended = "stopped early"
    return best == len(scores) - 1
