"""The steerable run: the same numbers in a thread and at once, and a hand on it that is obeyed."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from course_utils.diagnosis import describe_run, read_range_test
from course_utils.evaluation import evaluate
from course_utils.live import LiveTraining, RangeTest
from course_utils.models import load_classifier
from course_utils.training import FineTuneSettings, fine_tune
from tests.hands import Gate, wait_for

SETTINGS = FineTuneSettings(learning_rate=1e-3, batch_size=16, patience=None)


@pytest.fixture
def make_run(tiny, few):
    """Make a run; of its options, the fields of the settings become settings."""

    def make(settings=SETTINGS, dropout=0.0, on_change=None, on_end=None, **options):
        model = load_classifier(few["train"].features["label"].names, tiny, dropout)
        settings = replace(settings, **({"steps": 120, "validate_every": 20} | options))
        return LiveTraining(model, few["train"], few["validation"], settings, on_change, on_end)

    return make


@pytest.fixture
def make_range_test(tiny, few):
    def make(**options):
        return RangeTest(load_classifier(few["train"].features["label"].names, tiny), few["train"], SETTINGS, **options)

    return make


def test_impossible_settings_are_refused_at_once(make_run):
    with pytest.raises(ValueError, match="batch_size counts from 1 up"):
        make_run(batch_size=0, steps=None)


def test_live_and_at_once_give_the_same_numbers(make_run):
    at_once, live = make_run(steps=12, validate_every=4, dropout=0.1), make_run(steps=12, validate_every=4, dropout=0.1)
    at_once.run()
    live.start()
    assert live.wait(60)
    assert live.history.loss == at_once.history.loss
    assert live.history.learning_rate == at_once.history.learning_rate
    assert [row["macro_f1"] for row in live.history.validations] == [
        row["macro_f1"] for row in at_once.history.validations
    ]
    assert live.state == at_once.state == "finished"
    assert len(live.history.loss) == 12
    assert [row["step"] for row in live.history.validations] == [4, 8, 12]


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 12},
        {"batch_size": 20},
        {"batch_size": 5, "accumulate": 3},
        {"steps": None, "validate_every": None},
    ],
)
def test_it_is_the_loop_of_lesson_5_bit_for_bit(make_run, few, options):
    """Also with batches that are no multiple of 8, and with dropout."""
    options = {"steps": 7, "validate_every": 3} | options
    live, other = make_run(dropout=0.1, **options), make_run(dropout=0.1, **options)
    wanted = fine_tune(other.model, few["train"], few["validation"], other.settings)
    live.start()
    assert live.wait(60)
    history = live.history
    assert history.loss == wanted.loss and history.learning_rate == wanted.learning_rate
    assert len(history.loss) == live.steps
    assert history.table().drop(columns="seconds").equals(wanted.table().drop(columns="seconds"))
    assert all(torch.equal(a, b) for a, b in zip(live.model.parameters(), other.model.parameters(), strict=True))


def test_one_step_makes_the_update_of_the_loop_of_lesson_5(make_run, few):
    """The same weights after one step, hence the same gradient; and they are not those it began with."""
    options = {"steps": 1, "warmup_share": 0.0, "accumulate": 2, "batch_size": 8}
    live, other = make_run(**options), make_run(**options)
    before = live.model.score.weight.clone()
    live.run()
    fine_tune(other.model, few["train"], few["validation"], other.settings)
    assert not torch.equal(live.model.score.weight, before)
    assert torch.equal(live.model.score.weight, other.model.score.weight)


def test_a_rate_moved_at_any_moment_is_kept(make_run):
    """Between two steps, during a batch, in validation: the next step takes it, and so do all after it."""
    for moment in range(1, 12):
        run, calls = make_run(steps=4, validate_every=2, schedule="constant", warmup_share=0.0), []

        def turn(run, calls=calls, moment=moment):
            calls.append(len(run.history.loss))
            if len(calls) == moment:
                run.set_learning_rate(7e-3)

        run.on_change = turn
        run.run()
        rates = run.history.learning_rate
        first = rates.index(7e-3) if 7e-3 in rates else len(rates)
        assert first <= calls[moment - 1] + 1  # during a batch the rate of its step is taken already
        assert set(rates[first:]) == set(rates[first:][:1])
        assert run.changes == [(first + 1, 7e-3)][: len(rates) - first]


def test_what_is_done_at_the_end_belongs_to_the_run(make_run):
    """While `on_end` is at work the run counts as going on, and the best weights are back already."""
    seen = []
    run = make_run(steps=2, on_end=lambda run: seen.append((run.is_going, run.outcome, run.model.training)))
    run.run()
    assert seen == [(True, "finished", False)]
    assert (run.state, run.is_going) == ("finished", False)

    def interrupt(run):
        raise KeyboardInterrupt

    divided = ("failed", "ZeroDivisionError: division by zero")
    for action, end in ((interrupt, ("stopped", "")), (lambda run: 1 / 0, divided)):
        broken = make_run(steps=1, on_end=action)
        broken.run()
        assert (broken.state, broken.message) == end and not broken.is_going


def test_a_run_without_a_validation_on_the_way_is_validated_at_its_end(make_run):
    run = make_run(steps=3, validate_every=100)
    before = run.model.score.weight.clone()
    run.run()
    assert [row["step"] for row in run.history.validations] == [3]
    assert not torch.equal(run.model.score.weight, before)
    cut = make_run(steps=50, validate_every=100)
    cut.run(2)
    assert (cut.state, [row["step"] for row in cut.history.validations]) == ("finished", [2])


def test_a_new_rate_holds_from_the_next_step_on(make_run):
    run = make_run(steps=10, validate_every=50)

    def turn(run):
        if len(run.history.loss) == 4:
            run.set_learning_rate(5e-3)

    run.on_change = turn
    settings_rate = SETTINGS.learning_rate
    run.run()
    linear = [(10 - step) / 9 for step in range(1, 10)]
    assert run.history.learning_rate[:4] == pytest.approx([0.0, *[settings_rate * share for share in linear[:3]]])
    assert run.history.learning_rate[4:] == pytest.approx([5e-3 * share for share in linear[3:]])
    assert run.changes == [(5, 5e-3)]


def test_a_rate_changed_before_the_start_is_the_rate(make_run):
    turned, plain = make_run(steps=3), make_run(learning_rate=3e-3, steps=3)
    turned.set_learning_rate(3e-3)
    turned.run(), plain.run()
    assert turned.history.loss == plain.history.loss
    with pytest.raises(ValueError, match="above 0"):
        turned.set_learning_rate(0)


def test_pause_holds_resume_goes_on_and_the_numbers_do_not_notice(make_run):
    plain = make_run(steps=80, validate_every=40)
    plain.run()
    run = make_run(steps=80, validate_every=40)
    run.start()
    wait_for(lambda: len(run.history.loss) > 5)
    run.pause()
    wait_for(lambda: run.state == "paused")
    held = len(run.history.loss)
    time.sleep(0.2)
    assert len(run.history.loss) == held < 80
    run.resume()
    assert run.wait(60)
    assert run.history.loss == plain.history.loss


def test_whoever_looks_on_is_called_in_the_runs_own_thread(make_run):
    names = []
    run = make_run(steps=3, on_change=lambda run: names.append(threading.current_thread().name))
    run.start()
    assert run.wait(60)
    assert set(names) == {"live training"} and run.state == "finished"


def test_a_first_look_that_fails_ends_the_run(make_run):
    run = make_run(steps=3)
    looks = iter([True])
    run.on_change = lambda run: next(looks, False) and 1 / 0
    run.start()
    assert run.wait(60)
    assert run.state == "failed" and not run.is_going and "ZeroDivisionError" in run.message


def test_a_pause_after_a_stop_does_not_hold_the_run(make_run):
    gate, run = Gate(), make_run(steps=100_000)
    wait_for_step = iter(range(5))
    run.on_change = lambda run: next(wait_for_step, None) == 3 and gate.pass_through()
    run.start()
    gate.wait()
    run.stop()
    run.pause()
    gate.open()
    assert run.wait(60)
    assert run.state == "stopped"


@pytest.mark.parametrize("steps", [0, -1])
def test_a_run_of_no_steps_is_refused(make_run, steps):
    run = make_run()
    with pytest.raises(ValueError, match=f"1 or more, got {steps}"):
        run.run(steps)
    assert not run.history.loss


@pytest.mark.parametrize("paused", [False, True])
def test_stop_is_obeyed_at_once_and_leaves_no_thread(make_run, paused):
    run = make_run(steps=100_000)
    run.start()
    wait_for(lambda: len(run.history.loss) > 3)
    if paused:
        run.pause()
        wait_for(lambda: run.state == "paused")
    run.stop()
    steps = len(run.history.loss)
    assert run.wait(60)
    assert len(run.history.loss) <= steps + 1  # of 100,000: the step in hand may be at its end
    assert run.state == "stopped"
    assert all(thread.name != "live training" for thread in threading.enumerate())


def test_the_best_validation_comes_back_however_the_run_ends(make_run, few):
    run = make_run(learning_rate=0.3, patience=2, steps=60, validate_every=3)
    start = [p.clone() for p in run.model.parameters()]
    run.run()
    assert run.state == "stopped early"
    assert len(run.history.loss) < 60
    best = max(row["macro_f1"] for row in run.history.validations)
    assert evaluate(run.model, few["validation"]).macro_f1 == pytest.approx(best)
    stopped = make_run(steps=50, validate_every=100)
    stopped.on_change = lambda run: run.stop() if len(run.history.loss) == 3 else None
    stopped.run()
    # It never came to a validation, so nothing it learned can be trusted.
    assert all(torch.equal(a, b) for a, b in zip(stopped.model.parameters(), start, strict=True))


def test_a_diverged_and_a_broken_run_say_so_in_a_sentence(make_run):
    run = make_run(learning_rate=1e30, clip=1e30, warmup_share=0.0, schedule="constant", steps=30)
    run.run()
    assert run.state == "diverged"
    assert "it has diverged at a learning rate of 1.0e+30; lower it." in describe_run(run)
    broken = make_run(steps=30)
    broken.train = broken.train.remove_columns("input_ids")
    broken.start()
    assert broken.wait(60)
    assert broken.state == "failed"
    assert describe_run(broken).startswith("The run failed. ")


def test_a_run_is_started_once_and_settings_are_checked(make_run):
    run = make_run(steps=1)
    run.run()
    for again in (run.run, run.start):
        with pytest.raises(RuntimeError, match="make a new one"):
            again()
    with pytest.raises(ValueError, match="steps counts from 1 up"):
        make_run(steps=0)


def test_the_rate_of_a_range_test_rises_by_equal_factors(make_range_test):
    run = make_range_test(steps=25, high=1e-3)
    before = [p.clone() for p in run.model.parameters()]
    run.run()
    rates = np.array(run.history.learning_rate)
    assert rates[0] == pytest.approx(1e-6)
    assert rates[-1] == pytest.approx(1e-3)
    assert np.allclose(rates[1:] / rates[:-1], rates[1] / rates[0])
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), before, strict=True))
    blown = make_range_test(steps=200, high=1e4)
    blown.run()
    assert len(blown.history.loss) < 200 and blown.state == "finished"
    steepest, blow_up = read_range_test(blown.history.learning_rate, blown.history.loss)
    assert steepest < blow_up
