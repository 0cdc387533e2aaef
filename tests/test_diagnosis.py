"""Lesson 7: a run read from its curves."""

from types import SimpleNamespace

import numpy as np
import pytest

from course_utils.diagnosis import describe_run, diagnose, noise, read_range_test, replay_stop, running_mean
from course_utils.history import History


def make_run(loss, **last):
    config = SimpleNamespace(config=SimpleNamespace(num_labels=8))
    validation = {"step": 20, "commonest": "delivery", "commonest_share": 0.3} | last
    return SimpleNamespace(history=History(list(loss), validations=[validation]), state="running", model=config)


def sweep(middle, blow_at, noise=0.0):
    """The loss falls from 2 to 1.2, most steeply at the rate `middle`, and is 6 from `blow_at` on."""
    rates = np.logspace(-6, 0, 100)
    losses = 2 - 0.8 / (1 + (middle / rates) ** 2)
    losses[rates >= blow_at] = 6.0
    return rates.tolist(), (losses + np.random.default_rng(0).normal(0, noise, 100)).tolist()


@pytest.mark.parametrize("middle", [1e-4, 1e-3, 5e-3])
def test_a_range_test_is_read_in_the_middle_of_the_fall(middle):
    """A running mean lags: read at its last rate, the answer would be nearly twice too high."""
    steepest, blow_up = read_range_test(*sweep(middle, 1e-1))
    assert middle / 1.3 < steepest < middle * 1.3
    assert 0.05 < blow_up < 0.15
    assert middle / 2.5 < read_range_test(*sweep(middle, 1e-1, noise=0.01))[0] < middle * 2.5


def test_a_sweep_that_does_not_blow_up_has_no_such_rate():
    rates, _ = sweep(1e-4, 1)
    assert read_range_test(rates, np.linspace(2, 1, 100).tolist())[1] is None
    with pytest.raises(ValueError, match="at least 20"):
        read_range_test(rates[:5], [1.0] * 5)


def test_running_mean_takes_the_last_ten():
    values = list(range(30))
    assert running_mean(values)[[0, 1, 29]] == pytest.approx([0, 0.5, 24.5])
    assert running_mean([]).shape == (0,)


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
def test_the_state_of_a_run_is_said_in_words(loss, words):
    assert words in diagnose(make_run(loss))


def test_a_run_that_gives_one_answer_to_all_is_called_stuck():
    assert "nearly every message into 'delivery'" in diagnose(make_run([2.05] * 60, commonest_share=0.99))


def test_noise_is_the_spread_around_the_course_and_not_the_course():
    rng = np.random.default_rng(0)
    course = np.linspace(8, 1, 4000)
    assert noise(course) < 1e-6
    assert noise(course + rng.normal(0, 0.3, 4000)) == pytest.approx(0.3, rel=0.05)


def test_a_hidden_run_tells_neither_its_rate_nor_what_is_wrong():
    run = make_run([2.08] * 60)
    run.history.learning_rate, run.steps, run.is_going = [0.1] * 60, 60, False
    run.settings, run.history.validations = SimpleNamespace(monitor="macro_f1"), []
    assert "learning rate 0.1." in describe_run(run) and "stuck" in describe_run(run)
    hidden = describe_run(run, hidden=True)
    assert "0.1" not in hidden and "stuck" not in hidden and hidden.endswith("before you press Reveal.")


def test_a_long_run_tells_where_a_stopped_one_would_have_ended():
    rows = zip([2.0, 1.8, 1.9, 2.1, 2.4], [0.1, 0.2, 0.1, 0.15, 0.4], strict=True)
    history = History(
        validations=[
            {"step": 10 * i, "validation_loss": loss, "macro_f1": score, "accuracy": score}
            for i, (loss, score) in enumerate(rows, start=1)
        ]
    )
    assert replay_stop(history, "validation_loss", 1) == (30, 20)
    assert replay_stop(history, "validation_loss", 3) == (50, 20)
    assert replay_stop(history, "macro_f1", 2) == (40, 20)
    assert replay_stop(history, "macro_f1", 3) == (50, 50)
