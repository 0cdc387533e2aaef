"""What each means of training faster brings, alone: seconds without it divided by seconds with it.

Steps of a model over the same tickets, in one process, with and without the means in turn: `MEANS` with `gpt2-mini`,
`LARGER` with `smollm2`. Two means are measured that the course does not use, because they did not pay: packing and
`torch.compile`.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext

import numpy
import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import NewGELUActivation

from course_utils.architecture import add_lora, body_parts, freeze_below
from course_utils.data import QUEUES
from course_utils.devices import mixed_precision
from course_utils.frozen import remember_states
from course_utils.models import load_classifier
from course_utils.pipeline import LengthBuckets, collate, count_tokens, decay_groups, make_optimizer
from course_utils.speed import skip_unread_tokens
from course_utils.training import add_gradients

BATCH, STEPS = 16, 12


def classifier() -> nn.Module:
    return load_classifier(QUEUES)


def larger() -> nn.Module:
    return load_classifier(QUEUES, "smollm2")


def change(model: nn.Module, **names) -> nn.Module:
    """Set names in a model's config."""
    for name, value in names.items():
        setattr(model.config, name, value)
    return model


def unfused_gelu() -> nn.Module:
    model = classifier()
    for block in body_parts(model).blocks:
        block.mlp.act = NewGELUActivation()  # the same function, as GPT-2's own config names it
    return model


def plain_attention(build: Callable = classifier) -> nn.Module:
    model = build()
    model.set_attn_implementation("sdpa")
    return model


def attention_dropout() -> nn.Module:
    model = classifier()
    for block in body_parts(model).blocks:
        block.attn.attn_dropout.p = 0.1
    return model


def plain_step(model: nn.Module, batch: dict, **options) -> None:
    """A step's forward and backward pass without what `add_gradients` does."""
    F.cross_entropy(model(input_ids=batch["input_ids"], **options).logits.float(), batch["labels"]).backward()


def auto(model: nn.Module, batch: dict) -> None:
    add_gradients(model, [batch])


def odd_lengths(model: nn.Module, batch: dict) -> None:
    """As `auto`, but without padding to multiples of 8."""
    with mixed_precision(model), skip_unread_tokens(model, batch["input_ids"]):
        plain_step(model, batch)


def fp32(model: nn.Module, batch: dict) -> None:
    add_gradients(model, [batch], precision="fp32")


def masked(model: nn.Module, batch: dict) -> None:
    with torch.autocast("cpu", enabled=False):
        plain_step(model, batch, attention_mask=(batch["input_ids"] != model.config.pad_token_id).long())


def packed(model: nn.Module, batch: dict) -> None:
    """All tickets of the batch in one row, which attend only to themselves: no padding, but a mask."""
    real = batch["input_ids"] != model.config.pad_token_id
    lengths = real.sum(dim=1)
    ids = batch["input_ids"][real][None]
    ticket = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    places = torch.cat([torch.arange(length) for length in lengths])[None]
    mask = (ticket[:, None] == ticket[None, :]).tril()[None, None]
    states = model.base_model(ids, position_ids=places, attention_mask=mask).last_hidden_state
    logits = model.score(states[0, lengths.cumsum(0) - 1])
    F.cross_entropy(logits, batch["labels"]).backward()


def compiled() -> nn.Module:
    model = classifier()
    model.base_model.forward = torch.compile(model.base_model.forward, dynamic=True)
    return model


def random_order(train) -> list[list[int]]:
    return list(LengthBuckets(count_tokens(train), BATCH, seed=0, pool=1))


def bucketed(train) -> list[list[int]]:
    return list(LengthBuckets(count_tokens(train), BATCH, seed=0))


class Steps:
    """A model of its own and the batches of some tickets; `time` takes a training step with each of them."""

    def __init__(
        self, build: Callable, step: Callable, train, order: Callable = bucketed, fused: bool = True,
        context: Callable = nullcontext, steps: int = STEPS,
    ):  # fmt: skip
        self.model, self.step, chosen = build(), step, order(train)
        chosen = [chosen[i] for i in range(0, len(chosen), max(1, len(chosen) // steps))]
        self.batches = [collate([train[i] for i in rows], self.model.config.pad_token_id) for rows in chosen]
        self.optimizer = make_optimizer(self.model, 1e-4)
        if not fused:
            # Groups of their own: those of an optimizer carry its options, "fused" among them.
            self.optimizer = torch.optim.AdamW(decay_groups(self.model, 0.01), lr=1e-4, fused=False, foreach=False)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.context = context

    def time(self) -> float:
        """Seconds a ticket takes, with clipping and the optimizer's step."""
        start = time.perf_counter()
        for batch in self.batches:
            self.step(self.model, batch)
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return (time.perf_counter() - start) / sum(len(batch["labels"]) for batch in self.batches)


def half_frozen(build: Callable = classifier) -> nn.Module:
    model = build()
    return freeze_below(model, len(body_parts(model).blocks) // 2)


def half_lora() -> nn.Module:
    return add_lora(half_frozen(larger), layers=range(15, 30))


# name: (arguments of `Steps` with the means, the same without it, whether the course uses it)
MEANS = {
    "batches of like length": ({}, {"order": random_order}, True),
    "no mask on right padding": (
        {"step": lambda m, b: plain_step(m, b), "build": plain_attention}, {"step": masked, "build": plain_attention},
        True,
    ),
    "lengths padded to eights (saves memory)": ({"steps": 64}, {"steps": 64, "step": odd_lengths}, True),
    "fused GELU": ({}, {"build": unfused_gelu}, True),
    "attention dropout off": ({}, {"build": attention_dropout}, True),
    "fused AdamW": ({}, {"fused": False}, True),
    "no cache": ({}, {"build": lambda: change(classifier(), use_cache=True)}, True),
    "bf16, with attention by products": ({}, {"step": fp32}, True),
    "attention by products beside bf16": ({}, {"build": plain_attention}, True),
    "last MLP only where the head reads": ({}, {"build": lambda: change(classifier(), pooling=None)}, True),
    "3 of 6 blocks frozen, their states stored": (
        {"build": half_frozen, "context": remember_states}, {"build": half_frozen}, True,
    ),
    "packing": ({"step": packed}, {"step": lambda m, b: plain_step(m, b)}, False),
    "torch.compile": ({"build": compiled, "step": fp32}, {"step": fp32}, False),
}  # fmt: skip
LARGER = {
    "batches of like length": ({}, {"order": random_order}, True),
    "no mask on right padding": (
        {"step": lambda m, b: plain_step(m, b), "build": lambda: plain_attention(larger)},
        {"step": masked, "build": lambda: plain_attention(larger)},
        True,
    ),
    "bf16, with attention by products": ({}, {"step": fp32}, True),
    "15 of 30 blocks frozen": ({"build": lambda: half_frozen(larger)}, {}, True),
    "15 of 30 blocks frozen, their states stored": (
        {"build": lambda: half_frozen(larger), "context": remember_states}, {}, True,
    ),
    "15 of 30 frozen and stored, LoRA in the others": ({"build": half_lora, "context": remember_states}, {}, True),
}  # fmt: skip


def measure_means(train, rounds: int = 9, table: dict = MEANS, build: Callable = classifier, steps: int = STEPS):
    """A row for each means: {"means", "used", "ratio", "low", "high"}: the median and the middle half of the rounds.

    In each round both sides take the same steps, one after the other. The first round is not counted: there every shape
    is new, and what is compiled or remembered is made.
    """
    rows = []
    for name, (with_it, without, used) in table.items():
        with ExitStack() as stack:
            usual = {"build": build, "step": auto, "train": train, "steps": steps}
            sides = [Steps(**(usual | own)) for own in (with_it, without)]
            for side in sides:
                stack.enter_context(side.context(side.model))
            seconds = [[side.time() for side in sides] for _ in range(rounds + 1)][1:]
        ratios = sorted(off / on for on, off in seconds)
        low, ratio, high = numpy.quantile(ratios, [0.25, 0.5, 0.75]).round(2).tolist()
        rows.append({"means": name, "used": used, "ratio": ratio, "low": low, "high": high})
        print(f"{name}: {ratio:.2f} ({low:.2f} to {high:.2f})", flush=True)
    return rows
