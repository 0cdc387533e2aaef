"""Lesson 11: read labelled texts from whatever file they come in, and say exactly what is wrong with it.

CSV with commas, semicolons, tabs or bars; JSON lines; Parquet; a data set of the hub. Every problem is one sentence:
where it is, what it is, what to do.
"""

import codecs
import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
JSON_LINES = (".jsonl", ".ndjson", ".json")  # endings of files with one JSON object a line
LONGEST_HEADER = 100_000  # characters in which a separator is looked for
LONGEST_CELL = 1_000_000  # characters; more is nearly always a quote that was opened and never closed
# How files begin that some programs call data, and what they are.
MAGIC = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive", b"\x1f\x8b": "a gzip archive", b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook", b"\x89PNG": "a picture", b"SQLite format 3": "a database",
}  # fmt: skip
CONTROL = bytes({*range(9), *range(14, 32)} - {27})  # bytes that no text has in numbers; 27 begins a colour
Row = tuple[int, list[str]]  # line number in the file, cells


def read_table(
    path: str | Path, text: str = "text", label: str | None = "label", encoding: str = "utf-8"
) -> tuple[pd.DataFrame, list[str]]:
    """Read a file of texts; return a table with the columns `text` and `label`, and sentences on what was noticed.

    `text` and `label` name the file's columns; with `label` None the table has texts only. Numbers become strings: a
    label is a name. Missing cells become "". The index, `row`, counts the file's rows from 0. The kind of file is known
    by its ending (.csv, .tsv, .txt, .jsonl, .parquet); "hub:owner/name" and "hub:owner/name:split" are of the hub.

    Raises FileNotFoundError, or ValueError for anything that cannot be read.
    """
    wanted = [text] if label is None else [text, label]
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"The column {text!r} cannot be both text and label: name two columns.")
    if str(path).startswith("hub:"):
        columns, notes = read_hub(str(path), wanted), []
    else:
        check_file(path := Path(path))
        kind = path.suffix.lower()
        if kind == ".parquet":
            columns, notes = read_parquet(path, wanted), []
        else:
            check_codec(encoding)
            check_text(path, encoding)
            read = read_json_lines if kind in JSON_LINES else read_delimited
            columns, notes = read(path, wanted, encoding)
    if not columns[text]:
        raise ValueError(f"{name_of(path)} has column names but no rows: there is nothing to learn from.")
    table = pd.DataFrame({"text": columns[text]} | ({} if label is None else {"label": columns[label]}), dtype="str")
    return table.rename_axis("row"), notes


def name_of(path: str | Path) -> str:
    """How messages name a file: without its folders; a data set of the hub as it is."""
    return str(path) if str(path).startswith("hub:") else repr(Path(path).name)


# --- before reading ---------------------------------------------------------------------------------------------


def check_file(path: Path) -> None:
    """Refuse a path with nothing to read."""
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: name a file in it.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}: check the path, or give the full one.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name!r} is empty: export it again.")


def check_codec(encoding: str) -> None:
    """Refuse an encoding that Python does not know, or that does not encode text."""
    try:
        "a".encode(encoding)
    except LookupError:
        raise ValueError(
            f"There is no text encoding {encoding!r}: use utf-8, utf-16, latin-1 or cp1252, for example."
        ) from None


def check_text(path: Path, encoding: str) -> None:
    """Refuse a file whose first bytes are not those of text in `encoding`."""
    with path.open("rb") as file:
        start = file.read(4096)
    for magic, what in MAGIC.items():
        if start.startswith(magic):
            raise ValueError(f"{path.name!r} is {what}, not text: save the table as CSV in UTF-8.")
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):  # whatever alias was given
        return
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path.name!r} was read as {encoding} but is UTF-16: add --encoding utf-16.")
    odd, even = start[1::2].count(0), start[::2].count(0)
    if max(odd, even) > len(start) / 5 and min(odd, even) == 0:  # every other byte of Latin letters in UTF-16
        guess = "utf-16-le" if odd else "utf-16-be"
        raise ValueError(f"{path.name!r} was read as {encoding} but looks like UTF-16: add --encoding {guess}.")
    if len(start) - len(start.translate(None, CONTROL)) > 3 + len(start) / 100:
        raise ValueError(f"{path.name!r} is a binary file, not text: save the table as CSV in UTF-8.")


@contextmanager
def explain_decoding(path: Path, encoding: str) -> Iterator[None]:
    """Turn an error of decoding into a sentence that names the line and the encodings to try."""
    try:
        yield
    except UnicodeError:
        line = find_undecodable(path, encoding)
        where = f"line {line} is no {encoding} text" if line else f"it is no {encoding} text"
        try_next = "utf-8" if "16" in encoding else "latin-1 (or cp1252, from Windows) or utf-16"
        raise ValueError(
            f"{path.name!r} cannot be read, {where}: tried {encoding}, try --encoding {try_next}, or save it in UTF-8."
        ) from None


def find_undecodable(path: Path, encoding: str) -> int | None:
    """The number of the first line that is no text in `encoding`; None for encodings whose lines have no such sense."""
    if "16" in encoding or "32" in encoding:
        return None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode(encoding)
            except UnicodeError:
                return number
    return None


def lines_of(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file, line ends included. Raises ValueError for undecodable ones and for NUL bytes."""
    with explain_decoding(path, encoding.removesuffix("-sig")), path.open(encoding=encoding, newline="") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix("\ufeff") if number == 1 else line  # the byte-order mark of Excel and Notepad
            if "\0" in line:
                raise ValueError(f"{path.name!r} has a NUL byte in line {number}: remove it, or export the file again.")
            yield line


# --- CSV and its relatives --------------------------------------------------------------------------------------


def read_delimited(path: Path, wanted: list[str], encoding: str) -> tuple[dict[str, list[str]], list[str]]:
    """Read the wanted columns of a file of separated cells; find its separator by its first line."""
    first = next((line for line in lines_of(path, encoding) if line.strip()), None)
    if first is None:
        raise ValueError(f"{path.name!r} holds nothing but blank lines: export it again.")
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    separator = find_separator(first[:LONGEST_HEADER], wanted, usual)
    rows = parse(path, encoding, separator)
    _, header = next(rows)
    places = find_columns(path, [cell.strip() for cell in header], wanted)
    columns: dict[str, list[str]] = {name: [] for name in wanted}
    for number, cells in rows:
        if len(cells) != len(header):
            raise ValueError(
                f"{path.name!r} has {len(cells)} cell(s) in line {number}, and {len(header)} column names: put texts "
                f"that hold {SEPARATORS[separator]} in double quotes."
            )
        for name, place in zip(wanted, places, strict=True):
            columns[name].append(cells[place])
    notes = [f"{path.name!r} is separated by {SEPARATORS[separator]}."] if separator != usual else []
    return columns, notes


def find_separator(header: str, wanted: list[str], usual: str) -> str:
    """The separator with which a first line names all wanted columns; else the one that makes most cells of it."""
    order = sorted(SEPARATORS, key=lambda mark: mark != usual)  # the usual one first
    cells = {mark: [cell.strip() for cell in next(csv.reader([header], delimiter=mark), [])] for mark in order}
    for mark in order:
        if set(wanted) <= set(cells[mark]):
            return mark
    return max(order, key=lambda mark: len(cells[mark]))


def parse(path: Path, encoding: str, separator: str) -> Iterator[Row]:
    """Yield (line number, cells) of every row that is not blank. Quoting must be right: a wrong quote hides rows."""
    before = csv.field_size_limit(LONGEST_CELL)
    rows = csv.reader(lines_of(path, encoding), delimiter=separator, strict=True)
    begun = 1
    try:
        for cells in rows:
            if cells:
                yield begun, cells
            begun = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path.name!r} {explain_quoting(str(error), begun)}") from None
    finally:
        csv.field_size_limit(before)


def explain_quoting(error: str, line: int) -> str:
    """Say in words what the csv module found wrong with the row that begins in a line."""
    if "field limit" in error:
        return (
            f"has a cell of more than {LONGEST_CELL:,} characters in the row that begins in line {line}: close its "
            "quote, or cut the text."
        )
    if "unexpected end" in error:
        return f'has a double quote in the row that begins in line {line} that is never closed: close it, or write "".'
    return (
        f"is quoted wrongly in the row that begins in line {line}: put the whole cell in double quotes, and write each "
        'quote inside it twice ("").'
    )


def find_columns(path: str | Path, header: list[str], wanted: list[str]) -> list[int]:
    """The places of the wanted columns. Raises ValueError for a missing or a doubled one."""
    for name in wanted:
        count = header.count(name)
        if count > 1:
            raise ValueError(f"{name_of(path)} has {count} columns named {name!r}: rename all but one.")
        if count == 0:
            shown = ", ".join(repr(cell[:40]) for cell in header[:12])
            raise ValueError(
                f"{name_of(path)} has no column {name!r}, its first line names {shown}: choose with --text-column and "
                "--label-column, and add a first line with names if there is none."
            )
    return [header.index(name) for name in wanted]


# --- other kinds ------------------------------------------------------------------------------------------------


def read_json_lines(path: Path, wanted: list[str], encoding: str) -> tuple[dict[str, list[str]], list[str]]:
    """Read the wanted keys of a file with one JSON object a line; a missing key is an empty cell."""
    columns: dict[str, list[str]] = {name: [] for name in wanted}
    keys: dict[str, None] = {}
    for number, line in enumerate(lines_of(path, encoding), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"{path.name!r} has no JSON object in line {number}: write one object a line, {{...}}.")
        keys |= dict.fromkeys(row)
        for name in wanted:
            columns[name].append(as_cell(row.get(name), f"{path.name!r}, line {number}", name))
    if keys:
        find_columns(path, list(keys), wanted)
    return columns, []


def read_parquet(path: Path, wanted: list[str]) -> dict[str, list[str]]:
    """Read the wanted columns of a Parquet file."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            find_columns(path, file.schema_arrow.names, wanted)
            table = file.read(wanted)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(f"{path.name!r} is no Parquet file, or a damaged one ({reason}): export it again.") from None
    return as_columns(table, path, wanted)


def read_hub(name: str, wanted: list[str]) -> dict[str, list[str]]:
    """Read the wanted columns of a data set of the hub, "hub:owner/name" or "hub:owner/name:split" (default: train)."""
    import datasets

    owner, _, split = name.removeprefix("hub:").partition(":")
    try:
        rows = datasets.load_dataset(owner, split=split or "train")
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(f"{name} cannot be read ({reason}): check name, split and network.") from None
    find_columns(name, rows.column_names, wanted)
    columns = as_columns(rows.select_columns(wanted).with_format("arrow")[:], name, wanted)
    for column in wanted:
        if isinstance(rows.features[column], datasets.ClassLabel):
            names = rows.features[column].names
            columns[column] = [names[int(i)] if i.isdecimal() else "" for i in columns[column]]
    return columns


def as_columns(table, path: str | Path, wanted: list[str]) -> dict[str, list[str]]:
    """Turn the columns of an Arrow table into lists of strings."""
    place = name_of(path)
    return {name: [as_cell(v, place, name) for v in table.column(name).to_pylist()] for name in wanted}


def as_cell(value, place: str, column: str) -> str:
    """A cell as text: 3.0 becomes "3", nothing "", half an emoji U+FFFD. Raises ValueError for lists and objects."""
    if value is None or value != value:
        return ""
    if isinstance(value, list | dict | bytes):
        raise ValueError(f"{place}: the column {column!r} holds {type(value).__name__}s, not texts: name another one.")
    cell = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if len(cell) > LONGEST_CELL:
        raise ValueError(f"{place}: a cell has more than {LONGEST_CELL:,} characters: cut the text.")
    return cell.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
