"""A file of results never mixes models, data sets or recipes, and says how its numbers were made."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from course_utils import contestants as c
from course_utils import studies as s
from course_utils.data import take_per_label
from course_utils.provenance import fingerprint_data, fingerprint_model, note_version


@pytest.fixture(scope="module")
def small(splits):
    few = {name: take_per_label(table, 3) for name, table in splits.items()}
    return {name: table[table["label"].isin(["delivery", "billing"])] for name, table in few.items()}


@pytest.fixture
def measure(small, tiny, tmp_path, monkeypatch):
    """A function that measures a study into one file, in no time: the scores are the numbers of the measurements."""
    made = []

    def score(name, tokenized, seed, *rest):
        made.append((name, seed))
        return {"macro_f1": len(made), "accuracy": len(made)}

    def run(names=("TF-IDF", "plain"), sizes=(2,), seeds=1, data=small, model=tiny, **options):
        made.clear()
        return s.run_study(s.Study(names, sizes, seeds), data, tmp_path / "mine.json", model=model, **options)

    run.made = made
    monkeypatch.setattr(s, "measure_contestant", score)
    return run


REFUSED = r"^mine\.json was measured with another {}: choose another file with --out, or measure anew with --again\.$"


def test_contestants_sizes_and_seeds_of_the_same_making_are_added(measure):
    measure()
    measure(names=("TF-IDF", "plain", "LoRA"))
    assert measure.made == [("LoRA", 0)]
    measure(names=("plain",), sizes=(2, 3))
    measure(names=("plain",), seeds=2)
    assert measure.made == [("plain", 1)]
    results = measure(names=("majority class",))
    assert len(results["runs"]) == 6
    assert set(results["settings"]["recipes"]) == {"plain", "LoRA"}


def test_a_changed_recipe_is_refused_also_where_only_other_seeds_are_missing(measure, monkeypatch):
    measure()
    monkeypatch.setitem(c.NETWORKS, "plain", c.Recipe(rates=(0.5,)))
    for seeds in (1, 2):
        with pytest.raises(ValueError, match=REFUSED.format("recipe of 'plain'")):
            measure(seeds=seeds)
        assert not measure.made
    measure(names=("TF-IDF",), seeds=2)  # the other contestant's measurements still hold
    assert measure.made == [("TF-IDF", 1)]


def test_again_measures_a_changed_recipe_anew_and_keeps_the_other_contestants(measure, monkeypatch):
    measure(seeds=2)
    monkeypatch.setitem(c.NETWORKS, "plain", c.Recipe(rates=(0.5,)))
    results = measure(names=("plain",), again=True)
    assert measure.made == [("plain", 0)]
    kept = [(run["contestant"], run["seed"]) for run in results["runs"]]
    assert kept == [("TF-IDF", 0), ("TF-IDF", 1), ("plain", 0)]  # the old seed 1 has not survived
    assert results["settings"]["recipes"]["plain"]["rates"] == [0.5]
    measure(names=("plain",), seeds=2)
    assert measure.made == [("plain", 1)]


def change_data(small):
    changed = {name: table.copy() for name, table in small.items()}
    changed["test"].iloc[0, 0] += "!"
    return changed


def test_other_data_and_another_model_are_refused_and_again_forgets_all(measure, small, any_tiny, tiny):
    measure()
    with pytest.raises(ValueError, match=REFUSED.format("data set")):
        measure(data=change_data(small))
    if any_tiny != tiny:
        with pytest.raises(ValueError, match=REFUSED.format("model and another set of pre-trained weights")):
            measure(model=any_tiny)
    assert not measure.made
    results = measure(names=("TF-IDF",), data=change_data(small), model=any_tiny, again=True)
    assert [run["contestant"] for run in results["runs"]] == ["TF-IDF"]
    assert (results["settings"]["model"], results["settings"]["recipes"]) == (any_tiny, {})


def test_a_changed_rule_is_refused(measure, monkeypatch):
    measure()
    monkeypatch.setattr(c, "STEPS", c.STEPS + 1)
    with pytest.raises(ValueError, match=REFUSED.format("rule for steps")):
        measure()


def test_another_student_is_refused_and_a_first_one_is_noted(measure, monkeypatch):
    measure()
    monkeypatch.setattr(s, "STUDENT", "tiny student")
    monkeypatch.setattr(s, "fingerprint_model", lambda name: "aaaa" if name == "tiny student" else "the model")
    measure(names=("TF-IDF", "plain"), again=True)
    assert measure(names=("taught TF-IDF",))["settings"]["student"] == "aaaa"
    assert measure(names=("plain",), seeds=2)["settings"]["student"] == "aaaa"
    monkeypatch.setattr(s, "fingerprint_model", lambda name: "bbbb" if name == "tiny student" else "the model")
    with pytest.raises(ValueError, match=REFUSED.format("student")):
        measure(names=("taught TF-IDF",), seeds=2)


def test_a_refusal_leaves_the_file_as_it_was(measure, small, tmp_path):
    measure()
    before = (tmp_path / "mine.json").read_bytes()
    with pytest.raises(ValueError):
        measure(data=change_data(small))
    assert (tmp_path / "mine.json").read_bytes() == before


def test_versions_of_all_measurements_are_noted(measure, monkeypatch):
    measure()
    monkeypatch.setattr(s, "version", lambda name: "99.1")
    packages = measure(seeds=2)["settings"]["packages"]
    assert packages["torch"] == f"{torch.__version__}, 99.1"
    assert measure(seeds=2)["settings"]["packages"] == packages
    assert note_version(None, "1.0") == "1.0" and note_version("1.0, 2.0", "1.0") == "1.0, 2.0"


def test_a_note_in_the_settings_stays_when_runs_are_added(measure, tmp_path):
    results = measure()
    results["settings"]["note"] = "measured on a laptop"
    (tmp_path / "mine.json").write_text(json.dumps(results))
    assert measure(seeds=2)["settings"]["note"] == "measured on a laptop"


@pytest.mark.parametrize("column", ["text", "label"])
def test_the_fingerprint_of_data_changes_with_texts_labels_order_and_split(small, column):
    first = fingerprint_data(small)
    assert first == fingerprint_data(dict(reversed(small.items())))
    changed = {name: table.copy() for name, table in small.items()}
    changed["train"].iloc[1, changed["train"].columns.get_loc(column)] = "delivered"
    swapped = small | {"train": small["train"].iloc[::-1]}
    moved = small | {"validation": small["test"], "test": small["validation"]}
    assert len({first, *map(fingerprint_data, (changed, swapped, moved))}) == 4


def test_the_fingerprint_of_a_model_changes_with_a_weight_not_with_its_place(any_tiny, tmp_path):
    shutil.copytree(any_tiny, tmp_path / "copy")
    assert fingerprint_model(str(tmp_path / "copy")) == fingerprint_model(any_tiny)
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    norm = next(name for name in weights if name.endswith("weight") and weights[name].ndim == 1)
    weights[norm][0] += 0.001
    save_file(weights, tmp_path / "copy" / "model.safetensors", {"format": "pt"})
    assert fingerprint_model(str(tmp_path / "copy")) != fingerprint_model(any_tiny)
