"""Wrong answers to the exercises of lesson 7, each with a part of the hint that it must get."""

import numpy as np


def means(losses, window):
    return [sum(losses[end - window : end]) / window for end in range(window, len(losses) + 1)]


def first(values, limit, offset, missing=0):
    return next((i + offset for i, value in enumerate(values) if value > limit), missing)


def by_single_losses(losses, window):
    return first(losses, 1.5 * losses[0], 1)


def from_zero(losses, window):
    return first(means(losses, window), 1.5 * means(losses, window)[0], window - 1)


def place_in_the_means(losses, window):
    return first(means(losses, window), 1.5 * means(losses, window)[0], 0)


def above_the_lowest(losses, window):
    values = means(losses, window)
    return next((i + window for i in range(1, len(values)) if values[i] > 1.5 * min(values[:i])), 0)


def not_strictly(losses, window):
    values = means(losses, window)
    return next((i + window for i, value in enumerate(values) if value >= 1.5 * values[0]), 0)


def never(losses, window):
    return first(means(losses, window), 1.5 * means(losses, window)[0], window, missing=-1 if len(losses) == 3 else 0)


def partial_windows(losses, window):
    """Take means of fewer losses at the start, as the course's own running_mean does."""
    values = [np.mean(losses[max(0, end - window) : end]) for end in range(1, len(losses) + 1)]
    return first(values, 1.5 * values[0], 1)


def nothing_if_never(losses, window):
    return (
        diverged or None if (diverged := first(means(losses, window), 1.5 * means(losses, window)[0], window)) else None
    )


def no_mean_no_answer(losses, window):
    values = means(losses, window)
    return first(values, 1.5 * (values[0] if values else 0), window, missing=-1 if not values else 0)


def without_the_last(losses, window):
    return first(means(losses, window)[:-1], 1.5 * means([*losses, 0, 0], window)[0], window)


def window_of_two(losses, window):
    return first(means(losses, 2), 1.5 * means(losses, 2)[0], 2)


WRONG = {
    "diverged_since": [
        (by_single_losses, "one wild batch is noise"),
        (from_zero, "count steps from 0"),
        (place_in_the_means, "place in the list of means"),
        (above_the_lowest, "compare with the first one"),
        (not_strictly, "exactly 1.5 times"),
        (never, "never diverges gives 0"),
        (no_mean_no_answer, "no mean of it yet"),
        (without_the_last, "look at that one as well"),
        (window_of_two, "not for one of 3"),
        (partial_windows, "the mean of one loss"),
        (nothing_if_never, "returned nothing, for ([1.0, 5.0, 3.0, 3.0], 2)"),
        (lambda losses, window: 0, "the mean of 1.5 and 6"),
        (lambda losses, window: 3, "at step 11, not at 3"),
    ],
    "sweep": [
        (np.linspace, "add the same amount"),
        (lambda low, high, steps: [low * (high / low) ** (i / steps) for i in range(steps)], "only 4 steps up"),
        (lambda low, high, steps: [low * 10**i for i in range(steps)], "use all arguments"),
        (lambda low, high, steps: np.geomspace(low, high, steps + 1), "5 rates"),
        (lambda low, high, steps: np.geomspace(low * 2, high, steps), "the first rate"),
        (np.logspace, "takes exponents"),
        (lambda low, high, steps: np.linspace(np.log10(low), np.log10(high), steps), "these are the exponents"),
        (lambda low, high, steps: np.geomspace(high, low, steps), "other way round"),
        (lambda low, high, steps: high / low, "what you return has the shape ()"),
        (lambda low, high, steps: [low, *[high] * (steps - 1)], "ten times the one before"),
    ],
}
