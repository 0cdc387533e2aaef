"""predict: label texts as they come, from a file or from standard input."""

import codecs
import csv
import json
import queue
import re
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TextIO

import torch
from torch.nn import functional as F

from course_utils.architecture import context_length
from course_utils.checkpoints import replace_safely
from course_utils.data import clean_text
from course_utils.devices import pick_device
from course_utils.evaluation import predict_logits
from course_utils.models import load_fine_tuned
from course_utils.tables import JSON_LINES, check_codec, read_table

CHUNK = 1024  # texts that are tokenized, sorted by length and labelled together
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?\Z")


def run(options: Namespace) -> int:
    """Label all texts; return the exit status. Raises OSError or ValueError, in one sentence, with nothing written."""
    out = Path(options.out) if options.out else None
    if out and out.exists() and not options.overwrite:
        raise ValueError(f"--out {str(out)!r} exists: name another file, or add --overwrite to replace it.")
    if out and ((out.exists() and not out.is_file()) or not out.absolute().parent.is_dir()):
        raise ValueError(f"--out {str(out)!r} is no place for a file: name a file in a folder that is there.")
    if out and options.file != "-" and out.resolve() == Path(options.file).resolve():
        raise ValueError("--out is the file of texts itself, which it would replace: name another.")
    model, tokenizer = load_fine_tuned(options.folder)
    model = model.to(pick_device())
    training = training_facts(options.folder)
    limit = longest_text(training, tokenizer, model)
    if options.file == "-":
        check_codec(options.encoding)
        if hasattr(sys.stdin, "reconfigure"):
            # As in a file, a byte-order mark in front, which Windows puts there, is no part of the first text.
            utf8 = codecs.lookup(options.encoding).name == "utf-8"  # by whatever alias: UTF-8, utf8 ...
            sys.stdin.reconfigure(encoding="utf-8-sig" if utf8 else options.encoding)
        chunks = chunks_of_stream(sys.stdin)
    else:
        column = options.text_column or training.get("text_column", "text")
        table, _ = read_table(options.file, column, None, options.encoding)
        rows = table["text"]
        chunks = (rows.iloc[start : start + CHUNK].tolist() for start in range(0, len(rows), CHUNK))
    kind = options.to or ("jsonl" if out and out.suffix.lower() in JSON_LINES else "csv")
    empty = 0
    with open_output(out) as file:
        write = Writer(file, list(model.config.id2label.values()), kind)
        for texts in chunks:
            cleaned = [clean_text(text) for text in texts]
            probabilities = label_texts(model, tokenizer, cleaned, limit, options.batch_size)
            write.rows(texts, probabilities)
            file.flush()
            empty += sum(row is None for row in probabilities)
    if empty:
        print(f"predict: {empty:,} empty text(s) got no label.", file=sys.stderr)
    return 0


def training_facts(folder: str) -> dict:
    """What report.json says of the training data; nothing for a folder without one."""
    try:
        return json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def longest_text(training: dict, tokenizer, model) -> int:
    """After how many tokens a text is cut: where it was in training, or where tokenizer or model end."""
    known = training.get("max_tokens")
    return min(known if isinstance(known, int) else tokenizer.model_max_length, context_length(model))


def label_texts(model, tokenizer, texts, limit: int, batch_size: int = 64) -> list[list[float] | None]:
    """The probabilities of all labels for each text, once cleaned as in training; None where nothing is in it.

    Clean a text once: "&lt;b&gt;" becomes "<b>", and cleaned again it would be gone.
    """
    full = [i for i, text in enumerate(texts) if text]
    probabilities: list[list[float] | None] = [None] * len(texts)
    if full:
        chosen = [texts[i] for i in full]
        ids = tokenizer(chosen, truncation=True, max_length=limit, split_special_tokens=True).input_ids
        rows = F.softmax(predict_logits(model, ids, batch_size).to(torch.float64), dim=-1).tolist()
        for i, row in zip(full, rows, strict=True):
            probabilities[i] = row
    return probabilities


def chunks_of_stream(stream: TextIO) -> Iterator[list[str]]:
    """Yield the lines of a stream in lists: all that have come, up to `CHUNK`, without waiting for more of them."""
    lines: queue.Queue = queue.Queue(maxsize=2 * CHUNK)

    def read() -> None:
        try:
            for line in stream:
                lines.put(line.rstrip("\r\n"))
            lines.put(None)
        except (UnicodeError, OSError) as error:
            lines.put(ValueError(f"standard input is no {stream.encoding} text ({error}): convert it first."))

    threading.Thread(target=read, daemon=True).start()
    while True:
        chunk = [lines.get()]
        while chunk[-1].__class__ is str and len(chunk) < CHUNK and not lines.empty():
            chunk.append(lines.get())
        end = chunk.pop() if chunk[-1].__class__ is not str else ""
        if chunk:
            yield chunk
        if isinstance(end, ValueError):
            raise end
        if end is None:
            return


@contextmanager
def open_output(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when all is written."""
    with nullcontext() if out is None else replace_safely(out) as temporary:
        if temporary is None:
            if hasattr(sys.stdout, "reconfigure"):  # UTF-8 and line ends as in a file, also where the system has others
                sys.stdout.reconfigure(encoding="utf-8", newline="")
            yield sys.stdout
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file


class Writer:
    """Writes one row a text: the text, its label, and the probability of each label."""

    def __init__(self, file: TextIO, labels: list[str], kind: str):
        self.file, self.labels, self.kind = file, labels, kind
        self.table = csv.writer(file, lineterminator="\n")
        if kind == "csv":
            self.table.writerow(["text", "label", "confidence", *(harmless(f"p: {label}") for label in labels)])

    def rows(self, texts, probabilities: list[list[float] | None]) -> None:
        """Write the rows of a chunk."""
        for text, row in zip(texts, probabilities, strict=True):
            best = None if row is None else max(range(len(row)), key=row.__getitem__)
            label = "" if row is None else self.labels[best]
            if self.kind == "jsonl":
                facts = {"text": text, "label": label or None, "confidence": row and row[best]}
                facts["probabilities"] = row and dict(zip(self.labels, row, strict=True))
                self.file.write(json.dumps(facts, ensure_ascii=False) + "\n")
            else:
                numbers = [""] * (1 + len(self.labels)) if row is None else [f"{p:.6f}" for p in (row[best], *row)]
                self.table.writerow([harmless(text), harmless(label), *numbers])


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: one that looks like it, and is no number, gets a ' in front.

    CSV injection: https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{cell}" if cell.startswith(FORMULA) and not NUMBER.match(cell) else cell
