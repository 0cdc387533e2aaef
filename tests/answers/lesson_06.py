"""Wrong answers to the exercises of lesson 6, each with a part of the hint that it must get."""

import numpy as np


def swapped(matrix):
    right = matrix.diagonal()
    return right / np.maximum(matrix.sum(axis=1), 1), right / np.maximum(matrix.sum(axis=0), 1)


def not_a_number(matrix):
    return matrix.diagonal() / matrix.sum(axis=0), matrix.diagonal() / matrix.sum(axis=1)


def precision_made_safe(matrix):
    return matrix.diagonal() / np.maximum(matrix.sum(axis=0), 1), matrix.diagonal() / matrix.sum(axis=1)


def share_of_all(matrix):
    return matrix.diagonal() / matrix.sum(), matrix.diagonal() / matrix.sum()


def first_class_only(matrix):
    return matrix[0, 0] / matrix[:, 0].sum(), matrix[0, 0] / matrix[0].sum()


def f1_twice(matrix):
    f1 = 2 * matrix.diagonal() / (matrix.sum(axis=0) + matrix.sum(axis=1))
    return f1, f1


def surest(probabilities, true, share, score=None, sign=-1, keep=None):
    score = probabilities.max(axis=1) if score is None else score
    kept = np.argsort(sign * score)[: keep or round(share * len(true))]
    return (probabilities[kept].argmax(axis=1) == true[kept]).mean()


def by_the_true_class(probabilities, true, share):
    return surest(probabilities, true, share, probabilities[np.arange(len(true)), true])


def true_in_its_old_order(probabilities, true, share):
    kept = np.argsort(-probabilities.max(axis=1))[: round(share * len(true))]
    return (probabilities[kept].argmax(axis=1) == true[: len(kept)]).mean()


def divided_by_all(probabilities, true, share):
    return surest(probabilities, true, share) * share


def whole(probabilities, true, share):
    return surest(probabilities, true, 1)


def unsorted(probabilities, true, share):
    return surest(probabilities, true, share, score=np.zeros(len(true)), sign=1)


def needed(accuracy, half_width, z=1.96):
    return z**2 * accuracy * (1 - accuracy) / half_width**2


def root(accuracy, half_width):
    return int(np.ceil(1.96 * np.sqrt(accuracy * (1 - accuracy)) / half_width))


WRONG = {
    "precision_recall": [
        (swapped, "swapped"),
        (not_a_number, "not a number"),
        (precision_made_safe, "the recall is 0"),
        (share_of_all, "number of all tickets"),
        (first_class_only, "three numbers"),
        (f1_twice, "precision 8/9"),
        (lambda matrix: swapped(matrix)[:1] * 2, "precision divides by"),
        (lambda matrix: swapped(matrix)[1:] * 2, "recall divides by"),
        (lambda matrix: (swapped(matrix)[1], f1_twice(matrix)[0]), "recall 8/10"),
        (lambda matrix: (swapped(matrix)[1], None), "returned a tuple"),
    ],
    "accuracy_on_surest": [
        (lambda probabilities, true, share: surest(probabilities, true, share, sign=1), "least sure half"),
        (by_the_true_class, "*true* class"),
        (divided_by_all, "divide by those that were kept"),
        (whole, "accuracy on all tickets"),
        (unsorted, "sort by confidence first"),
        (lambda probabilities, true, share: surest(probabilities, true, share, keep=5), "not for other shares"),
        (
            lambda probabilities, true, share: surest(probabilities, true, share, keep=int(share * len(true))),
            "keep round(share * n)",
        ),
        (
            lambda probabilities, true, share: surest(probabilities, true, share, keep=int(np.ceil(share * len(true)))),
            "keep round(share * n)",
        ),
        (true_in_its_old_order, "`true` in its old order"),
        (lambda probabilities, true, share: 0.3, "4 of the 5"),
        (lambda probabilities, true, share: 5 * surest(probabilities, true, share), "four are right"),
        (lambda probabilities, true, share: 100 * surest(probabilities, true, share), "per cent"),
    ],
    "tickets_needed": [
        (needed, "round up"),
        (lambda accuracy, half_width: int(needed(accuracy, half_width)), "not down"),
        (lambda accuracy, half_width: int(np.ceil(needed(accuracy, half_width, z=1))), "1.96 is missing"),
        (lambda accuracy, half_width: int(np.ceil(needed(accuracy, half_width, z=2))), "1.96 to 2"),
        (lambda accuracy, half_width: int(np.ceil(needed(accuracy, 2 * half_width))), "already the half"),
        (lambda accuracy, half_width: int(np.ceil(needed(accuracy, half_width / 2))), "already the half"),
        (lambda accuracy, half_width: int(np.ceil(needed(accuracy, half_width) / 1.96)), "squared as well"),
        (root, "square both sides"),
        (lambda accuracy, half_width: round(needed(accuracy, half_width)), "not to the nearest number"),
        (lambda accuracy, half_width: 683, "use both arguments"),
        (lambda accuracy, half_width: 1000, "it takes 683"),
        (lambda accuracy, half_width: float("nan"), "round up"),
        (lambda accuracy, half_width: int(np.ceil(1.96**2 * accuracy * (1 - accuracy) / half_width)), "half-width has"),
        (lambda accuracy, half_width: int(np.ceil(1.96**2 * accuracy / half_width**2)), "leave out 1 - p"),
    ],
}
