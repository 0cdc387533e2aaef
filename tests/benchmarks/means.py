"""What each means of training faster brings, alone: seconds without it divided by seconds with it.

Steps of `gpt2-mini` over the same tickets, in one process, with and without the means in turn. Two means are measured
that the course does not use, because they did not pay: packing and `torch.compile`.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import NewGELUActivation

from course_utils.architecture import body_parts, freeze_below
from course_utils.data import QUEUES
from course_utils.frozen import remember_states
from course_utils.models import load_classifier
from course_utils.pipeline import LengthBuckets, collate, count_tokens, make_optimizer
from course_utils.training import add_gradients

BATCH, STEPS = 16, 12


def classifier() -> nn.Module:
    return load_classifier(QUEUES)


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


def plain_attention() -> nn.Module:
    model = classifier()
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


def time_steps(
    build: Callable, step: Callable, train, order: Callable = bucketed, fused: bool = True, context=nullcontext
) -> float:
    """Seconds a step takes, with clipping and the optimizer's, over the same batches; two steps to warm up."""
    model = build()
    chosen = order(train)
    chosen = [chosen[i] for i in range(0, len(chosen), max(1, len(chosen) // STEPS))]
    batches = [collate([train[i] for i in rows], model.config.pad_token_id) for rows in chosen]
    optimizer = make_optimizer(model, 1e-4)
    if not fused:
        optimizer = torch.optim.AdamW(optimizer.param_groups, lr=1e-4, fused=False, foreach=False)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def go(batch: dict) -> None:
        step(model, batch)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    with context(model):
        for batch in batches:  # every shape once, so that what is compiled or remembered is so
            go(batch)
        start = time.perf_counter()
        for batch in batches:
            go(batch)
        return (time.perf_counter() - start) / sum(map(len, chosen))


def half_frozen() -> nn.Module:
    return freeze_below(classifier(), 3)


# name: (arguments of `time_steps` with the means, the same without it, whether the course uses it)
MEANS = {
    "batches of like length": ({}, {"order": random_order}, True),
    "no mask on right padding": (
        {"step": lambda m, b: plain_step(m, b), "build": plain_attention}, {"step": masked, "build": plain_attention},
        True,
    ),
    "fused GELU": ({}, {"build": unfused_gelu}, True),
    "attention dropout off": ({}, {"build": attention_dropout}, True),
    "fused AdamW": ({}, {"fused": False}, True),
    "no cache": ({}, {"build": lambda: change(classifier(), use_cache=True)}, True),
    "bf16, attention in fp32": ({}, {"step": fp32}, True),
    "attention in fp32 beside bf16": ({}, {"build": plain_attention}, True),
    "last MLP only where the head reads": ({}, {"build": lambda: change(classifier(), pooling=None)}, True),
    "3 of 6 blocks frozen, their states stored": (
        {"build": half_frozen, "context": remember_states}, {"build": half_frozen}, True,
    ),
    "packing": ({"step": packed}, {"step": lambda m, b: plain_step(m, b)}, False),
    "torch.compile": ({"build": compiled, "step": fp32}, {"step": fp32}, False),
}  # fmt: skip


def measure_means(train, rounds: int = 3) -> list[dict]:
    """A row for each means: {"means", "used", "ratio"}, medians over `rounds` rounds that alternate."""
    rows = []
    for name, (with_it, without, used) in MEANS.items():
        seconds = {True: [], False: []}
        for _ in range(rounds):
            for present, options in ((True, with_it), (False, without)):
                seconds[present].append(time_steps(**({"build": classifier, "step": auto, "train": train} | options)))
        ratio = statistics.median(seconds[False]) / statistics.median(seconds[True])
        rows.append({"means": name, "used": used, "ratio": round(ratio, 2)})
        print(f"{name}: {ratio:.2f}", flush=True)
    return rows
