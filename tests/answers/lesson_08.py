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


WRONG = {
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
