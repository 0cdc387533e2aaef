"""Wrong answers to the exercises of lesson 9, each with a part of the hint that it must get."""

import numpy as np


def right(sizes, scores, goal, never=float("inf"), first=None):
    if scores[0] >= goal:
        return sizes[0] if first is None else first
    for i in range(1, len(sizes)):
        if scores[i] >= goal:
            share = (goal - scores[i - 1]) / (scores[i] - scores[i - 1])
            return sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** share
    return never


def last_crossing(sizes, scores, goal):
    below = [i for i, score in enumerate(scores) if score < goal]
    if not below or below[-1] == len(sizes) - 1:
        return right(sizes, scores, goal)
    return right(sizes[below[-1] :], scores[below[-1] :], goal)


def first_enough(sizes, scores, goal):
    return next((size for size, score in zip(sizes, scores, strict=True) if score >= goal), float("inf"))


def half_way(sizes, scores, goal):
    if scores[0] >= goal or max(scores) < goal:
        return right(sizes, scores, goal)
    i = next(i for i, score in enumerate(scores) if score >= goal)
    return (sizes[i - 1] * sizes[i]) ** 0.5


def from_the_wrong_end(sizes, scores, goal):
    if scores[0] >= goal or max(scores) < goal:
        return right(sizes, scores, goal)
    i = next(i for i, score in enumerate(scores) if score >= goal)
    share = (scores[i] - goal) / (scores[i] - scores[i - 1])
    return sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** share


WRONG = {
    "labels_needed": [
        (lambda sizes, scores, goal: np.interp(goal, scores, sizes), "plain axis"),
        (first_enough, "interpolate"),
        (lambda sizes, scores, goal: np.log2(right(sizes, scores, goal)), "take the power again"),
        (lambda sizes, scores, goal: 1, "takes 32 labels"),
        (lambda sizes, scores, goal: sizes[sum(score < goal for score in scores) - 1], "last size that is not enough"),
        (lambda sizes, scores, goal: right(sizes, scores, goal, never=None), "returned nothing"),
        (lambda sizes, scores, goal: right(sizes, scores, goal, first=4), "reached with the first size"),
        (lambda sizes, scores, goal: right(sizes, scores, goal, never=64), "return infinity"),
        (half_way, "a quarter of the way"),
        (from_the_wrong_end, "from the wrong end"),
        (lambda sizes, scores, goal: float("inf") if goal == scores[-1] else right(sizes, scores, goal), "is enough"),
        (last_crossing, "the first place counts"),
    ],
    "layer_rates": [
        (lambda rate, blocks, decay: [rate * decay**i for i in range(blocks + 2)], "other way round"),
        (lambda rate, blocks, decay: [rate * decay**i for i in range(blocks + 2, 0, -1)], "the head has the full rate"),
        (
            lambda rate, blocks, decay: [
                rate * decay**blocks,
                *[rate * decay**i for i in range(blocks, -1, -1)],
            ],
            "one factor more",
        ),
        (lambda rate, blocks, decay: [rate * decay**i for i in range(blocks, -1, -1)], "five rates"),
        (lambda rate, blocks, decay: [rate] * (blocks + 2), "the rates are 0.0625"),
        (lambda rate, blocks, decay: [rate * decay**i for i in range(blocks, -1, -1)] + [rate], "below the head"),
        (
            lambda rate, blocks, decay: [rate * decay ** (blocks + 1), *[rate * decay**i for i in range(1, 4)], rate],
            "from the lowest to the highest",
        ),
        (lambda rate, blocks, decay: [rate * (i + 1) / (blocks + 2) for i in range(blocks + 2)], "not a fixed amount"),
        (lambda rate, blocks, decay: [rate - decay * i for i in range(blocks + 1, -1, -1)], "not `decay` less"),
        (lambda rate, blocks, decay: [rate * decay] * (blocks + 1) + [rate], "the layer just above"),
        (lambda rate, blocks, decay: [rate * decay**i for i in range(4, -1, -1)], "use `blocks` as it is given"),
        (lambda rate, blocks, decay: rate, "the shape ()"),
        (lambda rate, blocks, decay: [decay**i for i in range(blocks + 1, -1, -1)], "as they are given"),
    ],
}
