"""Wrong answers to the exercises of lesson 11, each with a part of the hint that it must get."""

from collections import Counter

import numpy as np


def routed(probabilities, threshold, sure=None, classes=None):
    sure = probabilities.max(axis=1) >= threshold if sure is None else sure
    return np.where(sure, probabilities.argmax(axis=1) if classes is None else classes, -1)


def differences(before, after, labels=None, counts=False):
    labels = set(before) | set(after) if labels is None else labels
    first, second = Counter(before), Counter(after)
    divide = (1, 1) if counts else (len(before), len(after))
    return np.array([first[label] / divide[0] - second[label] / divide[1] for label in labels])


def shift(*arguments, **options):
    return np.abs(differences(*arguments, **options)).sum() / 2


WRONG = {
    "choose_model": [
        (lambda low, high: "model" if high < 0 else "TF-IDF", "wrong way round"),
        (lambda low, high: "model" if high > 0 else "TF-IDF", "upper end"),
        (lambda low, high: "model" if low + high > 0 else "TF-IDF", "the middle is above 0"),
        (lambda low, high: "model" if low >= 0 else "TF-IDF", "still holds 0"),
        (lambda low, high: "model" if low > 0.01 else "TF-IDF", "no other limit"),
        (lambda low, high: "model", "shown to be better: take it"),
        (lambda low, high: "TF-IDF", "the model is shown to be better"),
        (lambda low, high: "model" if low > 0 or low == -0.12 else "TF-IDF", "TF-IDF is cheaper"),
        (lambda low, high: "tf-idf", "in just these letters"),
        (lambda low, high: low > 0, "returned a bool"),
    ],
    "route": [
        (lambda probabilities, threshold: probabilities.argmax(axis=1), "put -1 where"),
        (lambda p, threshold: routed(p, threshold, sure=p.max(axis=1) < threshold), "wrong way round"),
        (lambda p, threshold: routed(p, threshold, classes=p.max(axis=1)), "position"),
        (lambda p, threshold: routed(p, threshold, classes=p.argmax(axis=1) + 1), "counted from 0"),
        (lambda p, threshold: (p >= threshold).argmax(axis=1), "highest of each row"),
        (lambda p, threshold: routed(p, threshold, sure=p.max(axis=1) > threshold), ">="),
        (lambda p, threshold: routed(p, 0.7), "use the threshold that it is given"),
        (lambda p, threshold: routed(p, max(threshold, 0.5)), "threshold of 0"),
        (lambda p, threshold: p.argmax(axis=1)[p.max(axis=1) >= threshold], "shape (2,)"),
        (lambda p, threshold: np.array([1, -1, 1, -1]), "yours is [1.0, -1.0, 1.0, -1.0]"),
    ],
    "share_shift": [
        (lambda before, after: 2 * shift(before, after), "forgot the half"),
        (lambda before, after: shift(before, after, counts=True), "divide each"),
        (lambda before, after: 2 * shift(before, after, counts=True), "divide each"),
        (lambda before, after: differences(before, after).sum(), "signs cancel"),
        (lambda before, after: 100 * shift(before, after), "per cent"),
        (lambda before, after: (differences(before, after) ** 2).sum(), "absolute values"),
        (lambda before, after: (differences(before, after) ** 2).sum() / 2, "absolute values"),
        (lambda before, after: np.abs(differences(before, after)).max(), "where several labels gain"),
        (lambda before, after: shift(before, after, labels=sorted(set(before))), "second list only"),
        (lambda before, after: shift(before, after, labels=sorted(set(after))), "missing in the second list"),
        (lambda before, after: 0.4, "same labels twice"),
        (lambda before, after: 0.3, "would have to change"),
    ],
}
