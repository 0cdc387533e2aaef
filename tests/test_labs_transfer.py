"""Lesson 9's lab: measured curves, and points of one's own that repeat the measurements."""

from functools import partial

import pytest
import torch

from course_utils import contestants, studies
from course_utils.data import load_ticket_splits
from course_utils.labs import TransferLab
from course_utils.results import read_results, runs_frame, summarize
from tests.hands import Gate, click, wait_for


@pytest.fixture(scope="module")
def measured(tiny, tmp_path_factory):
    """The file of a small study: two contestants, 8 labels a queue, two seeds, 5 steps."""
    file = tmp_path_factory.mktemp("results") / "transfer.json"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        studies.run_study(studies.Study(("TF-IDF", "pre-trained"), (8,), 2), load_ticket_splits(), file, model=tiny)
    return file


def shrink(patch):
    patch.setattr(contestants, "STEPS", 5)
    patch.setitem(contestants.NETWORKS, "pre-trained", contestants.Recipe(rates=(1e-3, 1e-2)))


@pytest.fixture
def lab(measured, monkeypatch):
    shrink(monkeypatch)
    lab = TransferLab(measured)
    lab.set(contestant="pre-trained", labels=8)
    yield lab
    lab.stop()


@pytest.fixture
def gate(lab, monkeypatch):
    """Holds the lab in the evaluation on the test split; Stop does not wait for it."""
    gate, evaluate = Gate(), TransferLab.finish.__globals__["evaluate"]

    def hold(*arguments):
        gate.pass_through()
        return evaluate(*arguments)

    monkeypatch.setattr("course_utils.labs.transfer.evaluate", hold)
    monkeypatch.setattr(lab, "stop", partial(lab.stop, wait=0))
    yield gate
    gate.open()


def test_the_words_under_the_measured_curves_give_their_ends(lab):
    mean = summarize(lab.measured).loc[("TF-IDF", "8"), "mean"]
    assert f"TF-IDF {mean:.2f} and {mean:.2f}" in lab.status.value


def test_the_curves_are_the_summaries_from_few_labels_to_all():
    lab = TransferLab()
    results = read_results("transfer")
    summary = summarize(results)
    for name, rows in lab.curves.items():
        assert [size for size, *_ in rows] == sorted(size for size, *_ in rows)
        assert rows[0][1:] == pytest.approx(summary.loc[(name, "8"), ["mean", "half"]].tolist())
        assert rows[-1][0] == results["settings"]["rows"]["train"] / 8
        assert rows[-1][1:] == pytest.approx(summary.loc[(name, "all"), ["mean", "half"]].tolist())


def test_a_live_point_repeats_the_measurement_of_its_seed(lab):
    measured = runs_frame(lab.measured).set_index(["contestant", "seed"])["macro_f1"]
    for name, seed in [("pre-trained", 0), ("TF-IDF", 1), ("pre-trained", 1)]:
        lab.set(contestant=name, seed=seed)
        point = f"Point {len(lab.points) + 1}: {name}, 8 labels a queue"
        click(lab, "Run")
        wait_for(lambda point=point: point in lab.status.value)
        assert lab.points[-1] == (name, 8, pytest.approx(measured[name, seed]))
        assert "Measured over several seeds" in lab.status.value
    click(lab, "Reset")
    assert not lab.points


def test_the_chart_holds_the_point_when_the_words_do(lab):
    before = lab.chart.value
    lab.run()
    assert lab.chart.value != before
    assert lab.figure().axes[0].texts[0].get_text() == "1: pre-trained"


def test_the_messages_are_shown_as_soon_as_a_network_has_been_asked(lab):
    assert len(lab.figure().axes) == 1
    lab.run()
    assert len(lab.figure().axes) == 2 and "Of the five messages" in lab.words()
    assert "Beside it" not in lab.words()
    lab.run(contestant="TF-IDF")
    assert len(lab.figure().axes) == 1


def test_a_run_has_the_settings_of_its_recipe(lab):
    run = lab.make_run()
    rows, rate = len(run.train), lab.rates["pre-trained", 8, 0]
    assert run.settings == contestants.recipe_settings(contestants.NETWORKS["pre-trained"], rows, 8, rate, 0)


def test_a_run_takes_the_rate_that_was_best_when_it_was_measured(lab):
    first, second = contestants.NETWORKS["frozen body"].rates
    lab.rates = {
        ("frozen body", 16, 0): second,
        ("frozen body", 16, 3): first,
        ("frozen body", contestants.FEW, 0): second,  # not the recipe's first, which is taken where nothing is known
    }
    for labels, seed, rate in ((16, 0, second), (16, 3, first), (16, 9, second), (8, 0, second)):
        lab.set(contestant="frozen body", labels=labels, seed=seed)
        assert lab.make_run().settings.learning_rate == rate


def test_the_lab_is_busy_until_the_point_is_there(lab, gate):
    click(lab, "Run")
    gate.wait()
    assert lab.is_busy and not lab.points
    click(lab, "Run")
    assert "A run is going on: press Stop first." in lab.status.value
    run = lab.current
    gate.open()
    assert run.wait(120)
    assert lab.current is run and len(lab.points) == 1
    assert "Point 1: pre-trained" in lab.status.value


def test_reset_while_the_point_is_being_scored_leaves_no_point_behind(lab, gate):
    click(lab, "Run")
    gate.wait()
    run = lab.current
    click(lab, "Reset")
    gate.open()
    assert run.wait(120)
    assert not lab.points and lab.current is None
    assert "Press Run for a point of your own." in lab.status.value


def test_stop_while_the_point_is_being_scored_makes_no_point(lab, gate):
    click(lab, "Run")
    gate.wait()
    lab.stop()
    gate.open()
    assert lab.current.wait(120)
    assert not lab.points
    assert "Stopped after 5 of 5 steps" in lab.status.value


def test_a_run_that_was_stopped_is_no_measurement(lab, monkeypatch):
    monkeypatch.setattr(contestants, "STEPS", 100_000)
    click(lab, "Run")
    wait_for(lambda: lab.current.history.loss)
    click(lab, "Stop")
    assert lab.current.wait(120)
    assert lab.current.state == "stopped" and not lab.points


def test_every_control_has_a_name(lab):
    assert all(control.description for control in lab.controls.values())


def test_the_network_is_moved_to_the_device_that_was_picked(lab, monkeypatch):
    monkeypatch.setattr("course_utils.labs.transfer.pick_device", lambda: torch.device("meta"))
    assert {p.device.type for p in lab.make_run().model.parameters()} == {"meta"}
