"""From files to splits and tokens, with a note on everything that was found on the way."""

import atexit
import difflib
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from datasets import DatasetDict

from course_utils.cli.measure import LONGEST_TEXT
from course_utils.data import DIRT, CleaningReport, clean, count_tokens, mend_label, plain_label, tokenize
from course_utils.duplicates import EXACT, find_leaks
from course_utils.splits import split_examples
from course_utils.tables import name_of, read_table

VALIDATION, TEST = 0.15, 0.22  # the shares of `split_examples`
MOST_LABELS = 1_000
LARGE = 50_000  # rows from which tokens go to the disk: training then takes the same memory for any number of rows
FEW = 20  # examples of a label, below which its scores say little


def read_splits(options: Namespace) -> tuple[dict[str, pd.DataFrame], dict]:
    """Read, clean and split what the command line names; return the splits and the facts about them.

    Raises FileNotFoundError or ValueError, in one sentence.
    """
    examples, notes, report = read_clean(options, options.data, options.labels, mend=bool(options.labels))
    reports, labels = [report], sorted(examples["label"].unique())
    if absent := sorted(set(options.labels or ()) - set(labels)):
        raise ValueError(f"{name_of(options.data)} has no row with the label {absent[0]!r}: look at --labels.")
    given = {}
    for split in ("validation", "test"):
        if path := getattr(options, split):
            given[split], more, report = read_clean(options, path, labels, mend=bool(options.labels))
            notes += more
            reports.append(report)
    if len(given) < 2:
        check_rare(examples["label"], options.data)
    notes += keep_test_apart(given)
    examples, leaks = leave_out_leaks(examples, given)
    splits = split_rest(examples, given, options.seed)
    check_test(splits["test"], options.test or options.data)
    notes += describe_labels(splits)
    train = splits["train"]["label"].value_counts()
    facts = {
        "files": {"train": short(options.data), **{name: short(getattr(options, name)) for name in given}},
        "text_column": options.text_column,
        "label_column": options.label_column,
        "rows_read": sum(report.before for report in reports),
        "rows_used": sum(len(table) for table in splits.values()),
        "cleaning": [
            {"kind": kind, "rows": sum(len(report.rows.get(kind, [])) for report in reports), "action": action}
            for kind, action in DIRT.items()
        ],
        "splits": {
            name: {"rows": len(table), "labels": {k: int(v) for k, v in table["label"].value_counts().items()}}
            for name, table in splits.items()
        },
        "imbalance": float(train.iloc[0] / train.iloc[-1]),
        "leaks": leaks,
        "notes": notes,
    }
    facts["files"] = {"validation": None, "test": None} | facts["files"]
    return splits, facts


def read_clean(
    options: Namespace, path: str, labels: Sequence[str] | None = None, mend: bool = False
) -> tuple[pd.DataFrame, list[str], CleaningReport]:
    """Read and clean one file. `labels` are the only ones that may occur; with `mend`, others are mended or dropped."""
    table, notes = read_table(path, options.text_column, options.label_column, options.encoding)
    try:
        if labels is None:
            check_labels(table["label"], options.label_column)
        elif not mend:
            table["label"] = spell_as(labels, table["label"])
        cleaned, report = clean(table, labels)
        if mend:
            notes += describe_mended(table["label"], labels, path)
    except ValueError as error:
        raise ValueError(f"{name_of(path)}: {error}") from None
    return cleaned, notes, report


def describe_mended(found: pd.Series, labels: Sequence[str], path: str) -> list[str]:
    """A sentence on what was taken for a misspelling of a valid label: it may have been a label of its own."""
    mended = {value: mend_label(value, labels) for value in found.unique()}
    counts = found.map(plain_label).value_counts()
    taken = {plain_label(value): label for value, label in mended.items() if label}
    taken = {plain: label for plain, label in taken.items() if plain != plain_label(label)}
    if not taken:
        return []
    shown = sorted(taken, key=counts.get, reverse=True)
    words = "; ".join(f"{plain!r} for {taken[plain]!r} in {counts[plain]:,} row(s)" for plain in shown[:8])
    more = f"; and {len(shown) - 8} more" if shown[8:] else ""
    return [f"{name_of(path)}: taken for misspelt, {words}{more}; what is a label of its own belongs into --labels."]


def check_labels(labels: pd.Series, name: str) -> None:
    """Refuse what can be no column of classes: thousands of labels, or nearly one for each row."""
    different = labels[labels.str.strip() != ""].nunique()
    if different > MOST_LABELS or (different > 20 and different > len(labels) / 2):
        raise ValueError(
            f"the column {name!r} has {different:,} different labels in {len(labels):,} rows, which looks like free "
            "text, numbers or ids, not like classes: name another column with --label-column."
        )


def check_rare(labels: pd.Series, path: str) -> None:
    """Refuse labels with too few texts for a split each; name them all, since mending one at a time is a chore."""
    counts = labels.value_counts()
    rare, common = counts[counts < 3], list(counts.index[counts >= 3])
    if rare.empty:
        return
    shown = []
    for label, count in rare[:5].items():
        near = difflib.get_close_matches(label, common, n=1)
        shown.append(f"{label!r} {count}{f', perhaps {near[0]!r} is meant' if near else ''}")
    more = f" and {len(rare) - 5} more" if len(rare) > 5 else ""
    raise ValueError(
        f"{name_of(path)} has {len(rare)} label(s) with fewer than 3 different texts, one for each split "
        f"({'; '.join(shown)}{more}): mend them, add examples, or name the labels to keep with --labels "
        "(others are mended towards the nearest of these, or dropped)."
    )


def spell_as(labels: Sequence[str], found: pd.Series) -> pd.Series:
    """Spell labels as training does where only case and blanks differ. Raises ValueError for unknown ones."""
    spelling = {plain_label(label): label for label in labels}
    plain = found.map(plain_label)
    unknown = sorted(found[(plain != "") & ~plain.isin(list(spelling))].unique())
    if unknown:
        raise ValueError(
            f"the label {unknown[0]!r}{f' and {len(unknown) - 1} more' if unknown[1:] else ''} never occurs in "
            "training: add examples of it there, or leave its rows out."
        )
    return plain.map(spelling).fillna("")


def check_test(test: pd.DataFrame, path: str) -> None:
    """Refuse a test of one row, before anything is trained: no interval can be drawn from it."""
    if len(test) < 2:
        raise ValueError(f"{name_of(path)} leaves a test of one row, which allows no interval: add rows.")


def keep_test_apart(given: dict[str, pd.DataFrame]) -> list[str]:
    """Leave out validation rows that are (near) duplicates of test rows: else the test would help to choose weights."""
    if len(given) < 2:
        return []
    own = given["validation"]
    twins = {place for place, _, _ in find_leaks(given["test"]["text"].tolist(), own["text"].tolist())}
    given["validation"] = own[[place not in twins for place in range(len(own))]]
    if given["validation"].empty:
        raise ValueError(
            "all validation rows are near duplicates of test rows, so the test would choose the weights: name another "
            "file with --validation, or leave it out."
        )
    return [f"{len(twins):,} validation row(s) are near duplicates of test rows and were left out."] if twins else []


def leave_out_leaks(examples: pd.DataFrame, given: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, dict]:
    """Leave out training rows that are (near) duplicates of a row in a given file; say how many and show five."""
    own = examples["text"].tolist()
    pairs = []
    for table in given.values():
        tested = table["text"].tolist()
        # This way round each training row is named once; a test row can have several twins.
        pairs += [(tested[twin], position, near) for position, twin, near in find_leaks(tested, own)]
    twins = {position for _, position, _ in pairs}
    names = " or ".join(given)
    action = "The splits were drawn so that near duplicates stay together: none can leak."
    if len(examples) > EXACT:
        action = (
            "The splits were drawn so that near duplicates stay together; of so many rows, one pair in 5,000 may "
            "have been overlooked, more where texts share a form."
        )
    if given:
        action = f"No training row is a near duplicate of a {names} row."
    if twins:
        action = f"{len(twins):,} training row(s) are near duplicates of {names} rows and were left out of training."
    shown = [
        {"test": text[:LONGEST_TEXT], "train": own[position][:LONGEST_TEXT], "similarity": float(near)}
        for text, position, near in pairs[:5]
    ]
    kept = examples[[position not in twins for position in range(len(examples))]]
    lost = set(examples["label"]) - set(kept["label"])
    if lost:
        raise ValueError(
            f"all training rows of the label {sorted(lost)[0]!r} are near duplicates of {names} rows: training on them "
            "would be cheating, so add others."
        )
    return kept, {"found": len(twins), "action": action, "examples": shown}


def split_rest(examples: pd.DataFrame, given: dict[str, pd.DataFrame], seed: int) -> dict[str, pd.DataFrame]:
    """Draw the splits that no file was given for from the examples."""
    if not given:
        return split_examples(examples, VALIDATION, TEST, seed)
    if len(given) == 2:
        return {"train": examples, **given}
    missing, share = ("test", TEST) if "validation" in given else ("validation", VALIDATION)
    # Both halves together are the one split that is missing.
    parts = split_examples(examples, share / 2, share / 2, seed)
    drawn = pd.concat([parts["validation"], parts["test"]])
    splits = {"train": parts["train"], missing: drawn, **given}
    return {name: splits[name] for name in ("train", "validation", "test")}


def describe_labels(splits: dict[str, pd.DataFrame]) -> list[str]:
    """Sentences on labels with few examples, and on a test too small to tell models apart."""
    counts = splits["train"]["label"].value_counts()
    notes = []
    rare = counts[counts < FEW]
    if len(rare):
        notes.append(
            f"{len(rare)} label(s) have fewer than {FEW} training examples, {rare.index[-1]!r} {rare.iloc[-1]}."
        )
    if counts.iloc[0] > 10 * counts.iloc[-1]:
        notes.append(
            f"The labels are unbalanced: {counts.index[0]!r} has {counts.iloc[0]:,} training examples, "
            f"{counts.index[-1]!r} {counts.iloc[-1]:,}; look at macro-F1, not at accuracy."
        )
    if len(splits["test"]) < 100:
        notes.append(f"The test has only {len(splits['test'])} rows: its scores have wide intervals.")
    return notes


def tokenize_splits(splits: dict[str, pd.DataFrame], tokenizer, max_tokens: int) -> tuple[DatasetDict, dict]:
    """Tokenize; return the data sets and the facts: how many texts were cut, the longest, what to say."""
    large = sum(map(len, splits.values())) > LARGE
    tokenized = tokenize(splits, tokenizer, max_tokens, temporary_folder() if large else None)
    truncated, longest = {}, 0
    for name, rows in tokenized.items():
        lengths = count_tokens(rows)
        # Only texts that reach the limit can have been cut, so only they are tokenized again.
        full = (lengths >= max_tokens).nonzero()[0]
        whole = [len(tokenizer(rows[i]["text"], split_special_tokens=True).input_ids) for i in full.tolist()]
        truncated[name] = sum(length > max_tokens for length in whole)
        longest = max(longest, int(lengths.max()), *whole)
    cut, total = sum(truncated.values()), sum(map(len, tokenized.values()))
    notes = []
    if cut:
        notes.append(
            f"{cut:,} of {total:,} texts are longer than {max_tokens} tokens (the longest has {longest:,}) and are cut "
            "there; --max-tokens sets the limit."
        )
    return tokenized, {
        "max_tokens": max_tokens,
        "truncated": truncated,
        "longest": longest,
        "longest_used": min(longest, max_tokens),
        "notes": notes,
    }


def temporary_folder() -> Path:
    """A folder among the system's temporary ones, gone when this process ends."""
    folder = tempfile.mkdtemp(prefix="finetune-gpt-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def short(path: str) -> str:
    """A file's name without its folders, which are nobody else's business."""
    return name_of(path).strip("'\"")
