"""Wrong answers to the exercises of lesson 4, each with a part of the hint that it must get."""

import math

from torch.nn import functional as F


def plain_cosine(step, steps, warmup):
    return step / warmup if step < warmup else math.cos(math.pi * (step - warmup) / (steps - warmup))


def not_halved(step, steps, warmup):
    return step / warmup if step < warmup else 1 + math.cos(math.pi * (step - warmup) / (steps - warmup))


def no_warmup(step, steps, warmup):
    return (1 + math.cos(math.pi * step / steps)) / 2


def progress_from_step_0(step, steps, warmup):
    return step / warmup if step < warmup else (1 + math.cos(math.pi * step / steps)) / 2


def never_down(step, steps, warmup):
    return step / warmup if step < warmup else (1 + math.cos(math.pi * (step - warmup) / steps)) / 2


def mean_loss(model, batch):
    return F.cross_entropy(model(input_ids=batch["input_ids"]).logits, batch["labels"])


def unscaled(model, batches):
    for batch in batches:
        mean_loss(model, batch).backward()


def mean_of_means(model, batches):
    for batch in batches:
        (mean_loss(model, batch) / len(batches)).backward()


def sum_over_rows(model, batches):
    for batch in batches:
        (mean_loss(model, batch) * len(batch["labels"])).backward()


def resets(model, batches):
    rows = sum(len(batch["labels"]) for batch in batches)
    for batch in batches:
        model.zero_grad()
        (mean_loss(model, batch) * len(batch["labels"]) / rows).backward()


def all_times_four(model):
    return sum(4 * p.numel() * p.element_size() for p in model.parameters()) / 1e6


def trainable_only(model):
    return sum(4 * p.numel() * p.element_size() for p in model.parameters() if p.requires_grad) / 1e6


def no_moments(model):
    return sum((1 + p.requires_grad) * p.numel() * p.element_size() for p in model.parameters()) / 1e6


def counts_numbers(model):
    return sum((4 if p.requires_grad else 1) * p.numel() for p in model.parameters()) / 1e6


def in_mebibytes(model):
    return sum((4 if p.requires_grad else 1) * p.numel() * p.element_size() for p in model.parameters()) / 2**20


WRONG = {
    "cosine_factor": [
        (plain_cosine, "add 1 and halve"),
        (not_halved, "so halve it"),
        (no_warmup, "during warm-up"),
        (progress_from_step_0, "let progress start there"),
        (never_down, "when step equals steps"),
    ],
    "accumulate": [
        (unscaled, "not scaled"),
        (mean_of_means, "its share of the rows"),
        (sum_over_rows, "divide by their number"),
        (resets, "only the last batch"),
    ],
    "training_megabytes": [
        (all_times_four, "once, not four times"),
        (trainable_only, "are held too"),
        (no_moments, "two moments besides"),
        (counts_numbers, "element_size"),
        (in_mebibytes, "a million bytes"),
    ],
}
