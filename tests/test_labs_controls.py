"""Controls take their own values and refuse all others in a sentence."""

import pytest

from course_utils.labs import LearningRateLab
from course_utils.labs.controls import describe_value, tell_apart


@pytest.fixture(scope="module")
def shared(tiny):
    return LearningRateLab(tiny, validation_rows=1)


@pytest.fixture
def lab(shared):
    shared.set(learning_rate=1e-3, batch_size=16)
    return shared


def test_unknown_controls_and_values_are_named_and_nothing_is_changed(lab):
    with pytest.raises(ValueError, match="no control 'rate' here: choose among preset, learning_rate, schedule"):
        lab.run(rate=1)
    with pytest.raises(ValueError, match="'batch_size' does not take 7: choose among 4, 8, 16, 32"):
        lab.run(learning_rate=0.5, batch_size=7)
    assert lab.controls["learning_rate"].value == 1e-3


@pytest.mark.parametrize("rate", [10, 0, -1, 1e-7, float("nan"), "high", None])
def test_a_rate_that_the_slider_has_not_is_refused_and_not_moved_to_its_end(lab, rate):
    with pytest.raises(ValueError, match=r"'learning_rate' does not take .*: give a number from 1e-06 to 1\."):
        lab.set(batch_size=32, learning_rate=rate)
    assert (lab.controls["learning_rate"].value, lab.controls["batch_size"].value) == (1e-3, 16)


@pytest.mark.parametrize("rate", [1e-6, 1, 0.02])
def test_every_rate_of_the_slider_is_taken_its_ends_too(lab, rate):
    lab.set(learning_rate=rate)
    assert lab.controls["learning_rate"].value == rate


def test_a_control_is_described_as_a_person_reads_it(lab):
    shown = {name: describe_value(control) for name, control in lab.controls.items()}
    assert shown["learning_rate"] == "0.001" and shown["batch_size"] == "16"
    assert shown["preset"] == "none: the rate below"


@pytest.mark.parametrize(
    "runs, names",
    [
        ([], []),
        ([{"rate": "1"}], [""]),
        ([{"rate": "1", "size": "4"}, {"rate": "1", "size": "32"}], ["size 4", "size 32"]),
        ([{"rate": "1", "size": "4"}, {"rate": "2", "size": "8"}], ["rate 1, size 4", "rate 2, size 8"]),
        ([{"rate": "1"}, {"rate": "1"}], ["run 1", "run 2"]),
        ([{"rate": "1"}, {"rate": "2"}, {"rate": "1"}], ["rate 1 (run 1)", "rate 2", "rate 1 (run 2)"]),
        ([{"rate": "1"}, {"preset": "A"}], ["rate 1", "preset A"]),
    ],
)
def test_runs_are_named_by_what_differs(runs, names):
    assert tell_apart(runs) == names


def test_a_run_with_nothing_switched_on_has_a_name_of_its_own():
    assert tell_apart([{}, {"dropout": "0.1"}], plain="all off") == ["all off", "dropout 0.1"]
