"""Lesson 11's command line: whatever is wrong with the input, one sentence, exit status 2, nothing written."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from cli_data import COLUMNS
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from course_utils.checkpoints import save_checkpoint
from course_utils.cli import main
from course_utils.models import load_classifier, load_fine_tuned


def text_of(rows) -> str:
    return "message,queue\n" + "".join(f'"{text}",{label}\n' for text, label in rows)


def varied(count: int, label: str) -> list[tuple[str, str]]:
    """Texts that are no near duplicates of each other."""
    rng = np.random.default_rng(len(label) * 1000 + sum(map(ord, label)))
    return [("".join(rng.choice(list("abcdefghij "), 60)).strip() + "k", label) for _ in range(count)]


def stopped_run(c, **changes) -> None:
    """Leave behind what a run that was killed leaves: here one that diverts from the command by `changes`."""
    from course_utils.cli.folders import begin

    run = {
        "model": c.tiny, "pooling": "last", "head": "random", "lora": False, "freeze": 0, "max_tokens": 128,
        "rows": 42,
        "learning_rate": 1e-4, "epochs": 3, "steps": None, "validate_every": None, "batch_size": 16, "accumulate": 1,
        "weight_decay": 0.01, "warmup_share": 0.1, "schedule": "linear", "clip": 1.0, "label_smoothing": 0.0,
        "monitor": "macro_f1", "patience": 2, "seed": 0, "layer_decay": 1.0, "precision": "auto",
        "fitted": [16, 1, False],
    }  # fmt: skip
    begin(c.out, run | changes, resume=False)


def damaged_checkpoint(c, content: bytes | None = None):
    stopped_run(c)
    path = c.work / "checkpoint.safetensors"
    model = load_classifier(["a", "b", "c"], c.tiny)
    save_checkpoint(path, model, [], {"settings": {}, "history": {"loss": [], "ended": "running"}})
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    return c.words("--resume")


def model_folder(c, change) -> str:
    folder = c.folder / "model"
    shutil.copytree(c.tiny, folder)
    change(folder)
    return str(folder)


def pickle_only(folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def pointer(folder):
    """What a clone without Git LFS has in place of the weights."""
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def remote_code(folder):
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "x.C"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "x.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def bert(folder):
    BertModel(BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(
        folder
    )


def without_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


def without_files(folder):
    for path in folder.iterdir():
        path.unlink()


def file(content: str | bytes, name: str = "bad.csv", *more: str):
    """A case: finetune on a file with this content."""

    def make(c):
        path = c.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return c.words(*more, data=path)

    return make


def with_test(rows: list[tuple[str, str]]):
    def make(c):
        pd.DataFrame(rows, columns=["message", "queue"]).to_csv(c.folder / "test.csv", index=False)
        return c.words("--test", str(c.folder / "test.csv"))

    return make


def whole_label(c):
    rows = pd.read_csv(c.data)
    return list(rows[rows["queue"] == "7"].itertuples(index=False, name=None))


def with_both(rows: list[tuple[str, str]]):
    def make(c):
        words = with_test(rows)(c)
        return [*words, "--validation", words[-1]]

    return make


def one_row(c) -> list[str]:
    (c.folder / "one.csv").write_text(text_of([("hello there", "7")]))
    return [str(c.mine), str(c.folder / "one.csv")]


def working_place(c, kind: str):
    if kind == "file":
        c.work.write_text("mine")
    else:
        c.work.mkdir()
        (c.work / "thesis.txt").write_text("the only copy")
    return c.words("--overwrite")


def linked(c):
    (c.folder / "elsewhere").mkdir()
    c.out.symlink_to(c.folder / "elsewhere")
    return c.words("--overwrite")


def existing(c, kind: str):
    if kind == "file":
        c.out.write_text("mine")
    else:
        c.out.mkdir()
        (c.out / "thesis.txt").write_text("the only copy")
    return c.words(*(["--overwrite"] if kind == "not ours" else []))


TWO = varied(8, "a") + varied(8, "b")
BAD = {
    "no file": (lambda c: c.words(data=c.folder / "none.csv"), "There is no file"),
    "a folder": (lambda c: c.words(data=c.folder), "is a folder"),
    "empty": (file(""), "is empty"),
    "blank lines": (file("\n\n"), "nothing but blank lines"),
    "header only": (file("message,queue\n"), "no rows"),
    "binary": (file(bytes(range(256)) * 20), "binary file"),
    "a workbook": (file(b"PK\x03\x04rest"), "Excel workbook"),
    "latin-1": (file("message,queue\nGröße,a\n".encode("latin-1")), "--encoding latin-1"),
    "utf-16": (file("message,queue\na,b\n".encode("utf-16")), "--encoding utf-16"),
    "utf-16 without a mark": (file("message,queue\na,b\n".encode("utf-16-le")), "--encoding utf-16-le"),
    "utf-8 called utf-16": (file(text_of(TWO), "bad.csv", "--encoding", "utf-16"), "try --encoding utf-8"),
    "unknown encoding": (file(text_of(TWO), "bad.csv", "--encoding", "utf-99"), "no text encoding 'utf-99'"),
    "missing column": (lambda c: c.words("--label-column", "team"), "no column 'team'"),
    "doubled column": (file("message,queue,queue\na,b,c\n"), "2 columns named 'queue'"),
    "one column for both": (lambda c: c.words("--label-column", "message"), "both text and label"),
    "no header, other separator": (file("I was billed twice;billing\n"), "'I was billed twice', 'billing'"),
    "a first line without end": (file("long " * 40_000 + "\n", "bad.txt"), "no column 'message'"),
    "one label": (file(text_of(varied(9, "a"))), "the one label 'a'"),
    "a label with one example": (
        file(text_of([*TWO, ("alone in the world", "c")])),
        "with fewer than 3 different texts, one for each split ('c' 1)",
    ),
    "labels misspelled": (file(text_of([*TWO, ("it is alone", "aa"), ("so is it", "")])), "'aa' 1"),
    "a label that is not there": (lambda c: c.words("--labels", "7", "8"), "no row with the label '8'"),
    "only twins": (
        file(text_of(TWO + [(f"we wrote this to all of you, number {i}", "c") for i in range(9)])),
        "in only 1",
    ),
    "a label for each row": (
        file(text_of([(t, f"id{i}") for i, (t, _) in enumerate(varied(50, "a"))])),
        "50 different",
    ),
    "thousands of labels": (file(text_of([(f"t{i}", f"l{i % 1500}") for i in range(4500)])), "1,500 different labels"),
    "missing labels": (file(text_of([(text, "") for text, _ in TWO])), "No usable row"),
    "empty texts": (file(text_of([("  ", label) for _, label in TWO])), "No usable row"),
    "nothing but conflicts": (file(text_of([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")])), "No usable row"),
    "a wrong quote": (
        file('message,queue\nfine,a\n"wrong" quote,b\n'),
        "quoted wrongly in the row that begins in line 3",
    ),
    "an open quote": (file('message,queue\n"fine",a\n"open,b\nfine,a\n'), "line 3 that is never closed"),
    "too many cells": (file("message,queue\none, two,b\n"), "3 cell(s) in line 2"),
    "a NUL byte": (file("message,queue\nfine,a\nn\0l,b\n"), "NUL byte in line 3"),
    "a cell of 3 MB": (file(text_of([("long " * 600_000, "a"), *TWO])), "line 2"),
    "broken JSON": (file('{"message": "a", "queue": "b"}\n{"message"', "bad.jsonl"), "no JSON object in line 2"),
    "damaged Parquet": (file(b"PAR1 no more", "bad.parquet"), "no Parquet file"),
    "unknown label in the test": (with_test([("hello there", "other")]), "'other' never occurs in training"),
    "a test of one row": (with_test([("hello there", "7")]), "a test of one row"),
    "validation is the test": (with_both(varied(4, "7")), "the test would choose the weights"),
    "a test of training rows": (lambda c: with_test(whole_label(c))(c), "'7' are near duplicates"),
    "output has no name": (lambda c: c.words(out="."), "names no folder"),
    "output is the input": (lambda c: c.words(out=c.data), "holds the input"),
    "output holds the input": (lambda c: c.words("--overwrite", out=c.data.parent), "holds the input"),
    "output exists": (lambda c: existing(c, "folder"), "add --overwrite"),
    "output is a file": (lambda c: existing(c, "file"), "is a file"),
    "output is somebody else's": (lambda c: existing(c, "not ours"), "no folder of this command"),
    "working place is somebody else's": (lambda c: working_place(c, "folder"), "delete what it holds"),
    "working place is a file": (lambda c: working_place(c, "file"), "no folder of this command"),
    "output is a link": (linked, "is a link or a disk of its own"),
    "output is no text": (lambda c: c.words(out=c.folder / os.fsdecode(b"gr\xf6")), "no UTF-8 text"),
    "unwritable output": (lambda c: c.words(out=c.data / "in a file"), "Nothing can be written"),
    "unknown model": (lambda c: c.words("--model", "gtp-2"), "No model 'gtp-2'"),
    "unknown folder": (lambda c: c.words("--model", str(c.folder / "none")), "No model"),
    "an encoder": (lambda c: c.words("--model", model_folder(c, bert)), "not a decoder"),
    "no tokenizer": (lambda c: c.words("--model", model_folder(c, without_tokenizer)), "has no tokenizer"),
    "no weights": (lambda c: c.words("--model", model_folder(c, without_files)), "nothing that transformers can load"),
    "damaged weights": (lambda c: c.words("--model", model_folder(c, pointer)), "nothing that transformers can load"),
    "pickled weights": (lambda c: c.words("--model", model_folder(c, pickle_only)), "safetensors"),
    "remote code": (lambda c: c.words("--model", model_folder(c, remote_code)), "nothing that transformers can load"),
    "truncated checkpoint": (damaged_checkpoint, "no checkpoint, or a damaged one"),
    "no checkpoint": (lambda c: damaged_checkpoint(c, b"no checkpoint at all"), "no checkpoint, or a damaged one"),
    "a stopped run": (lambda c: stopped_run(c) or c.words(), "add --resume"),
    "resume: settings": (lambda c: stopped_run(c, epochs=9) or c.words("--resume"), "another epochs (9, now 3)"),
    "resume: model": (lambda c: stopped_run(c, pooling="mean") or c.words("--resume"), "another pooling"),
    "resume: data": (lambda c: stopped_run(c, rows=99) or c.words("--resume"), "another rows"),
    "zero epochs": (lambda c: c.words("--epochs", "0"), "whole number from 1 up, not '0'"),
    "negative rate": (lambda c: c.words("--learning-rate", "-1"), "above 0, not '-1'"),
    "an infinite rate": (lambda c: c.words("--learning-rate", "inf"), "above 0, not 'inf'"),
    "no patience": (lambda c: c.words("--patience", "0"), "whole number from 1 up, not '0'"),
    "no tokens": (lambda c: c.words("--max-tokens", "0"), "whole number from 1 up, not '0'"),
    "no number": (lambda c: c.words("--learning-rate", "nan"), "above 0, not 'nan'"),
    "half a batch": (lambda c: c.words("--batch-size", "1.5"), "not '1.5'"),
    "negative seed": (lambda c: c.words("--seed", "-3"), "not '-3'"),
    "too many blocks": (lambda c: c.words("--freeze", "99"), "has 2 blocks"),
    "unknown pooling": (lambda c: c.words("--pooling", "max"), "invalid choice: 'max'"),
    "unknown option": (lambda c: c.words("--fast"), "--fast"),
    "diverged": (lambda c: c.words("--learning-rate", "1e30"), "lower the learning rate"),
    "no classifier": (lambda c: ["predict", str(c.folder), str(c.data)], "No saved classifier"),
    "no head": (lambda c: ["predict", c.tiny, str(c.data)], "score.weight"),
    "predict: column": (lambda c: ["predict", str(c.mine), str(c.data), "--text-column", "body"], "no column 'body'"),
    "predict: over its input": (lambda c: ["predict", str(c.mine), str(c.data), "--out", str(c.data)], "exists"),
    "predict: into a folder": (lambda c: predict_to(c, c.folder), "exists"),
    "predict: over a folder": (lambda c: [*predict_to(c, c.folder), "--overwrite"], "no place for a file"),
    "predict: no such folder": (lambda c: predict_to(c, c.folder / "none" / "out.csv"), "no place for a file"),
    "predict: encoding": (lambda c: ["predict", str(c.mine), "-", "--encoding", "utf-99"], "no text encoding 'utf-99'"),
    "evaluate: one row": (lambda c: ["evaluate", *one_row(c)], "a test of one row"),
    "evaluate: label": (lambda c: ["evaluate", *other_labels(c)], "'other' never occurs"),
    "prefetch a folder": (lambda c: ["prefetch", str(c.data.parent)], "nothing that transformers can load"),
    "prefetch offline": (lambda c: ["prefetch", "gpt2"], "hub gives no answer"),
    "unknown command": (lambda c: ["fine-tune"], "invalid choice: 'fine-tune'"),
}


def predict_to(c, out) -> list[str]:
    return ["predict", str(c.mine), str(c.data), "--out", str(out)]


def other_labels(c) -> list[str]:
    (c.folder / "other.csv").write_text(text_of([("hello there", "other"), ("bye", "7")]))
    return [str(c.mine), str(c.folder / "other.csv")]


def tree(folder: Path) -> dict:
    return {path: path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


@pytest.fixture
def case(good, mine, tiny, tmp_path):
    data = tmp_path / "data" / "data.csv"
    data.parent.mkdir()
    shutil.copy(good, data)
    out = tmp_path / "out"

    def words(*more, data=data, out=out):
        return ["finetune", str(data), *COLUMNS, "--model", tiny, "--out", str(out), *more]

    work = tmp_path / "out.unfinished"
    return SimpleNamespace(folder=tmp_path, data=data, out=out, work=work, tiny=tiny, mine=mine, words=words)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_changes_nothing(case, capsys, name):
    make, words = BAD[name]
    arguments = make(case)
    before = tree(case.folder)
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1 and "Traceback" not in said and len(said) < 500
    assert tree(case.folder) == before


def test_a_run_that_diverges_late_keeps_its_best_weights(case, monkeypatch, capsys):
    """The loss is made nan from the sixth step on; two steps make an epoch."""
    from course_utils import training

    real, calls = training.add_gradients, []

    def add_gradients(*arguments):
        calls.append(1)
        return float("nan") if len(calls) > 2 + 5 else real(*arguments)  # two steps are timed first

    monkeypatch.setattr(training, "add_gradients", add_gradients)
    assert main(case.words("--patience", "9")) == 2
    assert "diverged" in capsys.readouterr().err
    facts = json.loads((case.out / "report.json").read_text())
    assert facts["history"]["ended"] == "diverged" and len(facts["history"]["validations"]) == 2
    assert load_fine_tuned(case.out) and not case.work.exists()


def test_a_run_that_diverges_while_it_is_timed_leaves_nothing(case, monkeypatch, capsys):
    monkeypatch.setattr("course_utils.training.add_gradients", lambda *_: float("nan"))
    assert main(case.words()) == 2
    assert "lower the learning rate" in capsys.readouterr().err
    assert not case.out.exists() and not case.work.exists()


def test_a_run_that_went_on_and_diverges_while_it_is_timed_keeps_its_checkpoint(case, monkeypatch, capsys):
    from course_utils import training

    real, calls = training.add_gradients, []

    def add_gradients(*arguments):
        calls.append(1)
        if len(calls) == 2 + 3:  # two steps are timed first
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(training, "add_gradients", add_gradients)
    assert main(case.words()) == 130
    before = tree(case.work)
    monkeypatch.setattr(training, "add_gradients", lambda *_: float("nan"))
    assert main(case.words("--resume")) == 2
    assert "lower the learning rate" in capsys.readouterr().err
    assert tree(case.work) == before and len(before) >= 2


def test_too_little_memory_is_said_before_anything_is_written(case, monkeypatch, capsys):
    monkeypatch.setattr("course_utils.cli.memory.free_memory", lambda device: 1000)
    assert main(case.words()) == 2
    assert "even with one text at a time" in capsys.readouterr().err
    assert not case.out.exists() and not case.work.exists()


def test_the_tests_of_bad_input_are_many():
    assert len(BAD) >= 40
