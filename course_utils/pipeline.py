"""Lesson 4: what stands between a tokenized data set and a training step: batches, optimizer, schedule."""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import get_scheduler

from course_utils.architecture import layers_from_top
from course_utils.data import count_tokens

SCHEDULES = ("linear", "cosine", "constant")


def collate(rows: Sequence[dict], pad_id: int) -> dict[str, torch.Tensor]:
    """Pad rows on the right to the longest of them: {"input_ids": (batch, length), "labels": (batch,)}.

    There is no attention mask: a causal model never looks to the right, so no real token sees the padding, and
    the head finds the last real token by `pad_id`. Without a mask, attention runs on its fast path.
    """
    sequences = [torch.as_tensor(row["input_ids"], dtype=torch.long) for row in rows]
    return {
        "input_ids": nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=pad_id),
        "labels": torch.tensor([row["label"] for row in rows]),
    }


class LengthBuckets(Sampler[list[int]]):
    """Batches of rows of similar length, in an order that is random and new in every epoch.

    Rows are shuffled, cut into pools of `pool` batches, and sorted by length inside each pool only: batches hold
    little padding, and still differ from epoch to epoch. `set_epoch` picks the epoch's order; with one seed, it
    is the same on every machine.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int = 0, pool: int = 20):
        self.lengths, self.batch_size, self.seed, self.pool = np.asarray(lengths), batch_size, seed, pool
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        size = self.batch_size * self.pool
        pools = [order[i : i + size] for i in range(0, len(order), size)]
        order = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools])
        batches = [order[i : i + self.batch_size].tolist() for i in range(0, len(order), self.batch_size)]
        for i in rng.permutation(len(batches)):
            yield batches[i]


def make_loader(dataset: Dataset, batch_size: int, pad_id: int, seed: int = 0) -> DataLoader:
    """Build the training loader: length-bucketed, reshuffled each epoch (call `loader.batch_sampler.set_epoch`).

    Raises ValueError for an empty data set or a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"A batch holds at least one row, batch_size={batch_size} does not.")
    if len(dataset) == 0:
        raise ValueError("There are no rows to train on.")
    rows = dataset.select_columns(["input_ids", "label"])
    buckets = LengthBuckets(count_tokens(rows), batch_size, seed)
    # With a generator of its own, so that beginning an epoch does not draw from the random numbers of dropout.
    own = torch.Generator().manual_seed(seed)
    return DataLoader(rows, batch_sampler=buckets, collate_fn=partial(collate, pad_id=pad_id), generator=own)


def steps_in_epoch(rows: int, batch_size: int, accumulate: int = 1) -> int:
    """How many optimizer steps go through all rows once; the last batch, and the last step, may be smaller."""
    return math.ceil(math.ceil(rows / batch_size) / accumulate)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Sort trainable parameters into two optimizer groups: matrices decay, biases and layer norms do not.

    Decay pulls weights to zero. For a layer norm's scale, zero means silence, not simplicity.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]


def rate_groups(model: nn.Module, learning_rate: float, weight_decay: float, layer_decay: float) -> list[dict]:
    """`decay_groups` with a learning rate of their own for each depth: the full one for the head, `layer_decay` times
    that for the top block, `layer_decay` squared for the next, and so on down to the embeddings.

    Howard and Ruder 2018, ULMFiT, arXiv:1801.06146, who call it discriminative fine-tuning: what lies low in the
    network is general already and needs to change least.
    """
    groups = []
    for depth, parts in enumerate(layers_from_top(model)):
        rate = learning_rate * layer_decay**depth
        groups += [{**group, "lr": rate} for group in decay_groups(nn.ModuleList(parts), weight_decay)]
    return groups


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float = 0.01, layer_decay: float = 1.0
) -> torch.optim.AdamW:
    """Build AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over the model's trainable parameters.

    `layer_decay` below 1 gives lower layers lower rates, see `rate_groups`. Raises ValueError when the learning rate
    is not above 0, or nothing is trainable.
    """
    if not learning_rate > 0:
        raise ValueError(f"The learning rate must be above 0, got {learning_rate}.")
    if layer_decay == 1:
        groups = decay_groups(model, weight_decay)
    else:
        groups = rate_groups(model, learning_rate, weight_decay, layer_decay)
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("Every parameter is frozen: unfreeze at least the head before you make an optimizer.")
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)  # fused: one pass over memory, about 3 times faster


def make_scheduler(optimizer: torch.optim.Optimizer, steps: int, warmup_share: float = 0.1, kind: str = "linear"):
    """Build the schedule that scales the learning rate over `steps` optimizer steps: warm up, then `kind`.

    `kind` is "linear" or "cosine" (both fall to zero) or "constant"; `warmup_share` is the part of all steps
    spent on the way up from zero. Raises ValueError for anything else.
    """
    if kind not in SCHEDULES:
        raise ValueError(f"There is no schedule {kind!r}: choose one of {', '.join(SCHEDULES)}.")
    if not 0 <= warmup_share <= 1:
        raise ValueError(f"warmup_share is a share of all steps, from 0 to 1, got {warmup_share}.")
    name = "constant_with_warmup" if kind == "constant" else kind
    return get_scheduler(name, optimizer, num_warmup_steps=round(warmup_share * steps), num_training_steps=steps)
