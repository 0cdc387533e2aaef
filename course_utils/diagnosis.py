"""Lessons 7 and 8: read a run from its curves: its noise, a good rate, what is wrong, where it would have stopped."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from course_utils.history import FineTuneSettings, History, update_best

WINDOW = 10


def running_mean(values: Sequence[float], window: int = WINDOW) -> np.ndarray:
    """Mean of the last `window` values at every place, fewer at the start; shape as given."""
    return pd.Series(values, dtype=float).rolling(window, min_periods=1).mean().to_numpy()


def noise(losses: Sequence[float]) -> float:
    """How far the loss of a step lies from its course: standard deviation in nats, from neighbouring steps.

    The difference of two neighbours has hardly any of the course in it, and twice the variance of one. Needs two steps.
    """
    return float(np.std(np.diff(losses)) / math.sqrt(2))


def read_range_test(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, float | None]:
    """Read a range test: (rate where the smoothed loss falls most steeply, rate where the gain is lost or None).

    Steepness is the fall of the loss for each tenfold of the rate. The gain is lost at the first rate after the lowest
    point at which the smoothed loss is above its value at the start. A running mean lags behind by half its window, so
    each mean belongs to the middle of its ten rates (their geometric mean), not to the last of them. Raises ValueError
    for fewer than 20 steps.
    """
    if len(losses) < 2 * WINDOW:
        raise ValueError(f"A range test needs at least {2 * WINDOW} steps to be read, this one has {len(losses)}.")
    smoothed = running_mean(losses)[WINDOW - 1 :]
    middles = running_mean(np.log10(rates))[WINDOW - 1 :]
    slope = np.gradient(smoothed, middles)
    lowest = int(np.argmin(smoothed))
    above = np.flatnonzero(smoothed[lowest:] > smoothed[0]) + lowest
    steepest = int(np.argmin(slope[: lowest + 1]))
    return float(10 ** middles[steepest]), float(10 ** middles[above[0]]) if len(above) else None


def replay_stop(history: History, monitor: str, patience: int) -> tuple[int, int]:
    """Where early stopping would have ended a run that was not stopped: (step of the end, step of the weights kept).

    A stopped run is the beginning of the long one, so the long one's validations tell.
    """
    settings, replayed = FineTuneSettings(monitor=monitor, patience=patience), History()
    for row in history.validations:
        replayed.validations.append(row)
        update_best(replayed, settings)
        if replayed.ended == "stopped early":
            break
    return replayed.validations[-1]["step"], replayed.best_step


def diagnose(run) -> str:
    """Say in one sentence how a `live.LiveTraining` run is doing, from its loss and its predictions."""
    loss = run.history.loss
    if run.state == "diverged":
        return run.message
    if len(loss) < 2 * WINDOW:
        return "Too early to say."
    smoothed = running_mean(loss)
    lowest = int(np.argmin(smoothed[WINDOW - 1 :])) + WINDOW - 1
    chance = math.log(run.model.config.num_labels)
    if smoothed[-1] > max(1.2 * smoothed[lowest], chance + 0.3):
        return f"The loss is at ≈ {smoothed[-1]:.1f}, and rising since step ≈ {lowest + 1}: the rate is too high."
    if smoothed[-1] > max(loss[0], chance) + 0.3:
        return f"The loss is at ≈ {smoothed[-1]:.1f}, above the ≈ {loss[0]:.1f} it began with: the rate is too high."
    last = run.history.validations[-1] if run.history.validations else {"commonest_share": 0}
    if last["commonest_share"] > 0.95:
        return f"It puts nearly every message into {last['commonest']!r}: stuck at one class."
    fall = smoothed[WINDOW - 1] - smoothed[-1]
    if abs(fall) < 0.1 and len(loss) >= 40:
        flat = f"Since step 10 the loss has moved by only ≈ {abs(fall):.2f}"
        return f"{flat}: the rate is too low, or so high that the network is stuck."
    if fall <= 0:
        return "The loss is not falling yet."
    end = f", and is no better yet than guessing (≈ {chance:.2f})." if smoothed[-1] > chance - 0.1 else "."
    return f"The loss has fallen by ≈ {fall:.2f} since step 10{end}"


def describe_run(run, hidden: bool = False) -> str:
    """The facts of the chart as one line of text; ≈ stands before what was measured on a trained network.

    `hidden` leaves out the learning rate and the diagnosis, for a learner who is to find them.
    """
    history = run.history
    if run.state == "failed":
        return f"The run failed. {run.message}"
    if not history.loss:
        return f"{run.state.capitalize()}: no step done yet."
    place = f", step {len(history.loss)} of" if run.is_going else f" after {len(history.loss)} of"
    spread = f", noise ≈ {noise(history.loss):.2f}" if len(history.loss) > WINDOW else ""
    parts = [
        f"{run.state.capitalize()}{place} {run.steps} steps",
        f"loss ≈ {history.loss[-1]:.2f} (mean of 10 steps: ≈ {running_mean(history.loss)[-1]:.2f}{spread})",
        f"learning rate {'hidden' if hidden else format(history.learning_rate[-1], '.2g')}",
    ]
    if history.validations:
        last, best = history.validations[-1], history.best or history.validations[0]
        name = "lowest validation loss" if run.settings.monitor == "validation_loss" else "best validation"
        there = f"≈ {best['macro_f1']:.2f} at the {name}, step ≈ {best['step']}"
        parts.append(f"validation macro-F1 ≈ {last['macro_f1']:.2f} ({there})")
    if run.is_going:
        parts.append(f"{run.speed:.1f} steps/s")
    last = "Too low, right or too high? Say it before you press Reveal." if hidden else diagnose(run)
    return "; ".join(parts) + ". " + last
