"""Checks of lesson 9: the transfer lab."""

import math

from course_utils.checks.base import exercise, hint_at_known, number, numbers, require, same


@exercise("a number of labels", number)
def check_labels_needed(labels_needed) -> str:
    """`labels_needed(sizes, scores, goal)`: labels to reach a score, interpolated on a log axis."""
    sizes, scores = [8, 16, 64], [0.2, 0.4, 0.6]
    result = labels_needed(list(sizes), list(scores), 0.5)
    mistakes = [
        (40, "40 is half-way between 16 and 64 on a plain axis; on a logarithmic one it is 32"),
        (64, "64 is the first size that is enough, but the curve crosses 0.5 before: interpolate"),
        (16, "16 is the last size that is not enough, and the curve crosses 0.5 after it: interpolate"),
        *[
            (log(32), "that is the logarithm of the answer: take the power again")
            for log in (math.log2, math.log, math.log10)
        ],
    ]
    hint_at_known(result, mistakes)
    require(same(result, 32), f"for sizes {sizes} and scores {scores} the goal 0.5 takes 32 labels, not {result:g}.")
    quarter = labels_needed(list(sizes), list(scores), 0.45)
    mistakes = [
        (32, "0.45 lies a quarter of the way from 0.4 to 0.6, not half-way: how far it is decides where the size lies"),
        (16 * 4**0.75, "the share is counted from the wrong end: 0.45 lies near 0.4, so the answer lies near 16"),
        (28, "the goal of 0.5 came out right, but 28 is interpolated on a plain axis"),
    ]
    hint_at_known(quarter, mistakes)
    require(same(quarter, 16 * 4**0.25), f"the goal 0.45 takes 16 * 4 ** 0.25 = 22.6 labels, not {quarter:g}.")
    just = labels_needed(list(sizes), list(scores), 0.6)
    require(same(just, 64), "a score equal to the goal is enough: the goal 0.6 takes 64 labels.")
    first = labels_needed(list(sizes), list(scores), 0.1)
    require(same(first, 8), "a goal of 0.1 is reached with the first size already: return 8.")
    never = labels_needed(list(sizes), list(scores), 0.7)
    require(never == math.inf, "a goal of 0.7 is never reached: return infinity, not the last size.")
    twice = labels_needed([8, 16, 32, 64], [0.2, 0.4, 0.3, 0.6], 0.4)
    require(same(twice, 16), "where a curve reaches the goal twice, the first place counts.")
    return "a number of labels is a cost, and with it two methods can be compared in the currency that matters."


@exercise("a list of rates", numbers)
def check_layer_rates(layer_rates) -> str:
    """`layer_rates(rate, blocks, decay)`: rates of embeddings, blocks from the lowest, and head."""
    result = layer_rates(1.0, 3, 0.5)
    five = result.shape == (5,)
    require(five, f"three blocks, the embeddings and the head make five rates, yours have the shape {result.shape}.")
    mistakes = [
        ([1, 0.5, 0.25, 0.125, 0.0625], "the other way round: the embeddings come first, with the lowest rate"),
        ([0.03125, 0.0625, 0.125, 0.25, 0.5], "the head has the full rate; the decay begins with the block below it"),
        ([0.125, 0.125, 0.25, 0.5, 1], "the embeddings lie below the lowest block: one factor more for them"),
        ([0.125, 0.25, 0.5, 1, 1], "the highest block is below the head: its rate is decay times the head's"),
        ([0.2, 0.4, 0.6, 0.8, 1], "each rate is `decay` times the one above it, not a fixed amount less"),
        ([-1, -0.5, 0, 0.5, 1], "each rate is `decay` times the one above it, not `decay` less"),
        ([0.5, 0.5, 0.5, 0.5, 1], "each layer gets `decay` times the rate of the layer just above it, not the head's"),
        ([0.0625, 0.5, 0.25, 0.125, 1], "the blocks come from the lowest to the highest, so their rates must rise"),
    ]
    hint_at_known(result, mistakes)
    right = same(result, [0.0625, 0.125, 0.25, 0.5, 1])
    require(right, "for rate 1, three blocks and decay 0.5 the rates are 0.0625, 0.125, 0.25, 0.5, 1.")
    level = layer_rates(0.01, 1, 1.0)
    require(level.shape == (3,), f"one block makes three rates, yours are {level.size}: use `blocks` as it is given.")
    require(
        same(level, [0.01, 0.01, 0.01]),
        "with a decay of 1 every layer has the full rate: use `rate` and `decay` as they are given.",
    )
    return "general knowledge below changes slowly, the task's own above changes fast."
