"""Lesson 7's lab: the rate turned by hand, presets, the range test."""

import threading

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


def test_a_rate_that_the_slider_has_already_is_taken_by_a_run_with_a_preset(lab):
    lab.steps = 100_000
    lab.set(preset="D")
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) > 2)
    lab.set(learning_rate=lab.controls["learning_rate"].value)
    wait_for(lambda: lab.current.history.learning_rate[-1] == pytest.approx(1e-3))
    click(lab, "Stop")
    assert lab.current.wait(120)


@pytest.mark.parametrize("rate", [1e-5, 1e-3])
def test_a_preset_set_together_with_a_rate_holds(lab, rate):
    """Whether the slider moves or stands at that rate already."""
    lab.set(preset="A", learning_rate=rate)
    assert lab.controls["preset"].value == "A" and lab.make_run().settings.learning_rate == lab.presets["A"]
    lab.set(learning_rate=rate)
    assert lab.controls["preset"].value == "" and lab.make_run().settings.learning_rate == pytest.approx(rate)


def test_reveal_lets_the_runs_own_thread_draw(lab, monkeypatch):
    drawn, draw = [], lab.draw
    monkeypatch.setattr(lab, "draw", lambda figure: drawn.append(threading.current_thread().name) or draw(figure))
    lab.steps = 100_000
    lab.set(preset="D")
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) > 3)
    click(lab, "Reveal")
    wait_for(lambda: "D is far too high (0.1)" in lab.status.value)
    click(lab, "Stop")
    assert lab.current.wait(120)
    assert set(drawn) == {"live training"}


def test_a_lab_refuses_a_run_of_no_steps_and_goes_on(lab):
    with pytest.raises(ValueError, match="1 or more, got 0"):
        lab.run(steps=0)
    assert len(lab.run(steps=2).loss) == 2


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


def test_a_preset_has_a_rate_of_its_own_which_is_hidden_until_it_is_revealed(lab):
    history = lab.run(steps=15, preset="D")
    assert set(history.learning_rate) == {lab.presets["D"]}
    assert "learning rate hidden" in lab.words() and "before you press Reveal" in lab.words()
    assert "too high" not in lab.words().replace("Too low, right or too high?", "")
    assert not lab.figure().axes[2].lines
    click(lab, "Reveal")
    assert "learning rate 0.1;" in lab.status.value and "D is far too high (0.1)" in lab.status.value
    assert lab.figure().axes[2].lines
    lab.run(steps=2, preset="A")
    assert lab.words().count("preset D (0.1)") == 1
    click(lab, "Reset")
    assert not lab.revealed and lab.words() == "Press Run."


def test_all_presets_can_be_read_by_code_and_are_revealed_with_what_they_are(lab):
    assert sorted(lab.presets) == sorted(lab.kinds) == list("ABCD")
    assert lab.reveal()["B"] == "too low, 1e-05"
    assert lab.presets["B"] < lab.presets["C"] < lab.presets["A"] < lab.presets["D"]


def test_a_rate_of_ones_own_ends_the_preset(lab):
    lab.set(preset="B")
    assert lab.make_run().settings.learning_rate == lab.presets["B"]
    lab.controls["learning_rate"].value = 0.02
    assert lab.controls["preset"].value == "" and lab.make_run().settings.learning_rate == pytest.approx(0.02)
    lab.set(preset="B")
    assert set(lab.run(steps=1, learning_rate=0.02).learning_rate) == {0.02}  # the rate that the slider has already


def test_a_rate_turned_by_hand_is_in_the_name(lab):
    lab.run(steps=2)
    lab.start_run(lambda **options: turn_at(lab.make_run(**options), 3))
    assert lab.current.wait(120)
    lab.words()
    assert [lab.earlier[0].name, lab.current.name] == ["", "turned at step 4"]


def turn_at(run, step):
    redraw = run.on_change

    def turn(run):
        if len(run.history.loss) == step:
            run.set_learning_rate(0.5)
        redraw(run)

    run.on_change = turn
    return run


@pytest.mark.parametrize("wanted, size, count", [(4, 4, 1), (8, 8, 1), (16, 8, 2), (32, 8, 4)])
def test_every_step_takes_the_rows_that_were_asked_for_in_batches_of_eight_at_most(lab, wanted, size, count):
    rows = []
    hook = lab.model.register_forward_hook(
        lambda model, inputs, output: rows.append(len(output.logits)) if model.training else None
    )
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
    steepest, lost = lab.run_range_test()
    assert 1e-6 < steepest < 1 and (lost is None or lost > steepest)
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
