"""Lesson 11's command line: a folder that anything loads, and one sentence for whatever can be wrong with the input."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cli_data import COLUMNS, LABELS, make_rows
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from course_utils import report
from course_utils.cli import finetune, main, measure, prepare
from course_utils.cli.arguments import build_parser
from course_utils.cli.estimate import expected_seconds
from course_utils.cli.folders import write_json
from course_utils.cli.predict import harmless, label_texts
from course_utils.data import take_per_label
from course_utils.evaluation import Evaluation, predict
from course_utils.history import FineTuneSettings
from course_utils.models import load_classifier, load_fine_tuned

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
    assert main([*words, "--lora", "--freeze", "1", "--pooling", "mean", "--head", "probe"]) == 0
    assert "load_fine_tuned" in capsys.readouterr().out
    facts = json.loads((out / "report.json").read_text())["model"]
    assert facts["trainable"] < facts["parameters"] / 20 and facts["frozen_blocks"] == 1
    assert facts["head"] == "probe" and "began as a logistic regression" in (out / "README.md").read_text()
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


def test_validation_rows_that_are_in_the_test_are_left_out(splits, tiny, tmp_path):
    rows = make_rows(splits)
    rows.to_csv(tmp_path / "train.csv", index=False)
    other = take_per_label(splits["validation"][splits["validation"]["label"].isin(list(LABELS))], 4)
    other = pd.DataFrame({"message": other["text"], "queue": other["label"].map(LABELS)})
    other.to_csv(tmp_path / "validation.csv", index=False)
    other.iloc[5:9].to_csv(tmp_path / "test.csv", index=False)
    files = ["--validation", str(tmp_path / "validation.csv"), "--test", str(tmp_path / "test.csv")]
    options = build_parser().parse_args(["finetune", str(tmp_path / "train.csv"), *COLUMNS, "--out", "out", *files])
    tables, facts = prepare.read_splits(options)
    assert len(tables["test"]) == 4 and len(tables["validation"]) == len(other) - 4
    assert not set(tables["test"]["text"]) & set(tables["validation"]["text"])
    assert "4 validation row(s) are near duplicates of test rows and were left out." in facts["notes"]


def test_two_processes_write_one_folder_and_speak_once(good, mine, tiny, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["finetune", str(good), *COLUMNS, "--model", tiny, "--out", str(tmp_path / "out"), "--epochs", "3"]
    command = [*launcher, "-m", "course_utils", *words, "--max-tokens", "24"]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("expected time of training") == 1
    assert "test rows, the model and the baselines ..." in done.stdout  # with many rows it takes minutes
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


def test_given_labels_are_mended_towards_and_others_dropped(splits, tiny, tmp_path):
    rows = make_rows(splits)
    rows["queue"] = rows["queue"].map({"7": "billing", "=SUM(A1)": "fault"}).fillna("delivery")
    rows.iloc[0, 1], rows.iloc[1, 1], rows.iloc[20, 1] = "biling", "?", "Delivrey"
    rows.to_csv(tmp_path / "data.csv", index=False)
    words = ["finetune", str(tmp_path / "data.csv"), *COLUMNS, "--model", tiny, "--out", str(tmp_path / "out")]
    assert main([*words, "--epochs", "1", "--labels", "billing", "delivery", "fault"]) == 0
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    counts = {row["kind"]: row["rows"] for row in facts["data"]["cleaning"]}
    assert facts["labels"] == ["billing", "delivery", "fault"] and facts["data"]["rows_used"] == 41
    assert (counts["label spelling"], counts["missing label"]) == (2, 1)


def test_short_memory_makes_the_batches_of_a_step_smaller(good, tiny, tmp_path, monkeypatch, capsys):
    """The rows of a step stay, and so does the number of steps."""
    words = ["finetune", str(good), *COLUMNS, "--model", tiny, "--epochs", "1", "--max-tokens", "24"]
    needed = []
    monkeypatch.setattr("course_utils.cli.memory.Memory.needed", lambda self, tokens, less=False: tokens)
    monkeypatch.setattr("course_utils.cli.memory.free_memory", lambda device: needed[0])
    for free, batch_size in ((16 * 24, 16), (5 * 24, 4)):
        needed[:] = [free]
        assert main([*words, "--out", str(tmp_path / str(batch_size))]) == 0
        facts = json.loads((tmp_path / str(batch_size) / "report.json").read_text())
        assert (facts["settings"]["batch_size"], facts["settings"]["accumulate"]) == (batch_size, 16 // batch_size)
        assert len(facts["history"]["loss"]) == 2
    assert "in batches of 4" in capsys.readouterr().out


def test_the_baseline_of_a_large_set_learns_from_a_part_of_it(few, monkeypatch):
    monkeypatch.setattr(measure, "BASELINE_ROWS", 20)
    facts, tfidf = measure.measure_baselines(few)
    assert facts["tfidf"]["rows"] == facts["majority"]["rows"] == 20
    assert "learned from 20 training rows only" in measure.compare(tfidf, tfidf, facts, 1.0)["verdict"]["sentence"]
    monkeypatch.undo()
    assert measure.measure_baselines(few)[0]["tfidf"]["rows"] == len(few["train"])


def test_a_test_without_errors_has_facts_too():
    true = np.array([0, 1] * 10)
    facts = measure.test_facts(Evaluation(["a", "b"], true, true, np.eye(2)[true]), [f"text {i}" for i in range(20)])
    assert facts["worst_errors"] == [] and facts["macro_f1"]["value"] == 1


def test_what_was_not_saved_is_not_called_saved(tmp_path, capsys):
    out = tmp_path / "out"
    assert finetune.stop(Namespace(out=str(out), words=["finetune", "data.csv", "--out", str(out)])) == 130
    said = capsys.readouterr().err
    assert "Stopped before anything was saved" in said and "--resume" in said


def test_a_closed_pipe_is_no_full_disk(tmp_path):
    with pytest.raises(BrokenPipeError), finetune.explain_full_disk(tmp_path):
        raise BrokenPipeError


def test_many_rows_go_to_the_disk_and_give_the_same_tokens(splits, tokenizer, monkeypatch):
    small = {name: take_per_label(table, 4) for name, table in splits.items()}
    memory, facts = prepare.tokenize_splits(small, tokenizer, 32)
    monkeypatch.setattr(prepare, "LARGE", 10)
    disk, again = prepare.tokenize_splits(small, tokenizer, 32)
    assert facts == again and facts["truncated"]["train"] > 0
    for name in small:
        assert disk[name][:] == memory[name][:]
        assert disk[name].cache_files and not memory[name].cache_files


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


def test_evaluate_cleans_a_text_once_as_training_did(mine, tmp_path, capsys):
    texts = ["How do I write &lt;b&gt; in the form?", "&lt;br&gt;", "Where is it?"]
    pd.DataFrame({"message": texts, "queue": ["7", "7", "7"]}).to_csv(tmp_path / "a.csv", index=False)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("course_utils.cli.evaluate.label_texts", lambda *a: seen.extend(a[2]) or label_texts(*a))
        assert main(["evaluate", str(mine), str(tmp_path / "a.csv")]) == 0
    assert seen == ["How do I write <b> in the form?", "<br>", "Where is it?"]
    assert main(["predict", str(mine), str(tmp_path / "a.csv"), "--to", "jsonl"]) == 0
    assert "null" not in capsys.readouterr().out  # each has a label


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


def test_the_report_fails_loudly_when_a_fact_is_missing(mine, tmp_path):
    facts = json.loads((mine / "report.json").read_text())
    del facts["verdict"]
    with pytest.raises(Exception, match="verdict"):
        report.write_report(facts, tmp_path)
    assert AutoTokenizer.from_pretrained(mine).model_max_length == 24


# --- what goes wrong late, or at a bad moment ---------------------------------------------------------------------


def raise_this(error: type[BaseException]):
    def stop(*_):
        raise error

    return stop


def test_ctrl_c_while_packages_are_imported_is_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr("importlib.import_module", raise_this(KeyboardInterrupt))
    assert main(["predict", "folder", "file"]) == 130
    assert capsys.readouterr().err.strip() == "predict: stopped."


def test_a_training_that_ends_without_its_folder_says_so(monkeypatch, capfd):
    monkeypatch.setattr("os.dup2", lambda *_: None)
    for error, status in ((KeyboardInterrupt, 130), (BrokenPipeError, 2)):
        monkeypatch.setattr(finetune, "run", raise_this(error))
        assert main(["finetune", "data.csv", "--out", "out"]) == status
        assert "--resume goes on" in capfd.readouterr().err


def test_names_that_are_no_text_come_back_from_json(tmp_path):
    facts = {"command": "finetune Gr\udcf6\udcdfe.csv", "model": "Jörg"}
    write_json(tmp_path / "report.json", facts)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == facts


def test_texts_without_words_have_a_baseline_too():
    texts, labels = ["🙂 👍", "👍 😀 🙂", "😡 👎", "👎 😢"], [0, 0, 1, 1]
    assert measure.fitting_tfidf(texts).fit(texts, labels).predict(["🙂", "👎"]).tolist() == [0, 1]
    assert measure.fitting_tfidf(["Where is it?", "🙂"])[0].analyzer == "word"


def test_a_label_with_its_accent_apart_is_spelled_as_in_training():
    assert prepare.spell_as(["Qualit\u00e4t"], pd.Series(["qualita\u0308t"])).tolist() == ["Qualit\u00e4t"]


def test_predict_writes_json_lines_under_each_of_their_endings_and_replaces_files_only(mine, good, tmp_path, capsys):
    for name in ("a.JSONL", "a.ndjson", "a.json"):
        assert main(["predict", str(mine), str(good), "--out", str(tmp_path / name)]) == 0
        assert json.loads((tmp_path / name).read_text().splitlines()[0])["label"] in LABELS.values()
    os.mkfifo(tmp_path / "pipe")
    assert main(["predict", str(mine), str(good), "--out", str(tmp_path / "pipe"), "--overwrite"]) == 2
    assert (tmp_path / "pipe").is_fifo() and "no place for a file" in capsys.readouterr().err


def test_a_folder_without_report_json_still_knows_where_texts_are_cut(mine, good, tmp_path, capsys):
    answers = []
    copy = tmp_path / "copy"
    shutil.copytree(mine, copy)
    for _ in range(2):
        assert main(["predict", str(copy), str(good), "--text-column", "message"]) == 0
        answers.append(capsys.readouterr().out)
        (copy / "report.json").unlink(missing_ok=True)
    (copy / "report.json").write_text('{"data": {"max_tokens": null}}')
    assert main(["predict", str(copy), str(good), "--text-column", "message"]) == 0
    assert answers[0] == answers[1] == capsys.readouterr().out
