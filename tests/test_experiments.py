"""Measurements over seeds: resumable, the same recipe for all, and summarized right."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from course_utils import experiments as e
from course_utils.data import take_per_label, tokenize
from course_utils.training import History


@pytest.fixture(scope="module")
def small(splits):
    few = {name: take_per_label(table, 3) for name, table in splits.items()}
    return {name: table[table["label"].isin(["delivery", "billing"])] for name, table in few.items()}


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(e, "STEPS", 5)
    monkeypatch.setitem(e.NETWORKS, "pre-trained", e.Recipe(rates=(1e-3, 1e-2)))
    return e.Study(("majority class", "TF-IDF", "pre-trained"), (2,), 2)


def test_a_stopped_study_goes_on_with_what_is_missing(small, study, tiny, tmp_path, monkeypatch):
    out = tmp_path / "results.json"
    made = []

    def count(name, *rest):
        made.append(name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return measure(name, *rest)

    measure = e.measure
    monkeypatch.setattr(e, "measure", count)
    with pytest.raises(KeyboardInterrupt):
        e.run_study(study, small, out, model=tiny)
    assert len(json.loads(out.read_text())["runs"]) == 2
    results = e.run_study(study, small, out, model=tiny)
    assert made == ["majority class", "TF-IDF", "pre-trained", "pre-trained", *study.contestants]
    assert set(results["runs"]) == {f"{name}, 2, seed {seed}" for name in study.contestants for seed in (0, 1)}
    assert all(0 <= run["macro_f1"] <= 1 for run in results["runs"].values())
    assert results["settings"]["rows"]["test"] == 6
    assert results["settings"]["recipes"]["pre-trained"]["pooling"] == "mean"


def test_every_network_tries_all_rates_of_its_recipe_with_every_seed_and_size(monkeypatch, small, tiny, tmp_path):
    tried = []

    def note(recipe, model, data, rate, seed):
        tried.append((len(data["train"]), seed, rate))
        return prepare_run(recipe, model, data, rate, seed)

    prepare_run = e.prepare_run
    monkeypatch.setattr(e, "STEPS", 4)
    monkeypatch.setattr(e, "MORE_STEPS", 4)
    monkeypatch.setattr(e, "EPOCHS", 1)
    monkeypatch.setattr(e, "prepare_run", note)
    monkeypatch.setitem(e.NETWORKS, "pre-trained", e.Recipe(rates=(1e-4, 1e-3, 1e-2)))
    results = e.run_study(
        e.Study(("pre-trained", "TF-IDF"), (2, None), seeds=2), small, tmp_path / "o.json", model=tiny
    )
    rows = (4, len(small["train"]))
    assert sorted(tried) == sorted((n, seed, rate) for n in rows for seed in (0, 1) for rate in (1e-4, 1e-3, 1e-2))
    assert "rate" in results["runs"]["pre-trained, all, seed 1"]
    assert "rate" not in results["runs"]["TF-IDF, all, seed 1"]


def test_few_labels_are_validated_on_few_rows_and_all_labels_on_all(monkeypatch, small):
    monkeypatch.setattr(e, "VALIDATION_ROWS", 3)
    few, everything = e.draw_few(small, 2, 0), e.draw_few(small, None, 0)
    assert len(few["train"]) == 4 and len(few["validation"]) == 3
    assert all(everything[name].equals(small[name]) for name in ("train", "validation", "test"))
    assert len(small["validation"]) > 3


@pytest.mark.parametrize(
    "rows, classes, steps", [(64, 8, 60), (256, 8, 60), (257, 8, 160), (1600, 8, 300), (65, 2, 160)]
)
def test_few_labels_get_a_fixed_number_of_steps_and_many_at_least_three_epochs(rows, classes, steps):
    assert e.count_steps(rows, classes) == steps


def test_the_rate_is_chosen_on_validation_never_on_test(monkeypatch, small, tokenizer):
    """Of two rates, the one with the better validation score must win though its test score is worse."""

    class Pretend:
        state, model = "finished", None

        def __init__(self, rate):
            self.score = 0.9 if rate == 1 else 0.1

        def run(self):
            return History(
                epochs=[dict.fromkeys(("step", "train_loss", "validation_loss"), 0) | {"macro_f1": self.score}]
            )

    class Score:
        macro_f1 = accuracy = 0.5

    monkeypatch.setattr(e, "build", lambda *_: None)
    monkeypatch.setattr(e, "prepare_run", lambda recipe, model, data, rate, seed: Pretend(rate))
    monkeypatch.setattr(e, "evaluate", lambda *_: Score)
    monkeypatch.setitem(e.NETWORKS, "pre-trained", e.Recipe(rates=(1, 2)))
    result = e.measure("pre-trained", tokenize(small, tokenizer), seed=0)
    assert result["rate"] == 1


def test_every_contestant_of_every_study_can_be_built_and_trained(small, tokenizer, tiny, monkeypatch):
    monkeypatch.setattr(e, "STEPS", 5)
    texts = small["train"]["text"].tolist()
    names = {name for study in e.STUDIES.values() for name in study.contestants}
    assert names | {"sentence encoder"} == {*e.BASELINES, *e.NETWORKS}
    for name in sorted(names):
        if name in e.NETWORKS:
            monkeypatch.setitem(e.NETWORKS, name, replace(e.NETWORKS[name], rates=(1e-3,)))
        result = e.measure(name, tokenize(small, tokenizer), 0, tiny, texts)
        assert 0 <= result["macro_f1"] <= 1, name


def test_recipes_do_what_their_names_say(tiny, small):
    texts = tuple(small["train"]["text"])
    plain = e.build(e.NETWORKS["pre-trained"], ["a", "b"], 0, tiny)
    assert type(plain).__name__ == "MeanPooledClassifier"
    assert type(e.build(e.NETWORKS["last token"], ["a", "b"], 0, tiny)).__name__ == "GPT2ForSequenceClassification"
    frozen = e.build(e.NETWORKS["frozen body"], ["a", "b"], 0, tiny)
    assert [name for name, p in frozen.named_parameters() if p.requires_grad] == ["score.weight"]
    assert e.build(e.NETWORKS["dropout 0.3"], ["a", "b"], 0, tiny).transformer.drop.p == 0.3
    assert any("lora" in name for name, _ in e.build(e.NETWORKS["LoRA"], ["a", "b"], 0, tiny).named_parameters())
    random = e.build(e.NETWORKS["random weights"], ["a", "b"], 0, tiny)
    adapted = e.build(e.NETWORKS["adapted"], ["a", "b"], 0, tiny, texts)
    for other in (random, adapted):
        assert not torch.equal(other.transformer.wte.weight, plain.transformer.wte.weight)


def test_the_command_line_measures_any_csv(small, tiny, tmp_path, monkeypatch, capsys):
    table = pd.concat(small.values()).rename(columns={"text": "message", "label": "team"})
    table.to_csv(tmp_path / "mine.csv", index=False)
    arguments = ["--csv", str(tmp_path / "mine.csv"), "--text", "message", "--label", "team", "--sizes", "2"]
    arguments += ["--contestants", "majority class", "TF-IDF", "--seeds", "2", "--test-rows", "3", "--model", tiny]
    monkeypatch.setattr("sys.argv", ["experiments", *arguments, "--out", str(tmp_path / "new" / "out.json")])
    e.main()
    assert "accuracy TF-IDF                  2 labels a class" in capsys.readouterr().out
    assert json.loads((tmp_path / "new" / "out.json").read_text())["settings"]["rows"]["test"] == 3
    for wrong, words in ((["nothing"], "no study 'nothing'"), (arguments, "a file of their own")):
        monkeypatch.setattr("sys.argv", ["experiments", *wrong])
        with pytest.raises(SystemExit):
            e.main()
        assert words in capsys.readouterr().err


def test_a_few_test_rows_of_a_file_sorted_by_label_hold_both_labels(tmp_path):
    words = ["lamp", "parcel", "refund", "invoice", "kettle", "jacket", "socks", "mirror", "candle", "drawer"]
    texts = [f"{first} {second} {third}" for first in words for second in words for third in words[:2]]
    pd.DataFrame({"text": texts, "label": ["a"] * 100 + ["b"] * 100}).to_csv(tmp_path / "sorted.csv", index=False)
    options = SimpleNamespace(csv=tmp_path / "sorted.csv", test=None, test_rows=12, text="text", label="label")
    assert set(e.read_splits(options)["test"]["label"]) == {"a", "b"}


def test_a_summary_gives_the_mean_and_students_interval():
    runs = {f"TF-IDF, 16, seed {s}": {"macro_f1": f} for s, f in enumerate((0.4, 0.5, 0.6))}
    mean, half, seeds = e.summarize({"runs": runs})[("TF-IDF", "16")]
    assert (mean, seeds) == (pytest.approx(0.5), 3)
    assert half == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)


def test_a_study_is_shown_as_a_table_with_intervals_and_seeds(tmp_path):
    runs = {
        f"{name}, {size}, seed {s}": {"macro_f1": 0.5} for name in ("a", "b") for size in (8, "all") for s in (0, 1)
    }
    (tmp_path / "mine.json").write_text(json.dumps({"runs": runs}))
    table = e.results_table(e.read_results("mine", tmp_path))
    assert table.loc["a", "8"] == table.loc["b", "all"] == "0.50 ± 0.00 (2)"
    with pytest.raises(FileNotFoundError, match=r"make it with python -m course_utils.experiments transfer"):
        e.read_results("transfer", tmp_path)
