"""The steerable run: the same numbers in a thread and at once, and a hand on it that is obeyed."""

import math
import threading
import time

import numpy as np
import pytest
import torch

from course_utils.live import LiveTraining, RangeTest, describe, diagnose, read_range_test, running_mean
from course_utils.models import load_classifier
from course_utils.training import FineTuneSettings, fine_tune

SETTINGS = FineTuneSettings(learning_rate=1e-3, batch_size=16, patience=None)


@pytest.fixture
def make_run(tiny, few):
    def make(settings=SETTINGS, kind=LiveTraining, dropout=0.0, **options):
        model = load_classifier(few["train"].features["label"].names, tiny, dropout)
        return kind(model, few["train"], few["validation"], settings, **options)

    return make


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_live_and_at_once_give_the_same_numbers(make_run):
    at_once, live = make_run(steps=12, validate_every=4, dropout=0.1), make_run(steps=12, validate_every=4, dropout=0.1)
    at_once.run()
    live.start()
    assert live.wait(30)
    assert live.history.loss == at_once.history.loss
    assert live.history.learning_rate == at_once.history.learning_rate
    assert [row["macro_f1"] for row in live.history.epochs] == [row["macro_f1"] for row in at_once.history.epochs]
    assert live.state == at_once.state == "finished"
    assert len(live.history.loss) == 12
    assert [row["step"] for row in live.history.epochs] == [4, 8, 12]


def test_it_is_the_loop_of_lesson_5(make_run, few):
    """Where the small batches are the same, so are the losses: a batch of 8 rows is one piece."""
    settings = FineTuneSettings(learning_rate=1e-3, batch_size=8, epochs=2, patience=None)
    steps_per_epoch = math.ceil(len(few["train"]) / 8)
    live = make_run(settings, steps=2 * steps_per_epoch, validate_every=steps_per_epoch)
    other = make_run(settings)
    history = fine_tune(other.model, few["train"], few["validation"], settings)
    live.run()
    assert live.history.loss == pytest.approx(history.loss, rel=1e-5)
    assert live.history.learning_rate == pytest.approx(history.learning_rate)


def test_a_large_batch_is_worked_off_in_pieces_and_gives_the_same_gradient(make_run, monkeypatch):
    whole, pieces = make_run(steps=1), make_run(steps=1)
    pieces.run()
    monkeypatch.setattr("course_utils.live.PIECE", 16)
    whole.run()
    assert pieces.history.loss == pytest.approx(whole.history.loss, rel=0.05)  # other rows, the same kind of step


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
    turned, plain = make_run(steps=3), make_run(FineTuneSettings(learning_rate=3e-3, patience=None), steps=3)
    turned.set_learning_rate(3e-3)
    turned.run(), plain.run()
    assert turned.history.loss == plain.history.loss
    with pytest.raises(ValueError, match="above 0"):
        turned.set_learning_rate(0)


def test_pause_holds_resume_goes_on_and_the_numbers_do_not_notice(make_run):
    plain = make_run(steps=200, validate_every=100)
    plain.run()
    run = make_run(steps=200, validate_every=100)
    run.start()
    wait_for(lambda: len(run.history.loss) > 5)
    run.pause()
    wait_for(lambda: run.state == "paused")
    held = len(run.history.loss)
    time.sleep(0.2)
    assert len(run.history.loss) == held < 200
    run.resume()
    assert run.wait(60)
    assert run.history.loss == plain.history.loss


@pytest.mark.parametrize("paused", [False, True])
def test_stop_is_obeyed_at_once_and_leaves_no_thread(make_run, paused):
    run = make_run(steps=100_000)
    run.start()
    wait_for(lambda: len(run.history.loss) > 3)
    if paused:
        run.pause()
        wait_for(lambda: run.state == "paused")
    start = time.monotonic()
    run.stop()
    assert run.wait(5)
    assert time.monotonic() - start < 0.5
    assert run.state == "stopped"
    assert all(thread.name != "live training" for thread in threading.enumerate())


def test_the_best_validation_comes_back_however_the_run_ends(make_run, few):
    run = make_run(FineTuneSettings(learning_rate=0.3, batch_size=16, patience=2), steps=60, validate_every=3)
    start = [p.clone() for p in run.model.parameters()]
    run.run()
    assert run.state == "stopped early"
    assert len(run.history.loss) < 60
    from course_utils.evaluation import evaluate

    best = max(row["macro_f1"] for row in run.history.epochs)
    assert evaluate(run.model, few["validation"]).macro_f1 == pytest.approx(best)
    stopped = make_run(steps=50, validate_every=100)
    stopped.on_change = lambda run: run.stop() if len(run.history.loss) == 3 else None
    stopped.run()
    # It never came to a validation, so nothing it learned can be trusted.
    assert all(torch.equal(a, b) for a, b in zip(stopped.model.parameters(), start, strict=True))


def test_a_diverged_and_a_broken_run_say_so_in_a_sentence(make_run):
    settings = FineTuneSettings(learning_rate=1e30, clip=1e30, patience=None, warmup_share=0.0, schedule="constant")
    run = make_run(settings, steps=30)
    run.run()
    assert run.state == "diverged"
    assert "it has diverged at a learning rate of 1.0e+30; lower it." in describe(run)
    broken = make_run(steps=30)
    broken.train = "no data set"
    broken.start()
    broken.wait(10)
    assert broken.state == "failed"
    assert describe(broken).startswith("The run failed. ")


def test_a_run_is_started_once_and_settings_are_checked(make_run):
    run = make_run(steps=1)
    run.run()
    for again in (run.run, run.start):
        with pytest.raises(RuntimeError, match="make a new one"):
            again()
    with pytest.raises(ValueError, match="count from 1 up"):
        make_run(steps=0)


def test_the_rate_of_a_range_test_rises_by_equal_factors(make_run):
    run = make_run(kind=RangeTest, steps=25, high=1e-3)
    run.run()
    rates = np.array(run.history.learning_rate)
    assert rates[0] == pytest.approx(1e-6)
    assert rates[-1] == pytest.approx(1e-3)
    assert np.allclose(rates[1:] / rates[:-1], rates[1] / rates[0])
    blown = make_run(FineTuneSettings(), RangeTest, steps=200, high=1e4)
    blown.run()
    assert len(blown.history.loss) < 200
    steepest, blow_up = read_range_test(blown.history.learning_rate, blown.history.loss)
    assert steepest < blow_up


def test_a_range_test_is_read_at_the_steepest_descent_and_the_blow_up():
    rates = np.logspace(-6, 0, 100).tolist()
    losses = [2.0 if rate < 1e-4 else 2.0 - 0.8 * min(1, math.log10(rate * 1e4)) for rate in rates]
    losses = [loss if rate < 1e-1 else 6.0 for loss, rate in zip(losses, rates, strict=True)]
    steepest, blow_up = read_range_test(rates, losses)
    assert 1e-4 < steepest < 2e-3
    assert 1e-1 < blow_up < 4e-1
    assert read_range_test(rates, np.linspace(2, 1, 100).tolist())[1] is None
    with pytest.raises(ValueError, match="at least 20"):
        read_range_test(rates[:5], losses[:5])


def test_running_mean_takes_the_last_ten():
    values = list(range(30))
    assert running_mean(values)[[0, 1, 29]] == pytest.approx([0, 0.5, 24.5])


@pytest.mark.parametrize(
    "loss, words",
    [
        ([2.1] * 10, "Too early"),
        (np.linspace(2.1, 1.0, 60), "has fallen by ≈ 0.9"),
        ([2.08] * 60, "moved by only ≈ 0.00: the rate is too low, or so high"),
        ([*np.linspace(2.6, 2.5, 10), *np.linspace(2.5, 2.2, 10), *[2.2] * 20], "no better yet than guessing"),
        (np.linspace(2.0, 2.3, 60), "not falling"),
        ([*np.linspace(2.1, 1.8, 40), *np.linspace(3, 11, 20)], "rising since step ≈ 4"),
        ([2.1, 2.1, *[9.0] * 10, *[3.0] * 40], "above the ≈ 2.1 it began with"),
    ],
)
def test_the_state_of_a_run_is_said_in_words(make_run, loss, words):
    run = make_run()
    run.history.loss = list(loss)
    assert words in diagnose(run)


def test_a_run_that_gives_one_answer_to_all_is_called_stuck(make_run):
    run = make_run()
    run.history.loss = [2.05] * 60
    run.commonest = ("delivery", 0.99)
    assert "nearly every message into 'delivery'" in diagnose(run)
