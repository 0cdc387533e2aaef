"""Lesson 7's lab: the rate turned by hand, presets, the range test."""

import pytest
import torch

from course_utils.labs import LearningRateLab
from tests.hands import click, wait_for


@pytest.fixture
def lab(tiny):
    lab = LearningRateLab(tiny, steps=60, validation_rows=2)
    yield lab
    lab.stop()


def test_moving_the_slider_changes_the_rate_of_the_run_and_is_marked(lab):
    lab.steps = 100_000
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) > 5)
    lab.controls["learning_rate"].value = 1e-2
    wait_for(lambda: lab.current.history.learning_rate[-1] == pytest.approx(1e-2))
    click(lab, "Stop")
    assert lab.current.wait(120)
    ((step, rate),) = lab.current.changes
    assert rate == pytest.approx(1e-2)
    assert lab.current.history.learning_rate[step - 2 : step] == pytest.approx([1e-3, 1e-2])
    assert "learning rate 0.01" in lab.status.value


def test_the_number_beside_the_slider_follows_it_and_leads_it(lab):
    number = next(
        child
        for box in lab.view.children
        for child in getattr(box, "children", ())
        if getattr(child, "description", "") == "learning rate, as a number"
    )
    lab.set(learning_rate=0.02)
    assert number.value == 0.02
    number.value = 0.05
    assert lab.controls["learning_rate"].value == 0.05
    assert (number.min, number.max) == (1e-6, 1)


def test_presets_set_the_rate_and_a_plain_schedule(lab):
    lab.set(schedule="linear", warmup_share=0.3)
    lab.preset.value = "too high"
    values = [lab.controls[name].value for name in ("learning_rate", "schedule", "warmup_share")]
    assert values == [lab.presets["too high"], "constant", 0.0]


@pytest.mark.parametrize("wanted, size, count", [(4, 4, 1), (8, 8, 1), (16, 8, 2), (32, 8, 4)])
def test_every_step_takes_the_rows_that_were_asked_for_in_batches_of_eight_at_most(lab, wanted, size, count):
    rows = []
    hook = lab.model.register_forward_hook(lambda model, inputs, output: rows.append(len(output.logits)))
    lab.run(steps=1, batch_size=wanted)
    hook.remove()
    assert rows[:count] == [size] * count and size * count == wanted
    assert lab.make_range_test().settings.accumulate == count


def test_every_run_begins_with_the_same_weights(lab):
    first, second = lab.run(steps=3, learning_rate=1e-2), lab.run(steps=3, learning_rate=1e-2)
    assert first.loss == second.loss


def test_a_run_is_validated_every_twenty_steps_and_at_its_end(lab):
    lab.steps = 45
    assert lab.run().table().index.tolist() == [20, 40, 45]


def test_the_range_test_says_what_it_found_and_is_not_compared_with_runs(lab):
    steepest, blow_up = lab.run_range_test()
    assert 1e-6 < steepest < 1 and (blow_up is None or blow_up > steepest)
    assert f"falls most steeply at a rate of ≈ {steepest:.1e}" in lab.status.value
    lab.run(steps=2)
    assert not lab.earlier


def test_the_range_test_runs_in_the_background_too(lab):
    click(lab, "Range test")
    assert lab.current.wait(120)
    assert "falls most steeply at a rate of" in lab.status.value


def test_the_network_is_moved_to_the_device_that_was_picked(tiny, monkeypatch):
    monkeypatch.setattr("course_utils.labs.learning_rate.pick_device", lambda: torch.device("meta"))
    lab = LearningRateLab(tiny, validation_rows=1)
    assert {p.device.type for p in lab.model.parameters()} == {"meta"}
    assert lab.make_run().model is lab.model
