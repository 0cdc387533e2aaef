"""Checks of lesson 7: the learning-rate lab."""

import numpy as np

from course_utils.checks.base import exercise, hint_at_known, number, numbers, require, same


@exercise("the number of a step, or 0", number)
def check_diverged_since(diverged_since) -> str:
    """`diverged_since(losses, window)`: the first step whose running mean is above 1.5 times the first one, or 0."""
    losses = [2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0, 3.9, 1.9, 1.5, 6.0, 8.0]
    result = diverged_since(list(losses), 2)
    mistakes = {
        8: "one wild batch is noise: compare running means, not single losses",
        10: "you count steps from 0: the first step is number 1, and a running mean belongs to its last step",
        9: "you give the place in the list of means: the first mean of two belongs to step 2",
        6: "you compare with the lowest mean so far: compare with the first one",
        0: "in the example the mean of 1.5 and 6 is 3.75, more than 1.5 times the first mean, 2",
    }
    hint_at_known(result, mistakes)
    require(result == 11, f"for {losses} and a window of 2 the mean first exceeds 3.0 at step 11, not at {result:g}.")
    full = diverged_since([1.0, 5.0, 3.0, 3.0], 2) != 2
    require(
        full, "in [1, 5, 3, 3] the first mean of two is 3, that of 1 and 5; you compare with 1, the mean of one loss."
    )
    equal = diverged_since([2.0, 2.0, 3.0, 3.0], 2)
    require(equal == 0, "a mean of exactly 1.5 times the first one is not above it: such a run gives 0.")
    require(diverged_since([2.0, 1.5, 1.0], 2) == 0, "a run that never diverges gives 0.")
    require(diverged_since([2.0, 1.9], 3) == 0, "a run shorter than the window has no mean of it yet: that gives 0.")
    at_the_end = diverged_since([1.0, 1.0, 1.0, 3.0], 2)
    require(at_the_end == 4, "in [1, 1, 1, 3] the last mean, of 1 and 3, is above 1.5: look at that one as well.")
    three = diverged_since([1.0, 1.0, 1.0, 2.0, 1.2, 2.2], 3)
    require(three == 6, "right for a window of 2, not for one of 3: use the window that is given.")
    return "the mean waits for proof. A smaller window would be quicker, and cry wolf more often."


@exercise("a list of rates", numbers)
def check_sweep(sweep) -> str:
    """`sweep(low, high, steps)`: rates from low to high, each the same factor above the one before."""
    rates = sweep(1e-4, 1.0, 5)
    require(rates.shape == (5,), f"5 steps are 5 rates, what you return has the shape {rates.shape}.")
    mistakes = [
        (np.linspace(1e-4, 1, 5), "you add the same amount each time, so most rates are high: multiply by a factor"),
        (np.logspace(1e-4, 1, 5), "logspace takes exponents: give it the logarithms, or take geomspace"),
        (np.linspace(-4, 0, 5), "these are the exponents: take ten to the power of each"),
        (np.geomspace(1, 1e-4, 5), "the other way round: the lowest rate comes first"),
    ]
    hint_at_known(rates, mistakes, 1e-8)
    first, last = rates[0], rates[-1]
    require(same(last, 1), f"the last rate should be 1.0, yours is {last:.3g}: from 5 rates there are only 4 steps up.")
    require(same(first, 1e-4, 1e-8), f"the first rate should be 0.0001, yours is {first:.3g}.")
    tenfold = same(rates, [1e-4, 1e-3, 1e-2, 1e-1, 1], 1e-8)
    require(tenfold, "each rate should be ten times the one before: 0.0001, 0.001, 0.01, 0.1, 1.")
    other = same(sweep(1e-2, 4e-2, 3), [1e-2, 2e-2, 4e-2])
    require(other, "right from 0.0001 to 1, not from 0.01 to 0.04 in 3 steps (0.01, 0.02, 0.04): use all arguments.")
    return "equal factors give every power of ten the same number of steps."
