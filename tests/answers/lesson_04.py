"""Wrong answers to the exercises of lesson 4, each with a part of the hint that it must get."""

import math

import torch
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


def after(wave):
    return lambda step, steps, warmup: step / warmup if step < warmup else wave((step - warmup) / (steps - warmup))


def warmup_from_one(step, steps, warmup):
    return (
        (step + 1) / warmup if step < warmup else after(lambda x: (1 + math.cos(math.pi * x)) / 2)(step, steps, warmup)
    )


def fixed_sizes(step, steps, warmup):
    return step / 10 if step < 10 else (1 + math.cos(math.pi * (step - 10) / 90)) / 2


def mean_loss(model, batch):
    return F.cross_entropy(model(input_ids=batch["input_ids"]).logits, batch["labels"])


def unscaled(model, batches):
    for batch in batches:
        mean_loss(model, batch).backward()


def weighed_by_tokens(model, batches):
    tokens = sum(batch["input_ids"].numel() for batch in batches)
    for batch in batches:
        (mean_loss(model, batch) * batch["input_ids"].numel() / tokens).backward()


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


def backward_outside_the_loop(model, batches):
    for batch in batches:
        loss = mean_loss(model, batch) * len(batch["labels"]) / 9
    loss.backward()


def divides_the_gradient(model, batches):
    sum_over_rows(model, batches)
    for parameter in model.parameters():
        parameter.grad /= sum(len(batch["labels"]) for batch in batches)


def resets_at_the_start(model, batches):
    model.zero_grad()
    rows = sum(len(batch["labels"]) for batch in batches)
    for batch in batches:
        (mean_loss(model, batch) * len(batch["labels"]) / rows).backward()


def resets_and_does_not_scale(model, batches):
    model.zero_grad()
    unscaled(model, batches)


def no_backward(model, batches):
    rows = sum(len(batch["labels"]) for batch in batches)
    for batch in batches:
        mean_loss(model, batch) * len(batch["labels"]) / rows


def joined(model, batches):
    mean_loss(model, {key: torch.cat([batch[key] for batch in batches]) for key in ("input_ids", "labels")}).backward()


def backward_at_the_end(model, batches):
    rows = sum(len(batch["labels"]) for batch in batches)
    sum(mean_loss(model, batch) * len(batch["labels"]) / rows for batch in batches).backward()


def resets_at_the_end(model, batches):
    unscaled(model, batches)
    model.zero_grad()


def divided_by_all_rows(model, batches):
    rows = sum(len(batch["labels"]) for batch in batches)
    for batch in batches:
        (mean_loss(model, batch) / rows).backward()


def divided_by_own_rows(model, batches):
    for batch in batches:
        (mean_loss(model, batch) / len(batch["labels"])).backward()


def rows_by_number_of_batches(model, batches):
    for batch in batches:
        (mean_loss(model, batch) * len(batch["labels"]) / len(batches)).backward()


def all_times_four(model):
    return sum(4 * p.numel() * p.element_size() for p in model.parameters()) / 1e6


def trainable_only(model):
    return sum(4 * p.numel() * p.element_size() for p in model.parameters() if p.requires_grad) / 1e6


def no_moments(model, besides=1):
    return sum((1 + besides * p.requires_grad) * p.numel() * p.element_size() for p in model.parameters()) / 1e6


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
        (never_down, "at the end the factor should be 0"),
        (after(lambda x: (1 + math.cos(x)) / 2), "pi is missing"),
        (after(lambda x: 1 + math.cos(math.pi * x) / 2), "in brackets"),
        (after(lambda x: (1 - math.cos(math.pi * x)) / 2), "*plus* the cosine"),
        (after(lambda x: 1 - x), "straight line"),
        (after(lambda x: math.cos(math.pi * x / 2)), "quarter of a wave"),
        (after(lambda x: (1 + math.cos(math.pi * x)) ** 2 / 4), "step 11 should have 0.99970, yours has 0.99939"),
        (after(lambda x: (1 + math.cos(math.pi * (x // 1))) / 2), "divide with /"),
        (after(lambda x: round((1 + math.cos(math.pi * x)) / 2, 2)), "yours has 1.00000"),
        (warmup_from_one, "at step 0"),
        (lambda step, steps, warmup: step / steps, "during warm-up"),
        (fixed_sizes, "use the arguments"),
        (lambda step, steps, warmup: (step, steps), "returned a tuple"),
    ],
    "accumulate": [
        (unscaled, "not scaled"),
        (weighed_by_tokens, "not by its tokens"),
        (mean_of_means, "its share of the rows"),
        (sum_over_rows, "divide by their number"),
        (resets, "do not reset it in between"),
        (backward_outside_the_loop, "inside the loop"),
        (divides_the_gradient, "scale each loss"),
        (resets_at_the_start, "what was in .grad before is gone"),
        (resets_and_does_not_scale, "not scaled"),
        (no_backward, "call backward()"),
        (joined, "all rows are in memory at once"),
        (backward_at_the_end, "all graphs are kept"),
        (resets_at_the_end, "the gradient is gone"),
        (divided_by_all_rows, "its own number of rows"),
        (divided_by_own_rows, "once more"),
        (rows_by_number_of_batches, "number of all rows"),
        (lambda model, batches: len(batches), "never called"),
    ],
    "training_megabytes": [
        (all_times_four, "once, not four times"),
        (trainable_only, "are held too"),
        (no_moments, "two moments besides"),
        (lambda model: no_moments(model, besides=2), "three numbers for a trainable one"),
        (counts_numbers, "element_size"),
        (in_mebibytes, "a million bytes"),
        (lambda model: in_mebibytes(model) * 2**20, "these are bytes"),
        (lambda model: counts_numbers(model) * 4, "not for fp16"),
    ],
}
