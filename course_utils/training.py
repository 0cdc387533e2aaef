"""Lesson 5: the fine-tuning loop, with validation, early stopping, the best weights kept, and resuming.

`train_and_validate` is the only training loop of the course. `fine_tune` runs it to its end, `live.LiveTraining` runs
it in a thread with a hand on the rate, and `adapt` gives it a language model.

A model is trained where it is: on a GPU after `model.to(pick_device())`, and it stays there. Under
`torchrun --nproc-per-node N` each process takes its share of every batch, and the losses are those of one process;
`sharing` says how.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

import torch
from accelerate.utils import gather_object, reduce
from datasets import Dataset
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.architecture import context_length
from course_utils.checkpoints import fingerprint, resume_run, save_run
from course_utils.devices import mixed_precision, processes
from course_utils.evaluation import Evaluation, check_labels, check_rows, predict_logits
from course_utils.history import Diverged, FineTuneSettings, History, check_settings, record_validation, update_best
from course_utils.pipeline import make_loader, make_optimizer, make_scheduler, steps_in_epoch
from course_utils.sharing import in_parts, sharded, share_model
from course_utils.speed import pad_to_eights, skip_unread_tokens

SAVE_SECONDS = 60  # a checkpoint is written at every validation, and when the last one is older than this


# --- one step ---------------------------------------------------------------------------------------------------


def classification_loss(model, batch: dict[str, torch.Tensor], label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy in nats, summed over the rows of a batch."""
    network = getattr(model, "module", model)
    ids = pad_to_eights(batch["input_ids"], network.config.pad_token_id, context_length(network))
    with skip_unread_tokens(network, ids):
        logits = model(input_ids=ids).logits
    return F.cross_entropy(logits.float(), batch["labels"], label_smoothing=label_smoothing, reduction="sum")


def language_model_loss(model, batch: dict[str, torch.Tensor], label_smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy in nats of the next tokens, times the rows of the batch; the labels are not looked at."""
    ids = batch["input_ids"]
    pad = getattr(model, "module", model).config.pad_token_id
    return model(input_ids=ids, labels=ids.masked_fill(ids == pad, -100)).loss * len(ids)


def group_batches(loader, count: int) -> Iterator[list[dict]]:
    """Yield lists of `count` batches; the last one may be shorter."""
    batches = iter(loader)
    while group := list(islice(batches, count)):
        yield group


def add_gradients(
    model, batches: list[dict], loss_of=classification_loss, label_smoothing: float = 0.0, before_batch=lambda: None,
    precision: str = "auto",
) -> float:  # fmt: skip
    """Forward and backward over the batches of one step; return the mean loss over their rows.

    Each process works on its own rows. PyTorch then takes the mean of the processes' gradients, hence the factor.
    """
    state, device = processes(), next(model.parameters()).device
    rows = sum(len(batch["labels"]) for batch in batches)
    total = torch.zeros((), device=device)
    for batch in batches:
        before_batch()
        own = {name: tensor[state.process_index :: state.num_processes].to(device) for name, tensor in batch.items()}
        factor = state.num_processes / rows  # over the rows of the whole step, so that each row counts the same
        if len(own["labels"]) == 0:  # too few rows for all: take part, for the others wait, but add nothing
            own, factor = {name: tensor[:1].to(device) for name, tensor in batch.items()}, 0.0
        with mixed_precision(getattr(model, "module", model), precision):
            loss = loss_of(model, own, label_smoothing) * factor
        loss.backward()
        total += loss.detach()
    return reduce(total, "mean").item()


# --- the loop ---------------------------------------------------------------------------------------------------


@sharded
def train_and_validate(
    model,
    train: Dataset,
    validation: Dataset | None,
    settings: FineTuneSettings,
    checkpoint: str | Path | None = None,
    rate_at: Callable[[int], float] | None = None,
    before_batch: Callable[[], None] = lambda: None,
    limit: int | None = None,
    loss_of: Callable = classification_loss,
) -> Iterator[History]:
    """Train in place; yield the history at the start, after every optimizer step and after every validation.

    However it ends, also by an error or when the caller closes it, the model then has the weights of its best
    validation (those it began with, if there was none yet; without `validation` data, the last ones), and is in
    evaluation mode. `rate_at(step)` gives the learning rate, before the schedule scales it, of the step that comes
    after `step` steps; `before_batch` is called before every batch, also in validation; after `limit` steps the run
    ends before its schedule does; `loss_of` is the loss summed over the rows of a batch. Errors: see `fine_tune`.
    """
    check_settings(settings)
    for dataset in (train, validation):
        check_labels(model, dataset)
    if validation is not None:
        check_rows(validation, "validate")
    loader = make_loader(train, settings.batch_size, model.config.pad_token_id, settings.seed)
    steps_per_epoch = steps_in_epoch(len(train), settings.batch_size, settings.accumulate)
    steps = steps_in_run(len(train), settings)
    optimizer = make_optimizer(model, settings.learning_rate, settings.weight_decay, settings.layer_decay)
    scheduler = make_scheduler(optimizer, steps, settings.warmup_share, settings.schedule)
    # Set anew at every step, and not by the scheduler, because the wanted rate may change on the way.
    shares = [base / settings.learning_rate for base in scheduler.base_lrs]  # 1, unless the rate differs between layers

    torch.manual_seed(settings.seed + processes().process_index)  # dropout draws from here
    history, best = History(), copy_weights(model)
    facts = {"settings": asdict(settings), "data": "", "processes": processes().num_processes}
    if checkpoint is not None:
        if Path(checkpoint).is_dir() or not Path(checkpoint).parent.is_dir():
            raise ValueError(f"The checkpoint {str(checkpoint)!r} must be a file in a folder that exists.")
        facts["data"] = fingerprint(train, validation)
        if Path(checkpoint).exists():
            progress, best = resume_run(checkpoint, model, optimizer, facts)
            history = History(**progress)
    wrapped, parameters = share_model(model), [p for p in model.parameters() if p.requires_grad]
    validated = saved = time.monotonic()
    try:
        yield history
        batches = batches_from(loader, settings.accumulate, len(history.loss), steps_per_epoch)
        while history.ended == "running":
            rate = rate_at(len(history.loss)) if rate_at else settings.learning_rate
            factor = scheduler.lr_lambdas[0](len(history.loss))
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share * factor
            model.train()
            loss = add_gradients(
                wrapped, next(batches), loss_of, settings.label_smoothing, before_batch, settings.precision
            )
            if not math.isfinite(loss):
                raise Diverged(loss, rate, history)
            nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            optimizer.zero_grad()
            history.loss.append(loss)
            history.learning_rate.append(rate * factor)
            yield history

            done, is_last = len(history.loss), len(history.loss) == min(steps, limit or steps)
            due = is_last or done % (settings.validate_every or steps_per_epoch) == 0
            result = validate(model, validation, before_batch) if due and validation is not None else None
            if result is not None and not math.isfinite(result.loss):
                raise Diverged(result.loss, rate, history)
            if is_last:
                history.ended = "finished"
            if result is not None:
                record_validation(history, done / steps_per_epoch, result, time.monotonic() - validated)
                if update_best(history, settings):
                    best = copy_weights(model)
                validated = time.monotonic()
            alone = processes().num_processes == 1  # several clocks might not agree
            late = alone and time.monotonic() - saved > SAVE_SECONDS
            stopped = history.ended == "interrupted"  # by the caller, between two steps; a later call goes on
            if checkpoint is not None and (due or late or stopped):
                progress = asdict(history) | ({"ended": "running"} if stopped else {})
                save_run(checkpoint, model, optimizer, facts, progress, best)
                saved = time.monotonic()
            if due:
                yield history
    finally:
        if validation is not None:
            put_weights(model, best)
        optimizer.zero_grad()  # a run that was stopped halfway through a step leaves nothing for the next one
        model.eval()


def batches_from(loader, accumulate: int, step: int, steps_per_epoch: int) -> Iterator[list[dict]]:
    """Yield the batches of one optimizer step after the other, without end, from `step` on.

    Seed and epoch fix the order, so a resumed run sees the batches that an unbroken one would have seen.
    """
    while True:
        epoch, done = divmod(step, steps_per_epoch)
        loader.batch_sampler.set_epoch(epoch + 1)
        for group in islice(group_batches(loader, accumulate), done, None):
            yield group
            step += 1


def validate(model, validation: Dataset, before_batch=lambda: None) -> Evaluation:
    """Evaluate on the validation rows, each process on its own; all of them get the whole result."""
    state, names = processes(), validation.features["label"].names
    own = range(state.process_index, len(validation), state.num_processes)
    if in_parts(model) and len(own) * state.num_processes < len(validation):
        own = [*own, 0]  # all processes take part in all forward passes, so nobody may have fewer rows
    parts = gather_object([predict_logits(model, validation.select(own)["input_ids"], before_batch=before_batch)])
    logits = torch.empty(len(validation), len(names))
    for first, part in enumerate(parts):
        places = logits[first :: state.num_processes]
        places[:] = part[: len(places)]
    return Evaluation.from_logits(names, validation["label"], logits)


def fine_tune(
    model,
    train: Dataset,
    validation: Dataset,
    settings: FineTuneSettings | None = None,
    checkpoint: str | Path | None = None,
    on_step: Callable[[History], None] | None = None,
) -> History:
    """Fine-tune a classifier in place and return the history; the model ends with the weights of its best validation.

    `train` and `validation` are tokenized data sets (columns `input_ids` and `label`) whose labels are named in the
    order of the model's. With `checkpoint`, a file, the state is saved at every validation and, with one process, at
    least every minute, and a later call with the same model, data and settings goes on from there, with the same losses
    as a run that never stopped. `on_step` is called after every optimizer step; if it sets `history.ended` to
    "interrupted", training ends there, saved. Ctrl-C (in Jupyter: the stop button) ends training early and keeps the
    best weights so far. The model stays on its device and ends in evaluation mode.

    Raises ValueError for impossible settings, labels in another order, or a checkpoint of another run, before anything
    is changed; Diverged, a FloatingPointError, when the loss is no longer a number.
    """
    settings = settings or FineTuneSettings()
    loop = train_and_validate(model, train, validation, settings, checkpoint)
    return drain(loop, "fine-tune", on_step, lambda: steps_in_run(len(train), settings))


def steps_in_run(rows: int, settings: FineTuneSettings) -> int:
    """How many optimizer steps a run takes on so many rows, unless it stops early."""
    return settings.steps or settings.epochs * steps_in_epoch(rows, settings.batch_size, settings.accumulate)


def drain(
    loop: Iterator[History], name: str, on_step: Callable[[History], None] | None = None,
    steps: Callable[[], int | None] = lambda: None,
) -> History:  # fmt: skip
    """Run a training loop to its end, with a progress bar of `steps()` steps."""
    history = next(loop)  # here impossible settings are refused, before anybody counts steps
    done, quiet = len(history.loss), QUIET or not processes().is_main_process
    bar = tqdm(unit="step", desc=name, initial=done, total=steps(), leave=None, disable=quiet)
    try:
        with closing(loop), bar:
            for _ in loop:
                if len(history.loss) == bar.n:
                    continue  # a validation
                bar.update()
                bar.set_postfix(loss=f"{history.loss[-1]:.3f}")
                if on_step is not None:
                    on_step(history)
    except KeyboardInterrupt:
        history.ended = "interrupted"
    return history


def adapt(
    model, tokenizer, texts: Sequence[str], epochs: int = 3, learning_rate: float = 1e-3, batch_size: int = 16,
    context: int = 128, seed: int = 0,
) -> list[float]:  # fmt: skip
    """Go on pre-training a language model with the texts of a task, without labels; return the loss of every step.

    The texts are joined and cut into rows of `context` tokens; what is left at the end and fills no row is left out,
    so that all rows, and with them all processes, weigh the same. Changes the model in place.
    Gururangan et al. 2020, Don't Stop Pretraining, arXiv:2004.10964.
    """
    context = min(context, model.config.max_position_embeddings)
    pieces = tokenizer(list(texts), split_special_tokens=True).input_ids
    ids = list(chain.from_iterable([*piece, tokenizer.eos_token_id] for piece in pieces))
    whole = max(len(ids) - len(ids) % context, min(len(ids), context))  # few texts may fill less than one row
    rows = [ids[start : start + context] for start in range(0, whole, context)]
    data = Dataset.from_dict({"input_ids": rows, "label": [0] * len(rows)})
    settings = FineTuneSettings(learning_rate, epochs, batch_size=batch_size, patience=None, seed=seed)
    return drain(train_and_validate(model, data, None, settings, loss_of=language_model_loss), "adapt").loss


# --- weights ------------------------------------------------------------------------------------------------------


def copy_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the trainable weights, which are all that training can change."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def put_weights(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put weights from `copy_weights` back into the model."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
