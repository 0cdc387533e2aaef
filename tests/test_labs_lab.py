"""What all labs share, driven as a hand would drive it, but without a browser: values set, buttons clicked."""

import gc
import random
import threading
import time
import weakref
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from course_utils.architecture import set_dropout
from course_utils.labs import LearningRateLab
from course_utils.labs import lab as lab_module
from tests.hands import Gate, click, wait_for


@pytest.fixture
def lab(tiny):
    lab = LearningRateLab(tiny, steps=60, validation_rows=2)
    yield lab
    lab.stop()


@pytest.fixture
def endless(lab):
    lab.steps = 100_000
    return lab


def test_a_run_draws_pictures_and_reaches_the_end(lab):
    empty = lab.chart.value
    click(lab, "Run")
    assert lab.current.wait(120)
    assert "Finished after 60 of 60 steps" in lab.status.value
    assert bytes(lab.chart.value).startswith(b"\x89PNG") and lab.chart.value != empty


@pytest.fixture
def clock(lab, monkeypatch):
    """A clock that goes on a hundredth of a second with every call of a run, whatever the machine's does."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, pictures=[])
    monkeypatch.setattr(lab_module, "time", clock)
    lab.chart.observe(lambda change: clock.pictures.append((clock.now, len(lab.current.history.loss))), "value")

    def make_run(on_change, on_end):
        def tick(run):
            clock.now += 0.01
            on_change(run)

        return LearningRateLab.make_run(lab, on_change=tick, on_end=on_end)

    monkeypatch.setattr(lab, "make_run", make_run)
    return clock


def test_two_to_four_pictures_a_second_the_first_at_once(lab, clock):
    lab.steps = 120
    lab.start()
    assert lab.current.wait(120)
    assert clock.now > 3
    assert 2 <= len(clock.pictures) / clock.now <= 4, clock.pictures
    assert next(seconds for seconds, steps in clock.pictures if steps > 0) < 1
    assert all(later - earlier < 0.5 for (earlier, _), (later, _) in pairwise(clock.pictures))


def test_slow_pictures_leave_half_of_the_time_to_the_training(lab, clock, monkeypatch):
    def draw_slowly(figure):
        clock.now += 1
        LearningRateLab.draw(lab, figure)

    monkeypatch.setattr(lab, "draw", draw_slowly)
    lab.steps = 120
    lab.start()
    assert lab.current.wait(120)
    seconds = len(clock.pictures) - 2  # the first and the last, at a change of state, are not waited for
    assert 2 <= seconds <= (clock.now - 2) / 2


def test_pause_resume_stop_reset(endless):
    lab = endless
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) > 2)
    click(lab, "Pause")
    wait_for(lambda: "Paused" in lab.status.value)  # written after the button's name, so that is there by then
    assert lab.buttons["Pause"].description == "Resume"
    held = len(lab.current.history.loss)
    click(lab, "Pause")
    wait_for(lambda: len(lab.current.history.loss) > held)
    click(lab, "Stop")
    assert lab.current.wait(120)
    assert lab.current.state == "stopped"
    click(lab, "Reset")
    assert lab.current is None and not lab.earlier
    assert "Press Run" in lab.status.value


def test_stop_ends_the_run_after_the_small_batch_in_hand(endless):
    """A step of 32 rows is four batches of 8; stopped in the second one, it comes neither to a third nor to a step."""
    lab, gate, rows = endless, Gate(), []

    def hold_in_the_second(model, inputs, output):
        if model.training:  # and not when it labels the five messages
            rows.append(len(output.logits))
        if model.training and len(rows) == 2:
            gate.pass_through()

    hook = lab.model.register_forward_hook(hold_in_the_second)
    lab.set(batch_size=32)
    click(lab, "Run")
    gate.wait()
    lab.stop(wait=0)
    assert lab.is_busy
    gate.open()
    assert lab.current.wait(120)
    hook.remove()
    assert (lab.current.state, rows, lab.current.history.loss) == ("stopped", [8, 8], [])


def test_a_second_run_is_refused_with_a_sentence(endless):
    lab = endless
    click(lab, "Run")
    first, pictures = lab.current, []
    click(lab, "Run")
    assert lab.current is first
    lab.chart.observe(pictures.append, "value")
    wait_for(lambda: len(pictures) > 2)  # the sentence outlasts the next pictures
    assert "A run is going on: press Stop first." in lab.status.value
    with pytest.raises(RuntimeError, match="press Pause or Stop"):
        lab.figure()
    with pytest.raises(RuntimeError, match="press Stop"):
        lab.run(steps=1)
    click(lab, "Range test")
    assert lab.current is first


def test_what_is_left_to_do_is_done_before_the_lab_counts_as_free(lab, monkeypatch):
    seen = []
    monkeypatch.setattr(lab, "finish", lambda run: seen.append((lab.is_busy, run.outcome)))
    lab.run(steps=2)
    lab.steps = 3
    click(lab, "Run")
    lab.current.wait(120)
    assert seen == [(True, "finished")] * 2


def test_reset_while_a_run_is_finishing_clears_the_chart_when_it_has_ended(lab, monkeypatch):
    gate = Gate()
    monkeypatch.setattr(lab, "finish", gate.pass_through)
    monkeypatch.setattr(lab, "stop", partial(lab.stop, wait=0))
    lab.steps = 2
    click(lab, "Run")
    gate.wait()
    run = lab.current
    click(lab, "Reset")
    assert lab.is_busy and "cleared as soon as the run has ended" in lab.status.value
    gate.open()
    assert run.wait(120)
    assert lab.current is None and not lab.earlier
    assert "Press Run." in lab.status.value
    lab.run(steps=1)  # the next run is not cleared away
    assert lab.current is not None and not lab.earlier


def test_a_new_run_waits_for_the_last_picture_of_the_one_before(lab, monkeypatch):
    gate, made, describe, said = Gate(), threading.Event(), LearningRateLab.describe, []

    def hold_at_the_end(run):
        if run.state == "finished":
            gate.pass_through()
        return describe(lab, run)

    def make_run(**options):
        run = LearningRateLab.make_run(lab, **options)
        made.set()
        return run

    monkeypatch.setattr(lab, "describe", hold_at_the_end)
    lab.steps = 20
    click(lab, "Run")
    gate.wait()
    monkeypatch.setattr(lab, "make_run", make_run)
    lab.status.observe(lambda change: said.append(change["new"]), "value")
    second = threading.Thread(target=lab.start)
    second.start()
    assert made.wait(120)
    time.sleep(0.1)  # time enough to take the network away from a run that is still being described
    gate.open()
    second.join(120)
    assert lab.current.wait(120)
    assert "Finished after 20 of 20 steps" in said[0]
    assert not any("could not be drawn" in text for text in said)


def test_what_fails_at_the_end_is_said(lab, monkeypatch):
    monkeypatch.setattr(lab, "finish", lambda run: 1 / 0)
    lab.steps = 2
    click(lab, "Run")
    lab.current.wait(120)
    assert "The run failed. ZeroDivisionError" in lab.status.value
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        lab.run()
    assert not lab.is_busy


def test_with_and_without_widgets_the_numbers_are_the_same(lab):
    history = lab.run(steps=20, learning_rate=3e-3, batch_size=8)
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) >= 20)
    assert lab.current.history.loss[:20] == history.loss


def test_earlier_runs_stay_for_comparison_without_their_networks(lab):
    for rate in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e-3):
        lab.run(steps=2, learning_rate=rate)
    lab.run(steps=2, batch_size=4)
    shown = [run.name for run in lab.earlier]
    assert shown == [f"learning rate {rate}, batch size 16" for rate in ("0.01", "0.1", "0.001")]
    assert all(run.model is None for run in lab.earlier)
    assert "Beside it, learning rate 0.01, batch size 16: mean loss ≈" in lab.words()


def test_runs_are_named_by_the_settings_in_which_they_differ(lab):
    for size in (4, 32):
        lab.run(steps=2, batch_size=size)
    lab.words()
    assert [lab.earlier[0].name, lab.current.name] == ["batch size 4", "batch size 32"]


def test_the_messages_are_labelled_while_the_network_learns_and_by_its_best_weights_at_the_end(lab):
    assert lab.tickets.probabilities is None and "five messages" not in lab.words()
    lab.steps = 200
    seen = []
    lab.chart.observe(lambda change: seen.append(lab.tickets.probabilities), "value")
    click(lab, "Run")
    assert lab.current.wait(120)
    first, last = seen[0], lab.tickets.probabilities
    assert first.shape == (5, 8) and not (first == last).all()
    assert last.sum(axis=1) == pytest.approx([1] * 5)
    lab.tickets.ask(lab.model)  # the network has its best weights back
    assert (lab.tickets.probabilities == last).all()
    assert "Of the five messages ≈ " in lab.status.value and "billing ≈ " in lab.status.value
    click(lab, "Reset")
    assert lab.tickets.probabilities is None


def test_labelling_the_messages_changes_no_number_of_a_run_with_dropout(lab, monkeypatch):
    monkeypatch.setattr(lab_module, "REDRAW", 0)
    set_dropout(lab.model, 0.3)
    lab.run(steps=6)
    alone = lab.current.history.loss
    lab.steps = 6
    click(lab, "Run")
    assert lab.current.wait(120)
    assert lab.current.history.loss == pytest.approx(alone)


def test_what_fails_while_it_labels_the_messages_does_not_end_the_training(lab, monkeypatch):
    monkeypatch.setattr(type(lab.tickets), "forget", lambda tickets: None)
    asked = []

    def ask(model):
        asked.append(lab.current and lab.current.outcome)
        if not asked[-1]:
            raise ValueError("no")

    monkeypatch.setattr(lab.tickets, "ask", ask)
    click(lab, "Run")
    assert lab.current.wait(120)
    assert lab.current.state == "finished" and asked[-1] == "finished"


def test_an_error_in_the_thread_is_shown_as_text_not_as_html(lab, monkeypatch):
    def break_down(*_, **__):
        raise OSError("<b>disk</b> full")

    monkeypatch.setattr("course_utils.live.train_and_validate", break_down)
    click(lab, "Run")
    lab.current.wait(120)
    assert "The run failed. OSError: &lt;b&gt;disk&lt;/b&gt; full" in lab.status.value
    with pytest.raises(RuntimeError, match="disk"):
        lab.run()


def test_a_label_is_shown_as_text_not_as_html(lab):
    lab.run(steps=20)
    lab.current.history.validations.append(
        {"commonest": "<img src=x>", "commonest_share": 1.0, "step": 20, "macro_f1": 0}
    )
    lab.refresh()
    assert "&lt;img src=x&gt;" in lab.status.value and "<img" not in lab.status.value


def test_a_picture_that_fails_does_not_end_the_training(lab, monkeypatch):
    monkeypatch.setattr(lab, "draw", lambda figure: 1 / 0)
    click(lab, "Run")
    assert lab.current.wait(120)
    assert lab.current.state == "finished"
    assert "could not be drawn. ZeroDivisionError" in lab.status.value


def test_every_control_has_a_name_and_the_fallback_is_a_sentence(lab):
    assert all(control.description for control in lab.controls.values())
    assert all(button.tooltip for button in lab.buttons.values())
    assert lab._repr_mimebundle_()["text/plain"].endswith("run this cell in JupyterLab to use it.")


def test_the_static_figure_says_the_same_as_the_live_text(lab, capsys):
    lab.run(steps=12)
    figure = lab.figure()
    assert len(figure.axes) == 4  # three charts, and the messages
    assert lab.words() in capsys.readouterr().out


def count_copies(weight):
    """How many tensors of this shape there are in the whole process."""
    gc.collect()
    kinds = (torch.Tensor, torch.nn.Parameter)
    return sum(type(thing) in kinds and thing.shape == weight.shape for thing in gc.get_objects())


def test_runs_stopped_at_random_leave_no_copy_of_the_weights_no_run_and_no_thread_behind(endless):
    lab, rng, runs, copies = endless, random.Random(0), [], []
    for _ in range(8):
        click(lab, "Run")
        wait_for(lambda: lab.current.history.loss)
        time.sleep(rng.random() / 4)
        click(lab, "Stop")
        assert lab.current.wait(120)
        runs.append(weakref.ref(lab.current))
        copies.append(count_copies(lab.model.score.weight))
    assert copies[-1] <= copies[0]
    assert [run() for run in runs if run() is not None] == [*lab.earlier, lab.current]
    assert all(thread.name != "live training" for thread in threading.enumerate())
