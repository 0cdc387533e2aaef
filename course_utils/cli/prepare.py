"""From files to splits and tokens, with a note on everything that was found on the way."""

from argparse import Namespace
from collections.abc import Sequence

import pandas as pd
from datasets import DatasetDict

from course_utils.data import DIRT, CleaningReport, clean, plain_label, tokenize
from course_utils.duplicates import find_leaks
from course_utils.splits import split_examples
from course_utils.tables import name_of, read_table

VALIDATION, TEST = 0.15, 0.22  # the shares of `split_examples`
MOST_LABELS = 1_000
FEW = 20  # examples of a label, below which its scores say little


def read_splits(options: Namespace) -> tuple[dict[str, pd.DataFrame], dict]:
    """Read, clean and split what the command line names; return the splits and the facts about them.

    Raises FileNotFoundError or ValueError, in one sentence.
    """
    examples, notes, report = read_clean(options, options.data)
    reports, labels = [report], sorted(examples["label"].unique())
    given = {}
    for split in ("validation", "test"):
        if path := getattr(options, split):
            given[split], more, report = read_clean(options, path, labels)
            notes += more
            reports.append(report)
    examples, leaks = leave_out_leaks(examples, given)
    splits = split_rest(examples, given, options.seed)
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
    options: Namespace, path: str, labels: Sequence[str] | None = None
) -> tuple[pd.DataFrame, list[str], CleaningReport]:
    """Read and clean one file; `labels` are those of the training file, and no other may occur."""
    table, notes = read_table(path, options.text_column, options.label_column, options.encoding)
    try:
        if labels is None:
            check_labels(table["label"], options.label_column)
        else:
            table["label"] = spell_as(labels, table["label"])
        cleaned, report = clean(table, labels)
    except ValueError as error:
        raise ValueError(f"{name_of(path)}: {error}") from None
    return cleaned, notes, report


def check_labels(labels: pd.Series, name: str) -> None:
    """Refuse what can be no column of classes: thousands of labels, or nearly one for each row."""
    different = labels[labels.str.strip() != ""].nunique()
    if different > MOST_LABELS or (different > 20 and different > len(labels) / 2):
        raise ValueError(
            f"the column {name!r} has {different:,} different labels in {len(labels):,} rows, which looks like free "
            "text, numbers or ids, not like classes: name another column with --label-column."
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
    if given:
        action = f"No training row is a near duplicate of a {names} row."
    if twins:
        action = f"{len(twins):,} training row(s) are near duplicates of {names} rows and were left out of training."
    shown = [{"test": text, "train": own[position], "similarity": float(near)} for text, position, near in pairs[:5]]
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
    tokenized = tokenize(splits, tokenizer, max_tokens)
    truncated, longest = {}, 0
    for name, rows in tokenized.items():
        lengths = [len(ids) for ids in rows["input_ids"]]
        # Only texts that reach the limit can have been cut, so only they are tokenized again.
        full = [rows[i]["text"] for i, length in enumerate(lengths) if length >= max_tokens]
        whole = [len(ids) for ids in tokenizer(full, split_special_tokens=True).input_ids] if full else []
        truncated[name] = sum(length > max_tokens for length in whole)
        longest = max(longest, *lengths, *whole)
    cut, total = sum(truncated.values()), sum(map(len, tokenized.values()))
    notes = []
    if cut:
        notes.append(
            f"{cut:,} of {total:,} texts are longer than {max_tokens} tokens (the longest has {longest:,}) and are cut "
            "there; --max-tokens sets the limit."
        )
    return tokenized, {"max_tokens": max_tokens, "truncated": truncated, "longest": longest, "notes": notes}


def short(path: str) -> str:
    """A file's name without its folders, which are nobody else's business."""
    return name_of(path).strip("'\"")
