"""Controls take their own values and refuse all others in a sentence."""

import pytest

from course_utils.labs import LearningRateLab


@pytest.fixture(scope="module")
def shared(tiny):
    return LearningRateLab(tiny, validation_rows=1)


@pytest.fixture
def lab(shared):
    shared.set(learning_rate=1e-3, batch_size=16)
    return shared


def test_unknown_controls_and_values_are_named_and_nothing_is_changed(lab):
    with pytest.raises(ValueError, match="no control 'rate' here: choose among learning_rate, schedule"):
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
