"""Wrong answers to the exercises of lesson 8, each with a part of the hint that it must get."""

import torch
from torch.nn import functional as F


def seen(losses, patience, better=lambda loss, best: loss < best, counted_from=2):
    """The losses up to the stop."""
    best, waited = losses[0], 0
    for count, loss in enumerate(losses[counted_from - 1 :], start=counted_from):
        best, waited = (loss, 0) if better(loss, best) else (best, waited + 1)
        if waited == patience:
            return losses[:count]
    return losses


def cost(losses, patience):
    return min(seen(losses, patience)) - min(losses)


def never_in_a_row(losses, patience):
    waited = [
        sum(loss >= min(losses[:i]) for i, loss in enumerate(losses[:end]) if i) for end in range(len(losses) + 1)
    ]
    end = next((i for i, count in enumerate(waited) if count == patience), len(losses))
    return min(losses[:end]) - min(losses)


def neighbours(losses, patience):
    waited = 0
    for count in range(1, len(losses)):
        waited = 0 if losses[count] < losses[count - 1] else waited + 1
        if waited == patience:
            return min(losses[: count + 1]) - min(losses)
    return 0


def against_the_rest(losses, patience):
    before = seen(losses, patience)
    return min(before) - min(losses[len(before) :], default=min(before))


def drop(states, p, keep_shape=None, scale=lambda kept, p: kept / (1 - p)):
    """Dropout with one mistake: a mask of another shape, or another scale."""
    keep = (torch.rand(keep_shape or states.shape) >= p).float()
    return scale(states * keep, p)


def drop_in_place(states, p):
    states *= (torch.rand(states.shape) >= p).float() / (1 - p)
    return states


def seeded(states, p):
    torch.manual_seed(0)
    return drop(states, p)


def decay(weights, factor, spare=lambda weight: weight.ndim < 2):
    return [weight if spare(weight) else weight * factor for weight in weights]


WRONG = {
    "drop_units": [
        (lambda states, p: drop(states, p, scale=lambda kept, p: kept), "the sum shrinks"),
        (lambda states, p: drop(states, p, scale=lambda kept, p: kept / p), "you divide by p"),
        (lambda states, p: drop(states, p, scale=lambda kept, p: kept * (1 - p)), "multiply by 1 - p"),
        (lambda states, p: drop(states, p, scale=lambda kept, p: kept * p), "multiply by p"),
        (lambda states, p: drop(states, 1 - p), "not the one kept"),
        (lambda states, p: drop(states, p, states.shape[1:]), "same columns"),
        (lambda states, p: drop(states, p, (len(states), 1)), "whole rows"),
        (lambda states, p: drop(states, 0.5), "a share of 0.50"),
        (lambda states, p: states * (1 - p), "no number became 0"),
        (lambda states, p: torch.nn.Dropout(p).eval()(states), "no number became 0"),
        (lambda states, p: drop(states, p).sum(dim=1), "keep the shape"),
        (lambda states, p: drop(states, p) + 0.001 * torch.rand(states.shape) * (states != 0), "no number became 0"),
        (lambda states, p: drop(states, p, states.shape[:2]) if states.dim() == 2 else states[0], "not for three"),
        (drop_in_place, "you change the states"),
        (seeded, "two calls drop the same"),
        (lambda states, p: drop(states, 0.25), "with p = 0 nothing"),
        (lambda states, p: drop(states, p).tolist(), "returned a list"),
    ],
    "decay_weights": [
        (lambda weights, rate, d: decay(weights, 1), "has not changed"),
        (lambda weights, rate, d: [weight - rate * d for weight in weights], "the same amount"),
        (lambda weights, rate, d: decay(weights, 1 - d), "1 - decay"),
        (lambda weights, rate, d: decay(weights, 1 - rate), "1 - rate:"),
        (lambda weights, rate, d: decay(weights, rate * d), "which is what goes"),
        (lambda weights, rate, d: decay(weights, 1 + rate * d), "grows"),
        (lambda weights, rate, d: decay(weights, (1 - rate * d) ** 2), "two steps"),
        (lambda weights, rate, d: decay(weights, 1 - rate - d), "rate + decay"),
        (lambda weights, rate, d: decay(weights, 1 - rate * d, lambda weight: False), "are spared"),
        (lambda weights, rate, d: [weight.abs() * (1 - rate * d) for weight in weights], "nearer to zero"),
        (lambda weights, rate, d: decay(weights, 0.95), "use the arguments"),
        (lambda weights, rate, d: decay(weights, 0.7), "2.0 becomes 1.9"),
        (lambda weights, rate, d: decay(weights, 1 - rate * d)[:1], "1 come out"),
        (lambda weights, rate, d: [weight.sum() for weight in weights], "shape (2, 2)"),
        (lambda weights, rate, d: weights[0] * (1 - rate * d), "wanted is a list of tensors"),
    ],
    "cost_of_patience": [
        (lambda losses, patience: 0, "whatever the patience"),
        (lambda losses, patience: -cost(losses, patience), "wrong sign"),
        (lambda losses, patience: min(seen(losses, patience)), "the lowest loss that early stopping sees"),
        (lambda losses, patience: min(losses), "the lowest loss of all"),
        (lambda losses, patience: seen(losses, patience)[-1] - min(losses), "at which the run ends"),
        (lambda losses, patience: max(seen(losses, patience)) - min(losses), "highest loss"),
        (lambda losses, patience: cost(losses, 1), "one worse loss"),
        (lambda losses, patience: min(seen(losses, patience, lambda a, b: a <= b)) - min(losses), "no new best"),
        (lambda losses, patience: cost(losses, patience + 1), "waits for a third"),
        (lambda losses, patience: len(seen(losses, patience)), "it is 1.4 - 1.1"),
        (neighbours, "with the one before"),
        (lambda losses, patience: min(seen(losses, patience, counted_from=1)) - min(losses), "first loss is a best"),
        (never_in_a_row, "in a row"),
        (against_the_rest, "costs 0"),
        (lambda losses, patience: cost(losses, 2), "use `patience`"),
    ],
    "smooth_targets": [
        (lambda labels, classes, e: F.one_hot(labels, classes) * (1 - e), "gave it to nobody"),
        (
            lambda labels, classes, e: torch.where(F.one_hot(labels, classes) == 1, 1 - e, e / (classes - 1)),
            "the *other* classes",
        ),
        (lambda labels, classes, e: F.one_hot(labels, classes) + e / classes, "sums to 1.2"),
        (lambda labels, classes, e: F.one_hot(labels, classes).T * 0.8 + 0.05, "the shape (2, 4)"),
        (lambda labels, classes, e: torch.full((2, classes), 1 / classes), "0.05, 0.05, 0.85, 0.05"),
        (lambda labels, classes, e: F.one_hot(labels[[0, 0]], classes) * (1 - e) + e / classes, "row 2 is 0.85, 0.05"),
        (lambda labels, classes, e: F.one_hot(labels, classes), "nothing is smoothed"),
        (lambda labels, classes, e: F.one_hot(labels, classes) * (1 - e) + e, "the whole of e"),
        (lambda labels, classes, e: F.one_hot(labels, classes) * (1 - 2 * e) + e, "each other class"),
        (lambda labels, classes, e: F.one_hot(labels, classes) * e + (1 - e) / classes, "the other way round"),
        (
            lambda labels, classes, e: torch.where(F.one_hot(labels, classes) == 1, 1 - e, e / classes),
            "sums to 0.95",
        ),
        (lambda labels, classes, e: (F.one_hot(labels, classes) * (1 - e) + e / classes).tolist(), "returned a list"),
        (lambda labels, classes, e: F.one_hot(labels, classes) * 0.8 + 0.05, "use `classes` and `e`"),
    ],
}
