"""Checks of lesson 6: evaluate."""

import numpy as np

from course_utils.checks.base import exercise, hint_at_known, number, numbers, require, same


@exercise("two arrays with a number for each class, precision and recall", numbers)
def check_precision_recall(precision_recall) -> str:
    """`precision_recall(matrix)`: two arrays from a confusion matrix with true classes in rows."""
    result = precision_recall(np.array([[8, 2, 0], [1, 3, 0], [0, 4, 0]]))
    require(
        result.shape == (2, 3), f"three classes, so two arrays of three numbers; yours has the shape {result.shape}."
    )
    precision, recall = result
    of_columns, of_rows, of_all = [8 / 9, 3 / 9], [0.8, 0.75], [8 / 18, 3 / 18]
    column = "precision divides by what was *predicted* as the class, the sum of its column"
    row = "recall divides by what *is* of the class, the sum of its row"
    swapped = same(precision[:2], of_rows) and same(recall[:2], of_columns)
    require(not swapped, f"they are swapped: {column}.")
    hint_at_known(precision[:2], [(of_all, f"you divide by the number of all tickets: {column}"), (of_rows, column)])
    hint_at_known(recall[:2], [(of_all, f"you divide by the number of all tickets: {row}"), (of_columns, row)])
    example = "for [[8, 2, 0], [1, 3, 0], [0, 4, 0]] the first class has"
    require(same(precision[:2], of_columns), f"{example} precision 8/9, yours {precision[0]:.2f}.")
    require(
        same(recall, [*of_rows, 0]), f"{example} recall 8/10, the third 0/4; yours {recall[0]:.2f}, {recall[2]:.2f}."
    )
    nan = np.isnan(precision[2])
    require(not nan, "the third class is never predicted, and 0 / 0 is not a number: let its precision be 0.")
    unseen = precision_recall(np.array([[5, 1], [0, 0]]))
    zeros = precision[2] == 0 and same(unseen[1], [5 / 6, 0])
    require(zeros, "where nothing was predicted the precision is 0, where nothing occurs the recall is 0.")
    return "precision reads columns, recall reads rows, and a class that is never predicted gets 0."


@exercise("one number, the accuracy", number)
def check_accuracy_on_surest(accuracy_on_surest) -> str:
    """`accuracy_on_surest(probabilities, true, share)`: accuracy where the model is most confident."""
    sure = np.array([0.86, 0.93, 0.6, 0.97, 0.66, 0.9, 0.75, 0.82, 0.55, 0.7])
    right = np.array([1, 0, 0, 1, 1, 1, 0, 1, 0, 0], dtype=bool)
    predicted = np.array([1, 1, 0, 0, 1, 0, 1, 0, 1, 0])
    probabilities = np.where(np.arange(2) == predicted[:, None], sure[:, None], 1 - sure[:, None])
    true = np.where(right, predicted, 1 - predicted)
    result = accuracy_on_surest(probabilities.copy(), true.copy(), 0.5)
    mistakes = {
        0.0: "you sort the answers and leave `true` in its old order: take both at the same positions",
        0.2: "you take the least sure half: sort so that the highest confidence comes first",
        0.4: "you count the right ones among the surest half but divide by all tickets: divide by those that were kept",
        0.5: "that is the accuracy on all tickets: keep only the surest half",
        0.6: "that is the first half as it stands in the list: sort by confidence first",
        1.0: "you sort by the probability of the *true* class, which nobody knows in use: take the row's maximum",
        4.0: "four are right: divide by the number of tickets that were kept",
        80.0: "these are per cent: an accuracy is a number from 0 to 1",
    }
    hint_at_known(result, mistakes)
    require(same(result, 0.8), f"in the example, 4 of the 5 surest answers are right, 0.8; yours is {result:.2f}.")
    shares = [accuracy_on_surest(probabilities.copy(), true.copy(), share) for share in (0.1, 0.2, 0.24, 0.26, 1)]
    require(
        same(shares, [1, 0.5, 0.5, 2 / 3, 0.5]),
        "right for a half, not for other shares: keep round(share * n) of the tickets.",
    )
    return "the surest half is right more often than the whole, which is what makes abstaining worth while."


@exercise("a whole number of tickets", number)
def check_tickets_needed(tickets_needed) -> str:
    """`tickets_needed(accuracy, half_width)`: test tickets for a 95 % interval of a given half-width."""
    result = tickets_needed(0.8, 0.03)
    mistakes = {
        682: "682 are just too few: round up, not down",
        178: "the 1.96 is missing: without it you get a 68 % interval",
        27: "solve for n: the square root hides it, so square both sides",
        26: "solve for n: the square root hides it, so square both sides",
        171: "that is the number for plus or minus 0.06: half_width is already the half",
        2732: "that is the number for plus or minus 0.015: half_width is already the half",
        712: "you round 1.96 to 2, which costs 29 tickets of work",
        349: "1.96 has to be squared as well",
        21: "the half-width has to be squared as well",
        3415: "you leave out 1 - p: under the root stands p (1 - p)",
    }
    hint_at_known(result, mistakes)
    require(result == round(result, 0), f"{result:.1f} tickets cannot be had: round up to a whole number.")
    require(result == 683, f"for an accuracy of 0.8 within 0.03 it takes 683 tickets, yours says {result:g}.")
    other = tickets_needed(0.5, 0.05)
    require(other != 384, "for 0.5 within 0.05, 384 are just too few: round up always, not to the nearest number.")
    require(other == 385, "right for 0.8 within 0.03, but not for 0.5 within 0.05 (385): use both arguments.")
    return "683 tickets for 3 points either way. One point either way takes some 6,000."
