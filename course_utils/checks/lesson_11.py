"""Checks of lesson 11: your own task."""

import numpy as np

from course_utils.checks.base import exercise, number, numbers, require, same


def word(value) -> str:
    """Read a single text."""
    if not isinstance(value, str):
        raise TypeError
    return value


@exercise("a text, 'model' or 'TF-IDF'", word)
def check_choose_model(choose_model) -> str:
    """`choose_model(low, high)`: which to use, from the interval of macro-F1, model minus TF-IDF."""
    cases = [(0.04, 0.30), (-0.30, -0.04), (-0.02, 0.12), (-0.12, 0.02), (0.0, 0.10), (0.001, 0.002)]
    result = [choose_model(low, high) for low, high in cases]
    strange = [answer for answer in result if answer not in ("model", "TF-IDF")]
    require(not strange, f"it should return 'model' or 'TF-IDF', in just these letters, not {strange[:1]}.")
    ahead, behind, middle, lower, touching, narrow = (answer == "model" for answer in result)
    require(ahead or not behind, "the wrong way round: the interval is of the model *minus* TF-IDF.")
    require(not behind, "for -0.30 to -0.04 TF-IDF is shown to be better: take it.")
    require(ahead, "for 0.04 to 0.30 the model is shown to be better: take it.")
    require(not (middle and lower), "you look at the upper end: it says what *might* be; the lower end, what is shown.")
    require(not middle, "for -0.02 to 0.12 the middle is above 0, but 0 is inside: no difference is shown.")
    require(not lower, "for -0.12 to 0.02 no difference is shown, and TF-IDF is cheaper.")
    require(not touching, "for 0.00 to 0.10 the interval still holds 0: ask for more than 0.")
    require(narrow, "for 0.001 to 0.002 a difference is shown, however small: 0 is what counts, no other limit.")
    return "the one that costs more has to show that it is better; without proof the cheap one stays."


@exercise("an array with a class number, or -1, for each text", numbers)
def check_route(route) -> str:
    """`route(probabilities, threshold)`: the likeliest class of each text, -1 where it is not sure enough."""
    probabilities = np.array([[0.1, 0.9, 0.0], [0.4, 0.3, 0.3], [0.75, 0.05, 0.2], [0.2, 0.2, 0.6]])
    result = route(probabilities.copy(), 0.7)
    require(result.shape == (4,), f"four texts, so four numbers; yours has the shape {result.shape}.")
    require(
        not same(result, [1, 0, 0, 2]), "these are the likeliest classes of all texts: put -1 where it is below 0.7."
    )
    require(not same(result, [-1, 0, -1, 2]), "the wrong way round: -1 is for those *below* the threshold.")
    require(not same(result, [0.9, -1, 0.75, -1]), "these are probabilities: return the *position* of the highest.")
    require(not same(result, [2, -1, 1, -1]), "classes are counted from 0, as everywhere in the course.")
    require(not same(result, [1, 0, 0, 0]), "you compare with every class: look at the highest of each row, by rows.")
    require(same(result, [1, -1, 0, -1]), f"for the example it should be [1, -1, 0, -1], yours is {result.tolist()}.")
    exact = same(route(np.array([[0.5, 0.5], [0.25, 0.75]]), 0.75), [-1, 1])
    require(exact, "a text exactly at the threshold is sure enough: compare with >=, and use the threshold given.")
    open_door = same(route(probabilities.copy(), 0.0), [1, 0, 0, 2])
    require(open_door, "with a threshold of 0 every text is answered: does it use the threshold that it is given?")
    return "two of the four are answered, two go to a person, and the threshold is yours to choose, on validation."


@exercise("a number from 0 to 1", number)
def check_share_shift(share_shift) -> str:
    """`share_shift(before, after)`: half the sum of the differences between two lists' shares of labels."""
    before = ["work"] * 5 + ["seen"] * 4 + ["wanted"]
    after = ["work"] * 5 + ["seen"] * 5 + ["wanted"] * 10
    result = share_shift(list(before), list(after))
    mistakes = {
        0.8: "you forgot the half: what one label gains another has lost, so the sum counts every shift twice",
        10.0: "these are counts: divide each by the length of its own list first",
        5.0: "these are counts: divide each by the length of its own list first",
        0.0: "the signs cancel: add up the *absolute* differences",
        40.0: "that is in per cent: give a number from 0 to 1",
        0.245: "you square the differences: take their absolute values",
        0.1225: "you square the differences: take their absolute values",
    }
    for wrong, hint in mistakes.items():
        require(not same(result, wrong), f"{hint}.")
    require(same(result, 0.4), f"in the example, 0.4 of all notes would have to change label; yours is {result:.2f}.")
    require(same(share_shift(list(before), list(before)), 0), "for the same labels twice it should be 0.")
    new = share_shift(["a", "a"], ["a", "b"])
    require(same(new, 0.5), "a label that comes up in the second list only counts, too: go through the labels of both.")
    gone = share_shift(["a", "b"], ["a", "a"])
    require(same(gone, 0.5), "a label that is missing in the second list counts, too: go through the labels of both.")
    two = share_shift(list("aabb"), list("ccdd"))
    require(same(two, 1), "where several labels gain, all of them count: add up every difference, not the largest one.")
    return "0 means the same mix as before, 1 that nothing is. It needs no new labels, so you can watch it every day."
