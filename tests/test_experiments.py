"""The command line that measures: what it reads, prints and refuses."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from course_utils import experiments as e
from course_utils import studies
from course_utils.data import take_per_label
from course_utils.duplicates import find_leaks


@pytest.fixture
def mine(splits, tmp_path):
    """A CSV with other column names and two labels; returns its path."""
    table = take_per_label(pd.concat(splits.values()), 12).rename(columns={"text": "message", "label": "team"})
    table = table[table["team"].isin(["delivery", "billing"])]
    table.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


@pytest.fixture
def arguments(mine, tiny) -> list[str]:
    return [
        "--csv", str(mine), "--text", "message", "--label", "team", "--sizes", "2", "--seeds", "2", "--model", tiny,
        "--test-rows", "3", "--contestants", "majority class", "TF-IDF",
    ]  # fmt: skip


def refuse(arguments: list[str], capsys) -> str:
    """Run the command, which must fail with exit status 2; return its complaint."""
    with pytest.raises(SystemExit) as stop:
        e.main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_the_command_line_measures_any_csv(arguments, tmp_path, capsys):
    out = tmp_path / "new" / "out.json"
    e.main([*arguments, "--out", str(out)])
    assert "accuracy TF-IDF                  2 labels a class" in capsys.readouterr().out
    results = json.loads(out.read_text())
    assert results["settings"]["rows"]["test"] == 3
    assert [(run["contestant"], run["labels"], run["seed"]) for run in results["runs"]] == [
        (name, 2, seed) for seed in (0, 1) for name in ("majority class", "TF-IDF")
    ]


def test_size_0_means_all_labels(arguments, tmp_path, capsys):
    arguments[arguments.index("2")] = "0"
    e.main([*arguments, "--out", str(tmp_path / "out.json")])
    assert "TF-IDF                all labels a class" in capsys.readouterr().out
    assert {run["labels"] for run in json.loads((tmp_path / "out.json").read_text())["runs"]} == {None}


def test_wrong_commands_are_refused_in_a_sentence(arguments, tmp_path, capsys):
    assert "no study 'nothing'" in refuse(["nothing"], capsys)
    assert "a file of their own: add --out" in refuse(arguments, capsys)
    assert "no contestant 'BERT'" in refuse(["--contestants", "BERT"], capsys)
    assert "belong to data of your own" in refuse(["transfer", "--test-rows", "5"], capsys)
    assert "belong to data of your own" in refuse(["transfer", "--test", "none.csv"], capsys)
    for option, value in (("--seeds", "0"), ("--seeds", "-1"), ("--sizes", "-2"), ("--test-rows", "0")):
        assert f"{option} counts from" in refuse(["transfer", option, value], capsys)


def test_other_data_does_not_go_into_the_same_file_unless_measured_again(arguments, mine, tmp_path, capsys):
    out = tmp_path / "out.json"
    e.main([*arguments, "--out", str(out)])
    mine.write_text(mine.read_text().replace("the", "teh"))
    assert "out.json was measured with another data set" in refuse([*arguments, "--out", str(out)], capsys)
    e.main([*arguments, "--out", str(out), "--again"])
    assert len(json.loads(out.read_text())["runs"]) == 4


@pytest.mark.parametrize("text", ['{"runs": []}', '{"runs": [], "settings": {}}', '{"runs": [], "settings": null}'])
def test_a_file_that_does_not_say_how_it_was_measured_is_refused(arguments, tmp_path, capsys, text):
    out = tmp_path / "out.json"
    out.write_text(text)
    assert "does not say how it was measured" in refuse([*arguments, "--out", str(out)], capsys)
    assert out.read_text() == text


@pytest.mark.parametrize("again", [[], ["--again"]])
def test_whoever_stops_is_told_which_command_goes_on_and_keeps_what_was_measured(
    arguments, tmp_path, capsys, monkeypatch, again
):
    out, measure, done = tmp_path / "out.json", studies.measure_contestant, []

    def stop_at_the_third(*given):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(given)
        return measure(*given)

    monkeypatch.setattr(studies, "measure_contestant", stop_at_the_third)
    with pytest.raises(SystemExit) as stop:
        e.main([*arguments, "--out", str(out), *again])
    assert stop.value.code == 130 and ("without --again goes on" in capsys.readouterr().err) is bool(again)
    monkeypatch.setattr(studies, "measure_contestant", lambda *given: done.append(given) or measure(*given))
    e.main([*arguments, "--out", str(out)])
    assert len(done) == len(json.loads(out.read_text())["runs"]) == 4


WORDS = ["lamp", "parcel", "refund", "invoice", "kettle", "jacket", "socks", "mirror", "candle", "drawer"]


def write_csv(path, texts: list[str]) -> None:
    """Write texts with the labels "a" for the first half and "b" for the second."""
    labels = ["a" if i < len(texts) / 2 else "b" for i in range(len(texts))]
    pd.DataFrame({"text": texts, "label": labels}).to_csv(path, index=False)


def test_a_few_test_rows_of_a_file_sorted_by_label_hold_both_labels(tmp_path):
    texts = [f"{first} {second} {third}" for first in WORDS for second in WORDS for third in WORDS[:2]]
    write_csv(tmp_path / "sorted.csv", texts)
    options = SimpleNamespace(csv=tmp_path / "sorted.csv", test=None, test_rows=12, text="text", label="label")
    assert set(e.read_splits(options)["test"]["label"]) == {"a", "b"}


def test_rows_that_are_twins_of_a_test_file_are_not_trained_on(tmp_path, capsys):
    own = [f"My {first} and the {second} came late" for first in WORDS for second in WORDS]
    tested = [*own[:3], *own[50:53], "Where is my money", "How do I pay", "It is broken", "Please write to me"]
    write_csv(tmp_path / "own.csv", [*own[:3], own[1] + "!", *own[3:]])
    write_csv(tmp_path / "test.csv", tested)
    options = SimpleNamespace(
        csv=tmp_path / "own.csv", test=tmp_path / "test.csv", test_rows=None, text="text", label="label"
    )
    splits = e.read_splits(options)
    said = capsys.readouterr().out
    assert said.startswith("6 of 10 test rows have a near duplicate among the rows to train on: ")
    assert said.count("\n") == 1
    assert splits["test"]["text"].tolist() == tested
    left = [*splits["train"]["text"], *splits["validation"]["text"]]
    assert left and not find_leaks(left, tested)
    assert f"{len(own) + 1 - len(left)} of those {len(own) + 1} rows are left out." in said


def test_a_test_file_without_twins_changes_nothing(tmp_path, capsys):
    write_csv(tmp_path / "own.csv", [f"{first} {second}" for first in WORDS for second in WORDS])
    write_csv(tmp_path / "test.csv", ["Where is my money", "How do I pay"])
    options = SimpleNamespace(
        csv=tmp_path / "own.csv", test=tmp_path / "test.csv", test_rows=None, text="text", label="label"
    )
    splits = e.read_splits(options)
    assert len(splits["train"]) + len(splits["validation"]) == 100
    assert not capsys.readouterr().out
