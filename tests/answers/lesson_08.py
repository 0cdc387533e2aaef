"""Wrong answers to the exercises of lesson 8, each with a part of the hint that it must get."""

import torch
from torch.nn import functional as F


def stop(losses, patience, every, start=1, better=lambda loss, best: loss < best, extra=0):
    best, waited = float("inf"), 0
    for count, loss in enumerate(losses, start=start):
        if better(loss, best):
            best, waited = loss, 0
        else:
            waited += 1
        if waited == patience + extra:
            return count * every
    return len(losses) * every


def best_step(losses, patience, every):
    end = stop(losses, patience, 1)
    return (losses.index(min(losses[:end])) + 1) * every


def never_in_a_row(losses, patience, every):
    best, waited = float("inf"), 0
    for count, loss in enumerate(losses, start=1):
        waited += loss >= best
        best = min(loss, best)
        if waited == patience + (losses[0] == 2.0 and len(losses) == 9):
            return count * every
    return len(losses) * every


def neighbours(losses, patience, every):
    waited = 0
    for count in range(1, len(losses)):
        waited = 0 if losses[count] < losses[count - 1] else waited + 1
        if waited == patience:
            return (count + 1) * every
    return len(losses) * every


def forever(losses, patience, every):
    return stop(losses, patience, every) if len(losses) > 3 else (len(losses) + patience) * every


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
    "steps_used": [
        (lambda losses, patience, every: stop(losses, patience, 1), "you count validations"),
        (best_step, "step of the best validation"),
        (lambda losses, patience, every: stop(losses, patience, every, start=0), "from 0"),
        (lambda losses, patience, every: stop(losses, patience, every, extra=1), "waits for a third"),
        (lambda losses, patience, every: stop(losses, patience, every, better=lambda a, b: a <= b), "no new best"),
        (lambda losses, patience, every: stop(losses, 1, every), "one worse validation"),
        (forever, "uses all of its steps"),
        (never_in_a_row, "in a row"),
        (neighbours, "with the one before"),
        (lambda losses, patience, every: stop([-loss for loss in losses], patience, every), "highest loss"),
        (lambda losses, patience, every: len(losses) * every, "whatever the patience"),
        (lambda losses, patience, every: 7, "it is 60"),
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
