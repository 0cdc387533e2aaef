"""Lesson 3: from a CSV file with dirt in it to batches of token ids.

read_examples -> clean -> split_examples -> tokenize
"""

import difflib
import functools
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ftfy
import numpy as np
import pandas as pd
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, disable_progress_bars
from pyarrow import compute
from transformers import PreTrainedTokenizerBase

from course_utils.splits import split_examples, take_per_label

TICKETS = Path(__file__).resolve().parent.parent / "data" / "tickets" / "tickets_raw.csv"
QUEUES = ("account", "billing", "changes", "delivery", "fault", "feedback", "product", "returns")
MAX_TOKENS = 128

disable_progress_bars()  # those of `datasets`: tokenizing takes a second, and bars would differ from run to run


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
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text: save it again as CSV in UTF-8.") from None
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
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes cells without a column name for an index
        raise ValueError(f"{path.name} has more cells in a row than column names: quote texts that hold commas.")
    examples = table[[text, label]].set_axis(["text", "label"], axis=1)
    return examples.rename_axis("row")


# --- cleaning ---------------------------------------------------------------------------------------------------

TAG = re.compile(
    r"</?(a|b|blockquote|body|br|center|div|em|font|h[1-6r]|head|html|i|img|li|link|meta|o:p|ol|p|pre|small|span|"
    r"strong|su[bp]|t[dhr]|table|tbody|tfoot|thead|title|u|ul)(?=[\s/>])[^<>]*>", re.IGNORECASE,
)  # fmt: skip
HIDDEN = re.compile(  # what no reader sees; a search ends where another begins, so what is never closed costs no time
    r"<(style|script)(?=[\s>])[^<>]*>(?:(?!<\1[\s>]).)*?</\1\s*>|<!--(?:(?!<!--).)*?-->|<!doctype[^<>]*>", re.I | re.S
)
ENTITY = re.compile(r"&(#\d+|#x[\da-f]+|\w+);", re.IGNORECASE)
BREAK = re.compile(r"<(br|/p|/div|/h[1-6])\s*/?>", re.IGNORECASE)
# One line that a mail program adds, as a whole: a customer's sentence that begins like it must not match.
FOOTER_LINE = (
    r"(?i:sent from my (?:\w+ ){0,3}(?:i?phone|ipad|tablet|mobile|smartphone|device|laptop|computer))\.?",
    r"(?i:sent from my) [A-Z]\w*(?: [A-Z]\w*)* \d+\w*\.?",  # Kestrel 9
    r"Get (?:the )?(?:[A-Z]\w* ){1,4}app(?: for (?:your )?\w+)?",
    r"(?=.*(?i:addressee|recipient|privileged))(?i:confidentiality notice:|this e-?mail (?:and any|is confidential)).*",
    r"--",
)
FOOTER = re.compile("|".join(FOOTER_LINE), re.DOTALL)
UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Zs")  # Unicode's controls, format characters (zero-width spaces ...) and white space
SIGNATURE_LINES, SIGNATURE_WIDTH = 4, 80  # the limits of RFC 1855; the mark in front, "-- ", is that of RFC 3676


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
    """Repair one text: HTML, mojibake, mail footers, stray white space. Line breaks are kept, one at a time.

    A text in which nothing can be seen, such as zero-width spaces alone, becomes empty.
    """
    text = strip_footer(strip_html(ftfy.fix_encoding(text)))
    lines = (" ".join(line.split()) for line in text.splitlines())
    text = "\n".join(line for line in lines if line)
    return text if any(unicodedata.category(letter) not in UNSEEN for letter in text) else ""


def strip_html(text: str) -> str:
    """Turn HTML into the text a reader would see; "&copy=2" in an address, without a semicolon, is no entity."""
    return ENTITY.sub(lambda entity: html.unescape(entity[0]), TAG.sub(" ", BREAK.sub("\n", HIDDEN.sub(" ", text))))


def strip_footer(text: str) -> str:
    """Cut off what mail programs add below a message: known lines at the very end, and signatures below "-- "."""
    lines = text.split("\n")
    end = kept = len(lines)
    while True:
        while end and not lines[end - 1].strip():
            end -= 1
        if end > 1 and FOOTER.fullmatch(lines[end - 1].strip()):
            end = kept = end - 1
        elif mark := find_signature(lines, end):
            end = kept = mark
        else:
            return "\n".join(lines[:kept])


def find_signature(lines: list[str], end: int) -> int | None:
    """The place of the "-- " above a signature that ends before `end`; None where there is none."""
    for place in range(end - 2, max(0, end - 2 - SIGNATURE_LINES), -1):
        if not 0 < len(lines[place + 1]) <= SIGNATURE_WIDTH:
            return None
        if lines[place] in ("-- ", "-- \r"):
            return place
    return None


def plain_label(label: str) -> str:
    """The label in lower case, with single blanks and each accent one with its letter: what its spellings share."""
    return unicodedata.normalize("NFC", " ".join(label.split()).casefold())


def mend_label(label: str, known: Sequence[str]) -> str | None:
    """Map a label to a known one, over case, white space and small misspellings; None when nothing is near.

    Digits must be the same: "2021" is no misspelling of "2020". Of letters nobody can tell: "irrelevant" would become
    "relevant", so look at what was mended.
    """
    if label in known:
        return label
    spelling = {plain_label(name): name for name in known}
    plain = plain_label(label)
    alike = [name for name in spelling if re.findall(r"\d", name) == re.findall(r"\d", plain)]
    close = [plain] if plain in spelling else difflib.get_close_matches(plain, alike, n=1, cutoff=0.75)
    return spelling[close[0]] if close else None


def agree_on_spelling(labels: pd.Series) -> pd.Series:
    """Give labels that differ only in case and white space their commonest spelling; blank ones become none."""
    tidy = labels.str.split().str.join(" ")
    plain = tidy.map(plain_label)
    common = {key: Counter(spellings).most_common(1)[0][0] for key, spellings in tidy.groupby(plain)}
    return plain.map(common).where(plain != "")


def clean(examples: pd.DataFrame, labels: Sequence[str] | None = None) -> tuple[pd.DataFrame, CleaningReport]:
    """Clean labelled texts; return the clean table (same index labels as before) and a report of all that was found.

    `labels` are the valid labels: others are mended towards the nearest (see `mend_label`) or count as missing. With
    None every label that is not blank is valid, however rare, and only differences in case and white space are mended.
    A text that occurs again with the same label is kept once; one that occurs with different labels is dropped
    altogether, because nobody can say which is right.

    Raises ValueError when no row is left, or, with `labels` None, only one label, or for `labels` that are no list
    of strings.
    """
    if labels is not None and (isinstance(labels, str) or not all(isinstance(label, str) for label in labels)):
        raise ValueError(f'labels={labels!r} is no list of strings: write them in quotes, such as ["1", "2"].')
    raw_text, raw_label = (examples[name].astype("str").fillna("").reset_index(drop=True) for name in ("text", "label"))
    text = raw_text.map(clean_text)
    if labels is None:
        label = agree_on_spelling(raw_label)
    else:
        label = raw_label.map({value: mend_label(value, labels) for value in raw_label.unique()})

    found = {kind: pd.Series(False, index=text.index) for kind in DIRT}
    found["html"] = (raw_text != raw_text.map(strip_html)) & (text != "")
    found["mojibake"] = raw_text != raw_text.map(ftfy.fix_encoding)
    found["footer"] = raw_text.map(strip_html).map(lambda t: strip_footer(t) != t)
    found["label spelling"] = label.notna() & (label != raw_label)
    found["empty text"] = text == ""
    found["missing label"] = label.isna() & ~found["empty text"]
    kept = ~(found["empty text"] | found["missing label"])

    table = pd.DataFrame({"text": text, "label": label})[kept]
    same_text = table["text"].str.lower().str.normalize("NFC")
    conflicting = table.groupby(same_text)["label"].transform("nunique") > 1
    repeated = same_text.duplicated() & ~conflicting
    found["conflicting duplicate"] = conflicting.reindex(text.index, fill_value=False)
    found["exact duplicate"] = repeated.reindex(text.index, fill_value=False)
    table = table[~conflicting & ~repeated]

    if table.empty:
        raise ValueError("No usable row is left after cleaning: every text is empty or has no valid label.")
    if labels is None and table["label"].nunique() == 1:
        only = table["label"].iloc[0]
        raise ValueError(f"All rows have the one label {only!r}: a classifier needs at least two to tell apart.")
    rows = {kind: list(examples.index[mask]) for kind, mask in found.items()}
    return table.set_index(examples.index[table.index]), CleaningReport(rows, before=len(examples), after=len(table))


# --- tokens -----------------------------------------------------------------------------------------------------


def tokenize(
    splits: dict[str, pd.DataFrame], tokenizer: PreTrainedTokenizerBase, max_tokens: int = MAX_TOKENS,
    folder: Path | None = None,
) -> DatasetDict:  # fmt: skip
    """Turn split tables into a DatasetDict of input-output pairs.

    Each row has `text`, `input_ids` (list of token ids, cut off after `max_tokens`, or after the tokenizer's
    `model_max_length` where that is less) and `label` (class id). The classes are the training labels in alphabetical
    order: `tokenized["train"].features["label"].names`. The rows are in memory, or, with `folder`, in files
    there, of which only what is being read takes memory.

    Raises ValueError when another split has a label that training lacks, or when a text has no tokens.
    """
    names = sorted(splits["train"]["label"].unique())
    features = Features({"text": Value("string"), "input_ids": List(Value("int32")), "label": ClassLabel(names=names)})
    longest = min(max_tokens, tokenizer.model_max_length)

    def add_ids(rows: dict[str, list]) -> dict[str, list]:
        # split_special_tokens: a customer who types <|endoftext|> has typed 13 characters, not a control token.
        ids = tokenizer(rows["text"], truncation=True, max_length=longest, split_special_tokens=True).input_ids
        return {"input_ids": ids, "label": [names.index(label) for label in rows["label"]]}

    tokenized = DatasetDict()
    for split, table in splits.items():
        unknown = sorted(set(table["label"]) - set(names))
        if unknown:
            raise ValueError(f"The {split} split has labels that training lacks: {unknown}.")
        rows = Dataset.from_pandas(table[["text", "label"]], preserve_index=False)
        # With a name of its own: no time lost on a fingerprint of the tokenizer.
        place = {"keep_in_memory": True} if folder is None else {"cache_file_name": str(folder / f"{split}.arrow")}
        rows = rows.map(
            add_ids, batched=True, new_fingerprint=f"tokenized-{split}", features=features, remove_columns=["label"],
            **place,
        )  # fmt: skip
        empty = tokenizer.num_special_tokens_to_add()  # some tokenizers put a token in front even of nothing
        if (count_tokens(rows) <= empty).any():
            raise ValueError(f"The {split} split has an empty text: clean the table first.")
        tokenized[split] = rows
    return tokenized


def count_tokens(rows: Dataset) -> np.ndarray:
    """How many tokens each row of a tokenized data set has, without reading them all into memory."""
    batches = rows.select_columns("input_ids").with_format("arrow").iter(10_000)
    counts = [compute.list_value_length(batch["input_ids"]).to_numpy() for batch in batches]
    return np.concatenate([np.zeros(0, int), *counts])


@functools.cache
def split_tickets() -> dict[str, pd.DataFrame]:
    """Read, clean and split the course's tickets, once in a process. Use `load_ticket_splits`, which gives copies."""
    return split_examples(clean(read_examples(label="queue"), QUEUES)[0])


def load_ticket_splits() -> dict[str, pd.DataFrame]:
    """The course's tickets, cleaned and split: {"train": 1,630 rows, "validation": 390, "test": 568}."""
    return {name: table.copy() for name, table in split_tickets().items()}


def load_tickets(tokenizer: PreTrainedTokenizerBase, per_label: int | None = None, seed: int = 0) -> DatasetDict:
    """Run the whole way of the data for the course's tickets; `per_label` keeps that many training rows a queue."""
    splits = load_ticket_splits()
    if per_label is not None:
        splits["train"] = take_per_label(splits["train"], per_label, seed)
    return tokenize(splits, tokenizer)
