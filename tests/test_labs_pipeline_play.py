"""The small widgets of lessons 4 and 6: what a hand does shows, and the words say what the picture shows."""

import io

import numpy as np
import pytest
from PIL import Image

from course_utils.evaluation import Evaluation
from course_utils.labs import BatchBox, ScheduleBox, ThresholdBox
from course_utils.pipeline import LengthBuckets

LENGTHS = np.random.default_rng(0).integers(5, 100, size=200)


@pytest.fixture
def evaluation():
    confidence, predicted = np.array([0.9, 0.8, 0.6, 0.55]), np.array([0, 1, 0, 1])
    probabilities = np.where(np.arange(2) == predicted[:, None], confidence[:, None], 1 - confidence[:, None])
    return Evaluation(["calm", "angry"], np.array([0, 1, 1, 1]), predicted, probabilities)


@pytest.fixture
def boxes(evaluation):
    return BatchBox(LENGTHS), ScheduleBox(), ThresholdBox(evaluation)


def pixels(box):
    return Image.open(io.BytesIO(box.chart.value)).convert("L").tobytes()


# --- batches ----------------------------------------------------------------------------------------------------


def test_buckets_and_random_order_hold_the_same_texts_with_less_padding():
    box = BatchBox(LENGTHS)
    shares = {}
    for order in ("random", "length buckets"):
        box.set(order=order, batch_size=8)
        batches = box.batches()
        assert sorted(np.concatenate(batches)) == sorted(LENGTHS)
        shares[order] = 1 - LENGTHS.sum() / sum(len(batch) * batch.max() for batch in batches)
        assert f"25 steps an epoch; {shares[order]:.0%} of all cells are padding" in box.words()
    assert shares["length buckets"] < shares["random"] / 2


def test_buckets_are_those_of_the_pipeline_and_random_is_a_new_order_each_epoch():
    box = BatchBox(LENGTHS)
    buckets = LengthBuckets(LENGTHS, 16, seed=0)
    buckets.set_epoch(1)
    assert [list(batch) for batch in box.batches()] == [LENGTHS[rows].tolist() for rows in buckets]
    box.set(order="random")
    first = [list(batch) for batch in box.batches()]
    box.set(epoch=2)
    assert [list(batch) for batch in box.batches()] != first


def test_a_random_batch_is_sorted_by_nothing_but_itself():
    """A pool of one batch leaves it to chance which texts share a batch: their lengths differ as all lengths do."""
    box = BatchBox(LENGTHS, batch_size=64)
    box.set(order="random")
    spread = np.mean([batch.std() for batch in box.batches()[:-1]])
    assert spread == pytest.approx(LENGTHS.std(), rel=0.15)


def test_fewer_batches_than_panels_are_drawn_too():
    box = BatchBox([3, 4, 5], batch_size=2)
    assert "2 steps an epoch" in box.words()
    box.set(batch_size=64)
    assert box.figure().axes[0].get_title() == "20% padding"


# --- schedule ---------------------------------------------------------------------------------------------------


def test_the_schedule_follows_its_controls():
    box = ScheduleBox()
    box.set(learning_rate=1e-2, steps=100, warmup_percent=20, schedule="linear")
    rates = box.rates()
    assert len(rates) == 100 and rates[0] == 0 and rates[20] == rates.max() == pytest.approx(1e-2)
    assert "20 steps of warm-up; the rate is highest at step 21, 0.01" in box.words()
    box.set(schedule="constant", warmup_percent=0)
    assert set(box.rates()) == {1e-2}
    assert "0 steps of warm-up; the rate is highest at step 1" in box.words()


def test_warm_up_may_take_the_whole_run():
    box = ScheduleBox()
    for kind in ("linear", "cosine", "constant"):
        box.set(schedule=kind, warmup_percent=100, steps=10)
        assert np.isfinite(box.rates()).all() and (np.diff(box.rates()) > 0).all()


# --- threshold --------------------------------------------------------------------------------------------------


def test_the_threshold_counts_what_is_answered_and_what_is_wrong(evaluation):
    box = ThresholdBox(evaluation, threshold_percent=58)
    assert "≈ 3 of 4 tickets are answered, ≈ 1 of them wrongly (accuracy ≈ 0.67); ≈ 1 go to a person" in box.words()
    box.set(threshold_percent=100)
    assert "nothing is answered, all 4 tickets go to a person" in box.words()
    box.set(threshold_percent=0)
    assert "≈ 4 of 4 tickets are answered" in box.words()


def test_the_histogram_holds_every_ticket(evaluation):
    left, right = ThresholdBox(evaluation).figure().axes
    bottom, top = right.containers
    assert sum(bar.get_height() for bar in bottom) == 3 and sum(bar.get_height() for bar in top) == 1
    assert left.get_xlabel().startswith("coverage")


# --- all of them ------------------------------------------------------------------------------------------------


def test_each_control_changes_the_picture(boxes):
    changes = (
        {"batch_size": 4, "order": "random", "epoch": 3},
        {"schedule": "cosine", "learning_rate": 1e-2, "steps": 50, "warmup_percent": 40},
        {"threshold_percent": 70},
    )
    for box, values in zip(boxes, changes, strict=True):
        assert set(values) == set(box.controls)
        for name, value in values.items():
            before = pixels(box)
            box.set(**{name: value})
            assert pixels(box) != before, name


def test_each_box_is_named_operable_by_keyboard_and_has_words(boxes, capsys):
    for box in boxes:
        assert all(control.description for control in box.controls.values())
        assert 'role="status"' in box.status.value
        assert box._repr_mimebundle_()["text/plain"] == f"{box.title}: run this cell in JupyterLab to use it."
        box.figure()
        assert "Figure: " in capsys.readouterr().out


def test_wrong_settings_are_refused_in_a_sentence(boxes):
    batches, schedule, threshold = boxes
    with pytest.raises(ValueError, match="'batch_size' does not take 5: choose among 1, 2, 4"):
        batches.set(batch_size=5)
    with pytest.raises(ValueError, match="'steps' does not take 5: give a whole number from 10 to 500"):
        schedule.set(steps=5)
    with pytest.raises(ValueError, match="no control 'threshold' here: choose among threshold_percent"):
        threshold.set(threshold=0.5)
