"""Lesson 11: one table, whatever file it lies in; what is wrong with a file is said with its line."""

import json

import pandas as pd
import pytest

from course_utils.tables import read_table

ROWS = [("Where is my parcel?", "delivery"), ('He said "no", twice', "1"), ("two\nlines; and a\ttab", "2"), ("ä€", "")]
TABLE = pd.DataFrame(ROWS, columns=["message", "queue"])


def read(path, **options):
    return read_table(path, "message", "queue", **options)


def as_rows(table) -> list[tuple[str, str]]:
    return list(table[["text", "label"]].itertuples(index=False, name=None))


WRITERS = {
    "a.csv": lambda path: TABLE.to_csv(path, index=False),
    "a.tsv": lambda path: TABLE.to_csv(path, index=False, sep="\t"),
    "a.txt": lambda path: TABLE.to_csv(path, index=False, sep="|"),
    "a.jsonl": lambda path: TABLE.to_json(path, orient="records", lines=True),
    "a.parquet": lambda path: TABLE.to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_table(tmp_path, name):
    WRITERS[name](tmp_path / name)
    assert as_rows(read(tmp_path / name)[0]) == ROWS


def test_another_separator_than_the_ending_says_is_found_and_said(tmp_path):
    TABLE.to_csv(tmp_path / "a.csv", index=False, sep=";")
    table, notes = read(tmp_path / "a.csv")
    assert as_rows(table) == ROWS
    assert notes == ["'a.csv' is separated by semicolons."]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_encodings(tmp_path, encoding):
    table = TABLE.iloc[:3]
    table.to_csv(tmp_path / "a.csv", index=False, encoding=encoding)
    given = "utf-8" if encoding == "utf-8-sig" else encoding  # Excel's byte-order mark is no part of the first name
    assert as_rows(read(tmp_path / "a.csv", encoding=given)[0]) == ROWS[:3]


def test_an_alias_of_an_encoding_is_the_encoding(tmp_path):
    (tmp_path / "a.csv").write_bytes(TABLE.to_csv(index=False).encode("utf-16"))
    assert as_rows(read(tmp_path / "a.csv", encoding="utf16")[0]) == ROWS


@pytest.mark.parametrize("encoding", ["UTF-8", "utf_8", "U8", "utf-8-sig", "utf-16-le"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, encoding):
    mark = "" if encoding == "utf-8-sig" else "\ufeff"
    (tmp_path / "a.csv").write_bytes((mark + TABLE.to_csv(index=False)).encode(encoding))
    assert as_rows(read(tmp_path / "a.csv", encoding=encoding)[0]) == ROWS


def test_half_an_emoji_is_no_character(tmp_path):
    (tmp_path / "a.jsonl").write_text(r'{"message": "nice \ud83d", "queue": "a \ud83d\ude00"}')
    assert as_rows(read(tmp_path / "a.jsonl")[0]) == [("nice \ufffd", "a \U0001f600")]


def test_labels_that_are_numbers_become_names_and_missing_ones_nothing(tmp_path):
    frame = pd.DataFrame({"message": ["a", "b", "c"], "queue": [1.0, 2.5, None]})
    frame.to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0]["label"].tolist() == ["1", "2.5", ""]
    lines = [{"message": "a", "queue": 1}, {"message": "b", "queue": True}, {"message": "c"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read(tmp_path / "a.jsonl")[0]["label"].tolist() == ["1", "True", ""]


def test_texts_alone_need_no_label(tmp_path):
    TABLE[["message"]].to_csv(tmp_path / "a.csv", index=False)
    table, _ = read_table(tmp_path / "a.csv", "message", None)
    assert list(table.columns) == ["text"]
    assert table["text"].tolist() == [text for text, _ in ROWS]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('message,queue\nfine,a\n"not closed,b\nfine,a\n', "line 3 that is never closed"),
        ('message,queue\n"two\nlines",a\n"wrong" quote,b\n', "quoted wrongly in the row that begins in line 4"),
        ("message,queue\n\nfine,a\none, two,b\n", "3 cell(s) in line 4, and 2 column names"),
        ("message,queue\nfine,a\nshort\n", "1 cell(s) in line 3"),
        ("message,queue\nfine,a\nnu\0l,b\n", "NUL byte in line 3"),
        ("message,queue,message\na,b,c\n", "2 columns named 'message'"),
        ("I was billed twice,billing\n", "add a first line with names"),
        ("\n\n\n", "nothing but blank lines"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path, content, words):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError) as error:
        read(tmp_path / "a.csv")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_an_undecodable_byte_is_named_by_its_line(tmp_path):
    (tmp_path / "a.csv").write_bytes("message,queue\nfine,a\nGröße,b\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"line 3 is no utf-8 text: tried utf-8, try --encoding latin-1"):
        read(tmp_path / "a.csv")


def test_wrong_lines_of_json(tmp_path):
    for line, words in (("[1, 2]", "line 2"), ("{broken", "line 2"), ('{"message": ["a"], "queue": "b"}', "lists")):
        (tmp_path / "a.jsonl").write_text('{"message": "a", "queue": "b"}\n' + line)
        with pytest.raises(ValueError, match=words):
            read(tmp_path / "a.jsonl")


def test_the_limit_of_a_cell_is_given_back(tmp_path):
    import csv

    before = csv.field_size_limit()
    TABLE.to_csv(tmp_path / "a.csv", index=False)
    read(tmp_path / "a.csv")
    assert csv.field_size_limit() == before


def test_a_data_set_of_the_hub_is_read_by_its_label_names(monkeypatch):
    """With a data set in memory in the hub's place: no test goes out."""
    import datasets

    features = datasets.Features({"message": datasets.Value("string"), "queue": datasets.ClassLabel(names=["x", "y"])})
    rows = datasets.Dataset.from_dict({"message": ["a", "b"], "queue": [1, 0]}, features=features)
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: asked.append((name, split)) or rows)
    assert as_rows(read("hub:owner/name:part")[0]) == [("a", "y"), ("b", "x")]
    assert asked == [("owner/name", "part")]


def test_a_data_set_that_would_run_a_script_is_refused_in_one_sentence(monkeypatch):
    """What `datasets` raises for those of the hub's sets that are programs: it no longer runs them."""
    import datasets

    def refuse(*_, **__):
        raise RuntimeError("Dataset scripts are no longer supported, but found name.py")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError, match=r"^hub:owner/name cannot be read \(Dataset scripts .* found name.py\): check"):
        read("hub:owner/name")
