"""Checks of lesson 8: the regularization lab."""

import torch

from course_utils.checks.base import exercise, hint_at_known, number, require, round_all, same, tensor


@exercise("a number of steps", number)
def check_steps_used(steps_used) -> str:
    """`steps_used(losses, patience, every)`: steps after which early stopping ends a run."""
    losses = [2.0, 1.5, 1.6, 1.4, 1.45, 1.4, 1.5, 1.5, 1.2]
    result = steps_used(list(losses), 2, 10)
    neighbours = result == 80 and steps_used([3.0, 1.0, 2.0, 1.5, 1.4, 1.3], 2, 10) == 60
    require(not neighbours, "you compare each loss with the one before: a new best is lower than *all* before it.")
    higher = result == 30 and steps_used([1.0, 2.0, 3.0, 4.0], 2, 10) == 40
    require(not higher, "you take the highest loss for the best: a new best is *lower* than all before it.")
    mistakes = {
        6: "you count validations: each of them stands for `every` steps",
        30: "with patience 2, one worse validation does not end the run",
        40: "you return the step of the best validation; the run goes on until patience has run out",
        50: "you count validations from 0: after the sixth, 60 steps are done",
        70: "with patience 2, the second validation in a row without a new best is the last; yours waits for a third",
        80: "1.4 again is no new best: only a strictly lower loss starts the count anew",
        90: "you use the whole run, whatever the patience: two validations in a row without a new best end it",
    }
    hint_at_known(result, mistakes)
    require(result == 60, f"for {losses}, patience 2 and a validation every 10 steps it is 60, not {result:g}.")
    require(steps_used([3.0, 2.0, 1.0], 2, 10) == 30, "a run that never loses patience uses all of its steps.")
    in_a_row = steps_used([2.0, 2.1, 1.9, 2.0, 1.8, 1.9, 2.0], 2, 5) == 35
    require(in_a_row, "patience counts validations in a row: each new best starts the count anew.")
    return "what early stopping saves is the rest of the run; what it risks is a best that would have come later."


@exercise("a tensor of shape (rows, classes)", tensor)
def check_smooth_targets(smooth_targets) -> str:
    """`smooth_targets(labels, classes, e)`: target probabilities of label smoothing, shape (rows, classes)."""
    result = smooth_targets(torch.tensor([2, 0]), 4, 0.2)
    shape = tuple(result.shape)
    require(shape == (2, 4), f"two labels and four classes make the shape (2, 4), yours is {shape}.")
    others = 0.2 / 3
    mistakes = [
        ([0, 0, 0.8, 0], "you took 0.2 from the true class and gave it to nobody: spread it over the classes"),
        ([others, others, 0.8, others], "you spread e over the *other* classes; the true one gets its part as well"),
        ([0.05, 0.05, 1.05, 0.05], "the row sums to 1.2: what is spread must first be taken from the true class"),
        ([0.05, 0.05, 0.8, 0.05], "the row sums to 0.95: the true class gets its part of what is spread as well"),
        ([0.2, 0.2, 1, 0.2], "each class gets the whole of e: divide it by the number of classes"),
        ([0.2, 0.2, 0.8, 0.2], "each other class gets the whole of e: divide it by the number of classes"),
        ([0, 0, 1, 0], "nothing is smoothed: take e from the true class, and spread it over all classes"),
        ([0.2, 0.2, 0.4, 0.2], "e is what is spread, and 1 - e what stays: yours has them the other way round"),
    ]
    hint_at_known(result[0], mistakes)
    right = same(result, [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]])
    require(right, f"for labels 2 and 0 of 4, e = 0.2, row 1 is 0.05, 0.05, 0.85, 0.05; yours {round_all(result[0])}.")
    eight = same(smooth_targets(torch.tensor([1]), 8, 0.1), [[0.0125, 0.9125, *[0.0125] * 6]])
    require(eight, "right for 4 classes and e = 0.2, not for 8 and 0.1: use `classes` and `e` as given.")
    return "every class keeps a little, so no logit has to run away to infinity."
