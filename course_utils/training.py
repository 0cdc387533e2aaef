"""Lesson 5: the fine-tuning loop, with validation, early stopping, the best weights kept, and resuming."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.checkpoints import load_checkpoint, save_checkpoint
from course_utils.evaluation import evaluate
from course_utils.pipeline import make_loader, make_optimizer, make_scheduler


@dataclass(frozen=True)
class FineTuneSettings:
    """Every choice of a fine-tuning run.

    `accumulate` batches make one optimizer step; `clip` bounds the gradient's norm; `monitor` is the validation
    metric that picks the best epoch ("macro_f1", "accuracy" or "validation_loss"); training stops after
    `patience` epochs without a new best (None: never); `seed` fixes batches and dropout; `layer_decay` below 1 gives
    lower layers lower rates.
    """

    learning_rate: float = 1e-3
    epochs: int = 5
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


@dataclass
class History:
    """What happened: loss and learning rate of every optimizer step, validation of every epoch, how it ended."""

    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    epochs: list[dict] = field(default_factory=list)
    best_epoch: int | None = None
    ended: str = "running"

    def table(self) -> pd.DataFrame:
        """One row an epoch: step, losses, accuracy, macro-F1 and seconds. Empty before the first epoch."""
        columns = ["epoch", "step", "train_loss", "validation_loss", "accuracy", "macro_f1", "seconds"]
        return pd.DataFrame(self.epochs, columns=columns).set_index("epoch")


def group_batches(loader, count: int) -> Iterator[list[dict]]:
    """Yield lists of `count` batches; the last one may be shorter."""
    group = []
    for batch in loader:
        group.append(batch)
        if len(group) == count:
            yield group
            group = []
    if group:
        yield group


def train_steps(model, loader, optimizer, scheduler, settings: FineTuneSettings) -> Iterator[float]:
    """Train on each batch of `loader` once; yield the mean loss of each optimizer step, after the step.

    Raises FloatingPointError when the loss is no longer a number.
    """
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    for group in group_batches(loader, settings.accumulate):
        rows = sum(len(batch["labels"]) for batch in group)
        step_loss = 0.0
        for batch in group:
            logits = model(input_ids=batch["input_ids"]).logits
            losses = F.cross_entropy(logits, batch["labels"], label_smoothing=settings.label_smoothing, reduction="sum")
            loss = losses / rows  # over the rows of the whole step, so that each row counts the same
            loss.backward()
            step_loss += loss.item()
        nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if not math.isfinite(step_loss):
            raise FloatingPointError(
                f"The loss became {step_loss}: training has diverged; lower the learning rate of "
                f"{settings.learning_rate:g}, by a factor of 3 at first."
            )
        yield step_loss


def fine_tune(
    model,
    train: Dataset,
    validation: Dataset,
    settings: FineTuneSettings | None = None,
    checkpoint: str | Path | None = None,
    on_step: Callable[[History], None] | None = None,
) -> History:
    """Fine-tune a classifier in place and return the history; the model ends with the weights of its best epoch.

    `train` and `validation` are tokenized data sets (columns `input_ids` and `label`). With `checkpoint`, a file,
    the state is saved after every epoch, and a later call with the same settings goes on from there, with the
    same losses as a run that never stopped. `on_step` is called after every optimizer step. Ctrl-C (in Jupyter:
    the stop button) ends training early and keeps the best weights so far.

    Raises ValueError for impossible settings or a checkpoint of other settings, FloatingPointError on divergence.
    """
    settings = settings or FineTuneSettings()
    check_settings(settings)
    accelerator = Accelerator()
    loader = make_loader(train, settings.batch_size, model.config.pad_token_id, settings.seed)
    optimizer = make_optimizer(model, settings.learning_rate, settings.weight_decay, settings.layer_decay)
    steps_per_epoch = math.ceil(len(loader) / settings.accumulate)
    scheduler = make_scheduler(optimizer, steps_per_epoch * settings.epochs, settings.warmup_share, settings.schedule)
    model.to(accelerator.device)
    torch.manual_seed(settings.seed)  # dropout draws from here

    history, best = History(), copy_weights(model)
    if checkpoint is not None and Path(checkpoint).exists():
        history, best = resume(checkpoint, model, optimizer, scheduler, settings)
    model_, optimizer_, loader_, scheduler_ = accelerator.prepare(model, optimizer, loader, scheduler)

    bar = tqdm(
        total=steps_per_epoch * settings.epochs, initial=len(history.loss), unit="step", desc="fine-tune", disable=QUIET
    )
    try:
        for epoch in range(len(history.epochs) + 1, settings.epochs + 1):
            if history.ended != "running":
                break
            loader_.set_epoch(epoch)  # by accelerate's loader, which else would count epochs from 0 after a resume
            start, rate = time.monotonic(), scheduler.get_last_lr()[0]
            for loss in train_steps(model_, loader_, optimizer_, scheduler_, settings):
                history.loss.append(loss)
                history.learning_rate.append(rate)  # the rate this step was made with; the schedule has moved on
                rate = scheduler.get_last_lr()[0]
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}")
                if on_step is not None:
                    on_step(history)
            record_epoch(history, epoch, evaluate(model, validation), steps_per_epoch, time.monotonic() - start)
            if update_best(history, settings):
                best = copy_weights(model)
            if checkpoint is not None:
                save_progress(checkpoint, model, optimizer, scheduler, settings, history, best)
    except KeyboardInterrupt:
        history.ended = "interrupted"
    finally:
        bar.close()
        put_weights(model, best)
    if history.ended == "running":
        history.ended = "all epochs done"
    return history


def check_settings(settings: FineTuneSettings) -> None:
    """Raise ValueError, in one sentence, for settings that cannot work and that no other part would catch."""
    if settings.epochs < 1 or settings.accumulate < 1:
        raise ValueError(
            f"epochs and accumulate are counts from 1 up, got {settings.epochs} and {settings.accumulate}."
        )
    if settings.monitor not in ("macro_f1", "accuracy", "validation_loss"):
        raise ValueError(f"monitor is 'macro_f1', 'accuracy' or 'validation_loss', not {settings.monitor!r}.")
    if settings.patience is not None and settings.patience < 1:
        raise ValueError(f"patience counts epochs from 1 up, or is None to never stop early, got {settings.patience}.")


def record_epoch(history: History, epoch: int, result, steps_per_epoch: int, seconds: float) -> None:
    """Add an epoch's row to the history: mean training loss, and what validation says."""
    recent = history.loss[-steps_per_epoch:]
    history.epochs.append(
        {
            "epoch": epoch,
            "step": len(history.loss),
            "train_loss": sum(recent) / len(recent),
            "validation_loss": result.loss,
            "accuracy": result.accuracy,
            "macro_f1": result.macro_f1,
            "seconds": seconds,
        }
    )


def update_best(history: History, settings: FineTuneSettings) -> bool:
    """Note the best epoch so far, and the early stop when `patience` has run out. True: the last epoch is the best."""
    sign = -1 if settings.monitor == "validation_loss" else 1
    scores = [sign * row[settings.monitor] for row in history.epochs]
    best = max(range(len(scores)), key=scores.__getitem__)  # the first of equals: fewer epochs for the same score
    history.best_epoch = history.epochs[best]["epoch"]
    if settings.patience is not None and len(scores) - 1 - best >= settings.patience:
        history.ended = "stopped early"
    return best == len(scores) - 1


def copy_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the trainable weights, which are all that training can change."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def put_weights(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put weights from `copy_weights` back into the model."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])


def save_progress(path, model, optimizer, scheduler, settings, history, best) -> None:
    """Save all that the next epoch depends on: weights, optimizer, schedule, dropout's random state, best weights."""
    progress = {"settings": asdict(settings), "history": asdict(history), "scheduler": scheduler.state_dict()}
    extra = {"random_state": torch.get_rng_state(), **{f"best.{name}": tensor for name, tensor in best.items()}}
    save_checkpoint(path, model, [optimizer], progress, extra)


def resume(path, model, optimizer, scheduler, settings) -> tuple[History, dict[str, torch.Tensor]]:
    """Restore what `save_progress` saved; return the history and the best weights.

    Raises ValueError when the checkpoint was made with other settings.
    """
    progress, extra = load_checkpoint(path, model, [optimizer])
    if progress["settings"] != asdict(settings):
        changed = [key for key, value in asdict(settings).items() if progress["settings"].get(key) != value]
        raise ValueError(
            f"The checkpoint {str(path)!r} belongs to a run with another {' and '.join(changed)}: give the same "
            "settings to go on with it, or another file to start anew."
        )
    scheduler.load_state_dict(progress["scheduler"])
    for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate  # the scheduler sets it only after the next step
    torch.set_rng_state(extra["random_state"])
    best = {name.removeprefix("best."): tensor for name, tensor in extra.items() if name.startswith("best.")}
    return History(**progress["history"]), best
