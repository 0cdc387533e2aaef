"""Measurements over seeds: resumable, the same recipe for all, and summarized right."""

import json

import pytest

from course_utils import experiments as e
from course_utils.data import take_per_label


@pytest.fixture(scope="module")
def small(splits):
    few = {name: take_per_label(table, 3) for name, table in splits.items()}
    return {name: table[table["label"].isin(["delivery", "billing"])] for name, table in few.items()}


def test_a_stopped_experiment_goes_on_with_what_is_missing(small, tmp_path, monkeypatch):
    monkeypatch.setattr(e, "STEPS", 1)
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
        e.run_all(small, out, [2], [0], rates=[1e-3])
    assert len(json.loads(out.read_text())["runs"]) == 2
    results = e.run_all(small, out, [2], [0], rates=[1e-3])
    assert made == ["majority class", "TF-IDF", "pre-trained", "pre-trained", "random weights"]
    assert set(results["runs"]) == {f"{name}, 2, seed 0" for name in [*e.BASELINES, *e.NETWORKS]}
    assert all(0 <= run["macro_f1"] <= 1 for run in results["runs"].values())
    assert results["settings"]["rows"]["test"] == 6


def test_the_rate_is_chosen_on_validation_never_on_test(monkeypatch, small, tokenizer):
    """Of two rates, the one with the better validation score must win though its test score is worse."""
    from course_utils.data import tokenize
    from course_utils.training import History

    def pretend(model, train, validation, settings):
        return History(epochs=[{"macro_f1": 0.9 if settings.learning_rate == 1 else 0.1}])

    class Score:
        macro_f1 = accuracy = 0.5

    monkeypatch.setattr(e, "fine_tune", pretend)
    monkeypatch.setattr(e, "evaluate", lambda *_: Score)
    result = e.measure("pre-trained", tokenize(small, tokenizer), [1, 2], seed=0)
    assert result["rate"] == 1


def test_a_summary_gives_the_mean_and_students_interval():
    runs = {f"TF-IDF, 16, seed {s}": {"macro_f1": f} for s, f in enumerate((0.4, 0.5, 0.6))}
    mean, half, seeds = e.summarize({"runs": runs})[("TF-IDF", "16")]
    assert (mean, seeds) == (pytest.approx(0.5), 3)
    assert half == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)
