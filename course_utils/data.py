"""Lesson 3: from a CSV file with dirt in it to batches of token ids.

read_examples -> clean -> split_examples -> tokenize
"""

import difflib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ftfy
import numpy as np
import pandas as pd
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import train_test_split
from transformers import PreTrainedTokenizerBase

DATA = Path(__file__).resolve().parent.parent / "data"
TICKETS = DATA / "tickets" / "tickets_raw.csv"
QUEUES = ("account", "billing", "changes", "delivery", "fault", "feedback", "product", "returns")
MAX_TOKENS = 128


def read_examples(path: str | Path = TICKETS, text: str = "text", label: str = "label") -> pd.DataFrame:
    """Read a CSV file of labelled texts into a DataFrame with the columns `text` and `label`.

    `text` and `label` name the file's columns. Nothing is cleaned: empty cells become empty strings, and `row` in
    the index is the row's place in the file, counted from 0.

    Raises FileNotFoundError, or ValueError for a file that is no UTF-8 CSV, lacks a column, or has no rows. Each
    says what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}: check the path, or give the full one.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not UTF-8 text (byte {error.start}): save it again as CSV in UTF-8."
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path.name} cannot be read as CSV ({reason}): quote texts that hold commas.") from None
    missing = [column for column in (text, label) if column not in table.columns]
    if missing:
        raise ValueError(
            f"{path.name} has no column {' and no column '.join(map(repr, missing))}, only {list(table.columns)}: "
            "name the columns to use, for example read_examples(path, text='message', label='team')."
        )
    if table.empty:
        raise ValueError(f"{path.name} has column names but no rows.")
    examples = table[[text, label]].set_axis(["text", "label"], axis=1)
    return examples.rename_axis("row")


# --- cleaning ---------------------------------------------------------------------------------------------------

TAG = re.compile(r"</?(a|b|br|div|em|font|i|p|span|strong|u|ul|li|table|tr|td)\b[^<>]*>", re.IGNORECASE)
BREAK = re.compile(r"<(br|/p|/div)\s*/?>", re.IGNORECASE)
FOOTER = re.compile(
    r"\n(--\s*\n|[ \t]*(sent from my|get the .{0,30} app|this e-?mail (and any|is confidential)|"
    r"confidentiality notice)).*\Z",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class CleaningReport:
    """What `clean` found: for each kind of dirt, the rows (index labels of the raw table) it was found in."""

    rows: dict[str, list[int]] = field(default_factory=dict)
    before: int = 0
    after: int = 0

    def table(self) -> pd.DataFrame:
        """One row for each kind of dirt: how many rows had it, and what was done."""
        counts = [(kind, len(self.rows.get(kind, [])), what) for kind, what in DIRT.items()]
        return pd.DataFrame(counts, columns=["dirt", "rows", "what was done"]).set_index("dirt")


DIRT = {
    "html": "tags removed, entities decoded",
    "mojibake": "encoding repaired",
    "footer": "mail footer cut off",
    "label spelling": "spelling mended",
    "empty text": "row dropped",
    "missing label": "row dropped",
    "exact duplicate": "one copy kept",
    "conflicting duplicate": "all copies dropped",
}


def clean_text(text: str) -> str:
    """Repair one text: HTML, mojibake, mail footers, stray white space. Line breaks are kept, one at a time."""
    text = strip_footer(strip_html(ftfy.fix_encoding(text)))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def strip_html(text: str) -> str:
    """Turn HTML into the text a reader would see."""
    return html.unescape(TAG.sub(" ", BREAK.sub("\n", text)))


def strip_footer(text: str) -> str:
    """Cut off what mail programs add below a message."""
    return FOOTER.sub("", text)


def mend_label(label: str, known: Sequence[str]) -> str | None:
    """Map a label to a known one, over case, white space and small misspellings; None when nothing is near."""
    label = " ".join(label.split()).lower()
    if not known or label in known:
        return label or None
    close = difflib.get_close_matches(label, known, n=1, cutoff=0.75)
    return close[0] if close else None


def clean(examples: pd.DataFrame, labels: Sequence[str] | None = None) -> tuple[pd.DataFrame, CleaningReport]:
    """Clean labelled texts; return the clean table (same index labels as before) and a report of all that was found.

    `labels` are the valid labels; None takes those that make up at least 1 % of the rows, so that rare spellings
    are mended towards common ones. A text that occurs again with the same label is kept once; one that occurs
    with different labels is dropped altogether, because nobody can say which is right.

    Raises ValueError when no row is left, or only one label.
    """
    raw_text, raw_label = examples["text"].fillna(""), examples["label"].fillna("")
    if labels is None:
        shares = raw_label.str.split().str.join(" ").str.lower().value_counts(normalize=True)
        labels = [label for label, share in shares.items() if label and share >= 0.01]
    text = raw_text.map(clean_text)
    label = raw_label.map(lambda value: mend_label(value, labels))

    found = {kind: pd.Series(False, index=examples.index) for kind in DIRT}
    found["html"] = (raw_text != raw_text.map(strip_html)) & (text != "")
    found["mojibake"] = raw_text != raw_text.map(ftfy.fix_encoding)
    found["footer"] = raw_text.map(strip_html).map(lambda t: strip_footer(t) != t)
    found["label spelling"] = label.notna() & (label != raw_label)
    found["empty text"] = text == ""
    found["missing label"] = label.isna() & ~found["empty text"]
    kept = ~(found["empty text"] | found["missing label"])

    table = pd.DataFrame({"text": text, "label": label})[kept]
    same_text = table["text"].str.lower()
    conflicting = table.groupby(same_text)["label"].transform("nunique") > 1
    repeated = same_text.duplicated() & ~conflicting
    found["conflicting duplicate"] = conflicting.reindex(examples.index, fill_value=False)
    found["exact duplicate"] = repeated.reindex(examples.index, fill_value=False)
    table = table[~conflicting & ~repeated]

    if table.empty:
        raise ValueError("No usable row is left after cleaning: every text is empty or has no valid label.")
    if table["label"].nunique() == 1:
        only = table["label"].iloc[0]
        raise ValueError(f"All rows have the one label {only!r}: a classifier needs at least two to tell apart.")
    rows = {kind: list(examples.index[mask]) for kind, mask in found.items()}
    return table, CleaningReport(rows, before=len(examples), after=len(table))


# --- near duplicates and splits ---------------------------------------------------------------------------------


def five_grams(text: str) -> set[str]:
    """The set of five-character sequences of a text, in lower case and with one blank for all that is no word."""
    plain = " ".join(re.findall(r"\w+", text.lower()))
    return {plain[i : i + 5] for i in range(max(1, len(plain) - 4))}


def similar_pairs(texts: Sequence[str], threshold: float = 0.7) -> list[tuple[int, int, float]]:
    """Find pairs of near duplicates: (position, position, similarity) with similarity at or above `threshold`.

    Similarity is the Jaccard index of the texts' five-character sequences: shared ones divided by all, from 0 to 1
    (Broder 1997, On the resemblance and containment of documents).
    """
    sets = CountVectorizer(analyzer=five_grams, dtype=np.int32).fit_transform(texts)
    sizes = np.asarray(sets.sum(axis=1)).ravel()
    pairs = []
    for start in range(0, len(texts), 500):  # in slabs: all pairs at once would fill the memory of a laptop
        shared = (sets[start : start + 500] @ sets.T).tocoo()
        first, second = shared.row + start, shared.col
        jaccard = shared.data / (sizes[first] + sizes[second] - shared.data)
        near = (first < second) & (jaccard >= threshold)
        pairs += zip(first[near].tolist(), second[near].tolist(), jaccard[near].tolist(), strict=True)
    return sorted(pairs)


def group_near_duplicates(texts: Sequence[str], threshold: float = 0.7) -> np.ndarray:
    """Number the groups of near duplicates, shape (len(texts),): texts linked by similar pairs share a number."""
    from scipy.sparse import coo_array

    pairs = similar_pairs(texts, threshold)
    first, second = [a for a, _, _ in pairs], [b for _, b, _ in pairs]
    links = coo_array((np.ones(len(pairs)), (first, second)), shape=(len(texts), len(texts)))
    return connected_components(links, directed=False)[1]


def split_examples(
    examples: pd.DataFrame, validation: float = 0.15, test: float = 0.22, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Split a clean table into {"train", "validation", "test"}, at random with `seed`.

    `validation` and `test` are shares of the whole. Each split keeps the labels' proportions, and near duplicates
    stay together in one split, so that no test text has a twin in training.

    Raises ValueError when a label has too few rows to be in every split.
    """
    groups = group_near_duplicates(examples["text"].tolist())
    first_of_group = ~pd.Series(groups, index=examples.index).duplicated()
    heads = pd.DataFrame({"group": groups, "label": examples["label"]}, index=examples.index)[first_of_group]
    try:
        rest, test_heads = train_test_split(heads, test_size=test, stratify=heads["label"], random_state=seed)
        train_heads, validation_heads = train_test_split(
            rest, test_size=validation / (1 - test), stratify=rest["label"], random_state=seed
        )
    except ValueError:
        rarest = heads["label"].value_counts()
        raise ValueError(
            f"Label {rarest.index[-1]!r} has only {rarest.iloc[-1]} different text(s), too few for three splits: add "
            "examples of it, or leave it out."
        ) from None
    parts = {"train": train_heads, "validation": validation_heads, "test": test_heads}
    return {name: examples[np.isin(groups, part["group"])] for name, part in parts.items()}


def take_per_label(examples: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Draw up to `count` rows of each label at random. With one seed, a smaller draw is part of a larger one."""
    shuffled = examples.sample(frac=1, random_state=seed)
    return shuffled[shuffled.groupby("label").cumcount() < count]


# --- tokens -----------------------------------------------------------------------------------------------------


def tokenize(
    splits: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase, max_tokens: int = MAX_TOKENS
) -> DatasetDict:
    """Turn split tables into a DatasetDict of input-output pairs.

    Each row has `text`, `input_ids` (list of token ids, cut off after `max_tokens`) and `label` (class id). The
    classes are the training labels in alphabetical order: `tokenized["train"].features["label"].names`.

    Raises ValueError when another split has a label that training lacks, or when a text has no tokens.
    """
    names = sorted(splits["train"]["label"].unique())
    for split, table in splits.items():
        unknown = sorted(set(table["label"]) - set(names))
        if unknown:
            raise ValueError(f"The {split} split has labels that training lacks: {unknown}.")
    features = Features({"text": Value("string"), "input_ids": List(Value("int32")), "label": ClassLabel(names=names)})
    tokenized = {}
    for split, table in splits.items():
        # split_special_tokens: a customer who types <|endoftext|> has typed 13 characters, not a control token.
        ids = tokenizer(
            table["text"].tolist(), truncation=True, max_length=max_tokens, split_special_tokens=True
        ).input_ids
        if not all(ids):
            raise ValueError(f"The {split} split has an empty text: clean the table first.")
        label_ids = [names.index(label) for label in table["label"]]
        tokenized[split] = Dataset.from_dict(
            {"text": table["text"].tolist(), "input_ids": ids, "label": label_ids}, features=features
        )
    return DatasetDict(tokenized)


def load_tickets(tokenizer: PreTrainedTokenizerBase, per_label: int | None = None, seed: int = 0) -> DatasetDict:
    """Run the whole way of the data for the course's tickets; `per_label` keeps that many training rows a queue."""
    examples, _ = clean(read_examples(label="queue"), QUEUES)
    splits = split_examples(examples)
    if per_label is not None:
        splits["train"] = take_per_label(splits["train"], per_label, seed)
    return tokenize(splits, tokenizer)
