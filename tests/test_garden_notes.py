"""The second data set: what its data sheet says of it is so."""

import re
from collections import Counter
from pathlib import Path

import pytest

from course_utils.data import clean
from course_utils.duplicates import similar_pairs
from course_utils.tables import read_table

FOLDER = Path(__file__).resolve().parent.parent / "data" / "garden_notes"
SHEET = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def notes():
    table, said = read_table(FOLDER / "notes.csv", text="note", label="kind")
    assert len(table) == 396 and said == []
    return clean(table)


def test_the_labels_and_their_counts(notes):
    in_sheet = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", SHEET, re.MULTILINE)
    assert dict(notes[0]["label"].value_counts()) == {label: int(count) for label, count in in_sheet}
    assert len(notes[0]) == 392


def test_the_dirt_is_the_dirt_of_the_sheet(notes):
    found = {kind: len(rows) for kind, rows in notes[1].rows.items() if rows}
    assert found == {"label spelling": 4, "exact duplicate": 2, "empty text": 1, "missing label": 1}


def test_no_two_notes_are_near_duplicates_or_begin_alike(notes):
    texts = notes[0]["text"].tolist()
    pairs = similar_pairs(texts, threshold=0.2)
    assert round(max(similarity for *_, similarity in pairs), 2) == 0.24
    openings = Counter(tuple(text.lower().split()[:2]) for text in texts)
    assert max(openings.values()) == 2


def test_the_lengths(notes):
    words = notes[0]["text"].str.split().str.len()
    assert (words.min(), words.median(), words.max()) == (3, 13, 30)
