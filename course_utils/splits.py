"""Lesson 3: cut a table into training, validation and test rows without leaks.

Groups of near duplicates are drawn, not rows, so that no test text has a twin in training.
"""

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from course_utils.duplicates import group_near_duplicates

NAMES = ("train", "validation", "test")
TOLERANCE = 0.02  # how far, as a share of all rows, a split may be from what was asked for


def split_examples(
    examples: pd.DataFrame, validation: float = 0.15, test: float = 0.22, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Split a clean table into {"train", "validation", "test"}, at random with `seed`.

    `validation` and `test` are shares of the whole; they are kept to within 2 points (or three rows), or as nearly as
    one group of each label in each split allows. Each split has every label, in the whole table's proportions as far
    as the groups of near duplicates allow it: a group stays together in one split, so that no test text has a twin in
    training.

    Raises ValueError when a share is none, when a label has fewer than three rows or three groups (one for each
    split), or when a group is so large that the shares cannot be kept.
    """
    check_shares(validation, test)
    shares = np.array([1 - validation - test, validation, test])
    groups = group_near_duplicates(examples["text"].tolist())
    labels = pd.factorize(examples["label"], sort=True)[0]
    check_labels(examples["label"], groups)
    rows = np.zeros((groups.max() + 1, labels.max() + 1), int)  # of each group and label
    np.add.at(rows, (groups, labels), 1)

    home = draw_groups(groups, labels, shares, seed)
    if home is None or not is_even(rows, home, shares):
        home = place_groups(rows, shares, seed)
    if not is_even(rows, home, shares, of_labels=False):
        raise ValueError(
            describe_uneven(rows, shares, examples["text"].iloc[np.argmax(groups == rows.sum(1).argmax())])
        )
    return {name: examples[home[groups] == split] for split, name in enumerate(NAMES)}


def take_per_label(examples: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Draw up to `count` rows of each label at random. With one seed, a smaller draw is part of a larger one."""
    shuffled = examples.sample(frac=1, random_state=seed)
    return shuffled[shuffled.groupby("label").cumcount() < count]


def check_shares(validation: float, test: float) -> None:
    """Refuse shares that leave a split without rows."""
    for name, share in (("validation", validation), ("test", test)):
        if not 0 < share < 1:
            raise ValueError(f"{name}={share} is no share of the rows: give a number between 0 and 1, such as 0.2.")
    if validation + test >= 1:
        raise ValueError(f"validation={validation} and test={test} leave no rows for training: give smaller shares.")


def check_labels(labels: pd.Series, groups: np.ndarray) -> None:
    """Refuse labels that cannot be in every split."""
    if labels.empty:
        raise ValueError("There are no rows to split: give a table with texts and labels.")
    counts = labels.value_counts()
    if counts.iloc[-1] < len(NAMES):
        raise ValueError(
            f"Label {counts.index[-1]!r} has only {counts.iloc[-1]} different text(s), too few for three splits: add "
            "examples of it, or leave it out."
        )
    different = pd.Series(groups).groupby(labels.to_numpy()).nunique()
    rarest = different.idxmin()
    if different[rarest] < len(NAMES):
        raise ValueError(
            f"Label {rarest!r} has {counts[rarest]} texts, but in only {different[rarest]} group(s) of near "
            "duplicates, too few for three splits: add texts in other words, or leave the label out."
        )


def draw_groups(groups: np.ndarray, labels: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray | None:
    """Draw the split (0, 1, 2) of each group, stratified by the label of its first text; None where that fails."""
    first = np.unique(groups, return_index=True)[1]
    heads = np.sort(first)
    try:
        rest, test = train_test_split(heads, test_size=shares[2], stratify=labels[heads], random_state=seed)
        validation_size = shares[1] / (1 - shares[2])
        _, validation = train_test_split(rest, test_size=validation_size, stratify=labels[rest], random_state=seed)
    except ValueError:  # more labels than a small split has rows, or a label whose texts lead no three groups
        return None
    home = np.zeros(len(first), int)
    home[groups[validation]], home[groups[test]] = 1, 2
    return home


def is_even(rows: np.ndarray, home: np.ndarray, shares: np.ndarray, of_labels: bool = True) -> bool:
    """Whether every label is in every split, and the splits' sizes (and labels' shares) are near what they should be.

    Near is within 2 points, or three rows; more where a split could not have a group of each label otherwise.
    """
    have = np.array([rows[home == split].sum(0) for split in range(len(shares))])  # (splits, labels)
    sizes, total = have.sum(1), rows.sum()
    near = max(TOLERANCE * total, 3 + np.maximum(0, least_rows(rows) - np.sort(shares) * total).sum())
    even = have.all() and (abs(sizes - shares * total) <= near).all()
    if even and of_labels:
        wanted = np.outer(sizes, rows.sum(0) / total)
        even = (abs(have - wanted) <= np.maximum(TOLERANCE * sizes[:, None], 1)).all()
    return bool(even)


def least_rows(rows: np.ndarray) -> np.ndarray:
    """How few rows the splits, the smallest first, can have with one of the three smallest groups of each label.

    A group beyond the tolerance counts as no larger than that: it is for `describe_uneven`.
    """
    sizes = np.minimum(rows.sum(1), max(3, TOLERANCE * rows.sum()))
    smallest = [np.sort(sizes[rows[:, label] > 0])[: len(NAMES)] for label in range(rows.shape[1])]
    return np.sum(smallest, axis=0)


def place_groups(rows: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Choose the split of each group, the largest first: where its labels, and rows of any kind, are wanted most.

    Every label first gets a group in each split. Groups of one size come in random order. `rows` counts the rows of
    each group and label, shape (groups, labels).
    """
    rng = np.random.default_rng(seed)
    sizes = rows.sum(1)
    weights = np.hstack([rows, 10 * sizes[:, None]])  # the sizes of the splits matter more than the labels' shares
    missing = np.outer(shares, np.append(rows.sum(0), sizes.sum())).astype(float)  # (splits, labels and all)
    home = np.full(len(rows), -1)
    shuffled = rng.permutation(len(rows))
    ascending = shuffled[np.argsort(sizes[shuffled], kind="stable")]

    def put(group: int, split: int) -> None:
        home[group] = split
        missing[split] -= np.append(rows[group], sizes[group])

    for label in np.argsort((rows > 0).sum(0), kind="stable"):  # the label of the fewest groups first
        wanting = np.argsort(missing[:, -1], kind="stable")  # the split that wants fewest rows more comes first
        lacking = [split for split in wanting if not rows[home == split, label].any()]
        free = [group for group in ascending if rows[group, label] and home[group] < 0][: len(lacking)]
        for group, split in zip(free, lacking, strict=False):  # and has the smallest group
            put(group, split)
    for group in ascending[::-1]:
        if home[group] < 0:
            put(group, int(np.argmax(missing @ weights[group])))
    return home


def describe_uneven(rows: np.ndarray, shares: np.ndarray, example: str) -> str:
    """Say in one sentence why the shares cannot be kept; `example` is a text of the largest group."""
    size, total = rows.sum(1).max(), rows.sum()
    wanted = ", ".join(f"{name} {share:.0%}" for name, share in zip(NAMES, shares, strict=True))
    return (
        f"{size} of {total} rows are near duplicates of each other (such as {example[:40]!r}) and must stay in one "
        f"split, so the shares ({wanted}) cannot be kept within 2 points with every label in each split: keep fewer of "
        "them, or choose other shares."
    )
