"""Lesson 11's command line: a folder that anything loads, and one sentence for whatever can be wrong with the input."""

import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel, pipeline

from course_utils import report
from course_utils.checkpoints import save_checkpoint
from course_utils.cli import main
from course_utils.cli.estimate import expected_seconds
from course_utils.cli.predict import harmless
from course_utils.data import take_per_label
from course_utils.evaluation import predict
from course_utils.history import FineTuneSettings
from course_utils.models import load_classifier, load_fine_tuned

LABELS = {"billing": "7", "delivery": "../../<script>alert(1)</script>", "fault": "=SUM(A1)"}
COLUMNS = ["--text-column", "message", "--label-column", "queue"]


def make_rows(splits, count: int = 14) -> pd.DataFrame:
    rows = take_per_label(splits["train"][splits["train"]["label"].isin(list(LABELS))], count)
    rows = pd.DataFrame({"message": rows["text"], "queue": rows["label"].map(LABELS)})
    rows.iloc[0, 0] = "=1+1 is a formula, and <b>this</b> is bold. " + rows.iloc[0, 0]
    return rows


@pytest.fixture(scope="module")
def good(splits, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("good") / "data.csv"
    make_rows(splits).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def mine(good, tiny) -> Path:
    """A folder as the command writes it."""
    out = good.parent / "runs" / "mine"
    words = ["finetune", str(good), *COLUMNS, "--model", tiny, "--out", str(out), "--epochs", "3", "--max-tokens", "24"]
    assert main(words) == 0
    return out


# --- what it writes -----------------------------------------------------------------------------------------------


def test_the_folder_is_whole_and_the_report_has_all_its_parts(mine):
    names = {path.name for path in mine.iterdir()}
    assert names == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "report.json", "report.html",
        "README.md",
    }  # fmt: skip
    assert [path.name for path in mine.parent.iterdir()] == ["mine"]
    facts = json.loads((mine / "report.json").read_text())
    assert set(facts) == {
        "format", "name", "created", "command", "model", "labels", "data", "settings", "history", "test", "baselines",
        "comparison", "cost", "verdict", "seconds", "versions", "license",
    }  # fmt: skip
    test, splits = facts["test"], facts["data"]["splits"]
    assert facts["labels"] == sorted(LABELS.values())
    assert facts["data"]["rows_used"] == sum(split["rows"] for split in splits.values()) == 42
    assert np.sum(test["confusion"]) == test["rows"] == splits["test"]["rows"]
    assert sum(b["rows"] for b in test["reliability"]) == test["rows"]
    right = np.trace(test["confusion"]) / test["rows"]
    assert test["accuracy"]["value"] == pytest.approx(right)
    assert test["accuracy"]["low"] < right < test["accuracy"]["high"]
    assert [row["epoch"] for row in facts["history"]["validations"]] == [1, 2, 3]
    assert facts["data"]["truncated"]["train"] > 0 and "cut there" in " ".join(facts["data"]["notes"])
    assert set(facts["baselines"]) == {"majority", "tfidf"}
    assert facts["seconds"]["expected"] > 0


def test_plain_transformers_loads_it_with_the_same_probabilities(mine, good):
    texts = pd.read_csv(good)["message"].tolist()[:8]
    model, tokenizer = load_fine_tuned(mine)
    wanted = predict(model, tokenizer, texts, max_tokens=24)
    classify = pipeline("text-classification", model=str(mine), top_k=None, device="cpu")
    for batch_size in (1, 8):
        for row, (_, want) in zip(
            classify(texts, truncation=True, batch_size=batch_size), wanted.iterrows(), strict=True
        ):
            best = max(row, key=lambda answer: answer["score"])
            assert best["label"] == want["label"]
            assert best["score"] == pytest.approx(want["confidence"], abs=1e-5)
            assert {answer["label"] for answer in row} == set(LABELS.values())
    plain = AutoModelForSequenceClassification.from_pretrained(mine)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))


def test_nothing_of_a_label_or_a_text_becomes_markup_or_a_path(mine):
    assert "<script" not in (mine / "report.html").read_text().lower()
    assert "<script>alert" not in (mine / "README.md").read_text()
    assert not list(mine.parent.parent.glob("**/*script*"))


def test_lora_mean_pooling_and_freezing(good, tiny_llama, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["finetune", str(good), *COLUMNS, "--model", tiny_llama, "--out", str(out), "--epochs", "1"]
    assert main([*words, "--lora", "--freeze", "1", "--pooling", "mean"]) == 0
    assert "load_fine_tuned" in capsys.readouterr().out
    facts = json.loads((out / "report.json").read_text())["model"]
    assert facts["trainable"] < facts["parameters"] / 20 and facts["frozen_blocks"] == 1
    model, _ = load_fine_tuned(out)
    assert model.config.pooling == "mean" and not any("lora" in name for name, _ in model.named_parameters())


def test_files_of_ones_own_for_validation_and_test(splits, tiny, tmp_path):
    """Twins of test rows are left out of training; the labels of the test are spelled as in training."""
    train, test = make_rows(splits), make_rows({"train": splits["test"]}, 5)
    test.loc[len(test) + 10_000] = [train["message"].iloc[3].upper(), train["queue"].iloc[3]]
    test["queue"] = test["queue"].str.upper()
    train.to_csv(tmp_path / "train.csv", index=False, sep=";")
    test.to_json(tmp_path / "test.jsonl", orient="records", lines=True)
    out = tmp_path / "out"
    words = ["finetune", str(tmp_path / "train.csv"), *COLUMNS, "--model", tiny, "--out", str(out), "--epochs", "1"]
    assert main([*words, "--test", str(tmp_path / "test.jsonl")]) == 0
    data = json.loads((out / "report.json").read_text())["data"]
    assert data["leaks"]["found"] == 1 and "left out" in data["leaks"]["action"]
    assert data["splits"]["test"]["rows"] == 16
    assert data["splits"]["train"]["rows"] + data["splits"]["validation"]["rows"] == 41
    assert data["files"] == {"train": "train.csv", "validation": None, "test": "test.jsonl"}
    assert any("semicolons" in note for note in data["notes"])


def test_two_processes_write_one_folder_and_speak_once(good, mine, tiny, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["finetune", str(good), *COLUMNS, "--model", tiny, "--out", str(tmp_path / "out"), "--epochs", "3"]
    command = [*launcher, "-m", "course_utils", *words, "--max-tokens", "24"]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("expected time of training") == 1
    two, one = (json.loads((folder / "report.json").read_text()) for folder in (tmp_path / "out", mine))
    assert two["model"]["processes"] == 2
    assert two["history"]["loss"] == pytest.approx(one["history"]["loss"], abs=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_dropped_is_counted(splits, tiny, tmp_path):
    rows = make_rows(splits)
    extra = [("", "7"), ("no label", ""), (rows.iloc[1, 0], rows.iloc[1, 1]), (rows.iloc[2, 0], "=SUM(A1)")]
    rows = pd.concat([rows, pd.DataFrame(extra, columns=rows.columns)])
    rows.iloc[2, 1] = "7"
    rows.to_csv(tmp_path / "data.csv", index=False)
    out = tmp_path / "out"
    assert (
        main(["finetune", str(tmp_path / "data.csv"), *COLUMNS, "--model", tiny, "--out", str(out), "--epochs", "1"])
        == 0
    )
    counts = {row["kind"]: row["rows"] for row in json.loads((out / "report.json").read_text())["data"]["cleaning"]}
    assert counts["empty text"] == counts["missing label"] == counts["exact duplicate"] == 1
    assert counts["conflicting duplicate"] == 2


def test_the_expected_time_leaves_the_model_as_it_was(few, tiny):
    model = load_classifier(few["train"].features["label"].names, tiny)
    before = {name: p.clone() for name, p in model.named_parameters()}
    settings = FineTuneSettings(learning_rate=1e-2, epochs=2, batch_size=8)
    whole = expected_seconds(model, few["train"], few["validation"], settings)
    assert whole > 0 and expected_seconds(model, few["train"], few["validation"], settings, done=8) == 0
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_overwriting_replaces_the_folder(good, mine, tiny, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(mine, out)
    (out / "old").write_text("old")
    words = ["finetune", str(good), *COLUMNS, "--model", tiny, "--out", str(out), "--epochs", "1"]
    assert main([*words, "--overwrite"]) == 0
    assert not (out / "old").exists() and [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert len(json.loads((out / "report.json").read_text())["history"]["validations"]) == 1


# --- predict, evaluate, doctor, prefetch ----------------------------------------------------------------------------


def test_predict_a_file(mine, good, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("course_utils.cli.predict.CHUNK", 10)
    assert main(["predict", str(mine), str(good)]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    texts = pd.read_csv(good)["message"]
    model, tokenizer = load_fine_tuned(mine)
    wanted = predict(model, tokenizer, texts.iloc[1:].tolist(), max_tokens=24)
    assert table["label"].iloc[1:].str.lstrip("'").tolist() == wanted["label"].tolist()
    assert table["confidence"].iloc[1:].to_numpy() == pytest.approx(wanted["confidence"].to_numpy(), abs=1e-3)
    assert table.filter(like="p: ").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert table["text"][0].startswith("'=1+1")
    out = tmp_path / "out.jsonl"
    assert main(["predict", str(mine), str(good), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["text"] for row in rows] == texts.tolist()  # JSON lines carry every text unchanged
    assert set(rows[0]["probabilities"]) == set(LABELS.values())


def test_predict_answers_a_stream_before_it_ends(mine, monkeypatch, capsys):
    """Like a person at a keyboard who types the next text when the label of the last one is there."""

    screen = io.StringIO()

    class Typing:
        encoding = "utf-8"

        def __iter__(self):
            yield "Where is my parcel?\n"
            give_up = time.monotonic() + 60
            while "parcel" not in screen.getvalue() and time.monotonic() < give_up:
                time.sleep(0.01)
            yield "Yes, it was there.\n" if "parcel" in screen.getvalue() else "No answer came.\n"
            yield "\n"

    monkeypatch.setattr("sys.stdin", Typing())
    monkeypatch.setattr("sys.stdout", screen)
    assert main(["predict", str(mine), "-", "--to", "jsonl"]) == 0
    rows = [json.loads(line) for line in screen.getvalue().splitlines()]
    assert [row["text"] for row in rows] == ["Where is my parcel?", "Yes, it was there.", ""]
    assert rows[-1]["label"] is None and sum(rows[0]["probabilities"].values()) == pytest.approx(1)
    assert "1 empty text(s) got no label" in capsys.readouterr().err


def test_cells_that_a_spreadsheet_would_run_are_neutralised():
    for cell in ("=1+1", "+cmd", "-2+3", "@x", "\t=1", "\r=1"):
        assert harmless(cell) == f"'{cell}"
    for cell in ("-12", "+3.5", "plain", "a=b", ""):
        assert harmless(cell) == cell


def test_evaluate_a_file(mine, good, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(mine), str(good)]) == 0
    said = capsys.readouterr().out
    assert "42 left after cleaning" in said and "macro-F1" in said and "=SUM(A1)" in said


def test_doctor_looks_at_the_machine(capsys):
    assert main(["doctor", "--offline", "--no-steps"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("memory", "cores", "torch", "not asked"))


def test_help_has_examples_and_needs_no_torch():
    code = (
        "import sys; from course_utils.cli import main; main(['finetune', '--help']); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout and "--resume" in done.stdout


# --- bad input ------------------------------------------------------------------------------------------------------


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
        "model": c.tiny, "pooling": "last", "lora": False, "freeze": 0, "max_tokens": 128, "rows": 42,
        "learning_rate": 1e-4, "epochs": 3, "steps": None, "validate_every": None, "batch_size": 16, "accumulate": 1,
        "weight_decay": 0.01, "warmup_share": 0.1, "schedule": "linear", "clip": 1.0, "label_smoothing": 0.0,
        "monitor": "macro_f1", "patience": 2, "seed": 0, "layer_decay": 1.0,
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
    "one label": (file(text_of(varied(9, "a"))), "the one label 'a'"),
    "a label with one example": (file(text_of([*TWO, ("alone in the world", "c")])), "Label 'c' has only 1"),
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
    "a test of training rows": (lambda c: with_test(whole_label(c))(c), "'7' are near duplicates"),
    "output is the input": (lambda c: c.words(out=c.data), "holds the input"),
    "output holds the input": (lambda c: c.words("--overwrite", out=c.data.parent), "holds the input"),
    "output exists": (lambda c: existing(c, "folder"), "add --overwrite"),
    "output is a file": (lambda c: existing(c, "file"), "is a file"),
    "output is somebody else's": (lambda c: existing(c, "not ours"), "no folder of this command"),
    "unwritable output": (lambda c: c.words(out=c.data / "in a file"), "Nothing can be written"),
    "unknown model": (lambda c: c.words("--model", "gtp-2"), "No model 'gtp-2'"),
    "unknown folder": (lambda c: c.words("--model", str(c.folder / "none")), "No model"),
    "an encoder": (lambda c: c.words("--model", model_folder(c, bert)), "not a decoder"),
    "no tokenizer": (lambda c: c.words("--model", model_folder(c, without_tokenizer)), "has no tokenizer"),
    "no weights": (lambda c: c.words("--model", model_folder(c, without_files)), "nothing that transformers can load"),
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
    "evaluate: label": (lambda c: ["evaluate", *other_labels(c)], "'other' never occurs"),
    "prefetch offline": (lambda c: ["prefetch", "gpt2"], "hub gives no answer"),
    "unknown command": (lambda c: ["fine-tune"], "invalid choice: 'fine-tune'"),
}


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


def test_the_tests_of_bad_input_are_many():
    assert len(BAD) >= 40


def test_the_report_fails_loudly_when_a_fact_is_missing(mine, tmp_path):
    facts = json.loads((mine / "report.json").read_text())
    del facts["verdict"]
    with pytest.raises(Exception, match="verdict"):
        report.write_report(facts, tmp_path)
    assert AutoTokenizer.from_pretrained(mine).model_max_length == 24
