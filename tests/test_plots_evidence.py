"""Figures of lessons 7 and 8 that read whole runs and several seeds, and sentences that rest on measured ones."""

import numpy as np
import pandas as pd
import pytest

from course_utils import plots
from course_utils.history import History
from course_utils.results import differences, read_results


def test_courses_show_each_run_to_its_end_with_its_mean(capsys):
    falling, flat = np.linspace(2, 1, 40), np.full(30, 2.1)
    figure = plots.plot_courses({"falling": falling, "flat": flat}, 8, (11, 15, "rate 0.1"))
    (axes,) = figure.axes
    assert axes.lines[0].get_ydata().tolist() == falling.tolist()
    assert axes.lines[3].get_ydata() == pytest.approx(flat)
    assert [text.get_text().strip() for text in axes.texts] == ["falling", "flat", "guessing: 2.08", "rate 0.1"]
    said = capsys.readouterr().out
    assert "falling: ≈ 1.88 after 10 steps, ≈ 1.12 after 40; flat: ≈ 2.10 after 10 steps, ≈ 2.10 after 30" in said


def test_a_run_that_leaves_the_figure_is_named_inside_it():
    figure = plots.plot_courses({"lost": [9.0] * 12, "kept": [1.0] * 12}, 8)
    assert figure.axes[0].get_ylim() == (0, 4)
    assert figure.axes[0].texts[0].xy[1] == 4


def test_the_hill_has_a_dot_for_each_seed_a_mean_with_its_interval_and_the_marks(capsys):
    runs = pd.DataFrame({"rate": [1e-4, 1e-4, 1e-3, 1e-3], "macro_f1": [0.1, 0.3, 0.5, 0.5]})
    summary = pd.DataFrame({"mean": [0.5, 0.2], "half": [0.0, 0.1]}, index=[1e-3, 1e-4])
    (axes,) = plots.plot_hill(runs, summary, {"steepest descent": 2e-3}).axes
    assert axes.lines[0].get_ydata().tolist() == [0.1, 0.3, 0.5, 0.5]
    assert axes.lines[1].get_ydata().tolist() == [0.2, 0.5]
    assert list(axes.lines[-1].get_xdata()) == [2e-3, 2e-3]
    assert "highest, 0.50, at 0.001; steepest descent: ≈ 2.0e-03." in capsys.readouterr().out


def test_a_forest_tells_intervals_without_zero_from_the_others(capsys):
    table = pd.DataFrame({"mean": [-0.3, 0.1], "low": [-0.5, -0.1], "high": [-0.1, 0.3]}, index=["dropout", "decay"])
    first, second = plots.plot_forest({"loss": table, "score": table.iloc[1:]}, ["lower", "higher"]).axes
    assert [list(line.get_xdata()) for line in first.lines[:4:2]] == [[-0.5, -0.1], [-0.1, 0.3]]
    assert [line.get_fillstyle() for line in first.lines[1:4:2]] == ["full", "none"]
    assert "← better" in first.get_xlabel() and "better →" in second.get_xlabel()
    assert "loss: dropout -0.30; score: none." in capsys.readouterr().out


def test_stops_show_the_end_and_what_is_kept(capsys):
    rows = [{"step": 10 * i, "validation_loss": 3.0 - i, "macro_f1": i / 10} for i in range(1, 4)]
    figure = plots.plot_stops(History(validations=rows), {"macro_f1": {1: (20, 10), 2: (30, 30)}})
    (axes,) = figure.axes
    assert axes.lines[0].get_ydata().tolist() == [0.1, 0.2, 0.3]
    assert list(axes.lines[1].get_xdata()) == [0, 20] and list(axes.lines[3].get_xdata()) == [10]
    assert list(axes.lines[4].get_ydata()) == [0.1]
    said = "macro-F1, patience 1: ends at step ≈ 20, keeps ≈ 0.10 of step ≈ 10; macro-F1, patience 2: ends at step ≈ 30"
    assert said in capsys.readouterr().out


# --- what lesson 8 says of its five seeds -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    results = read_results("regularization")
    for run in results["runs"]:
        losses = [row["validation_loss"] for row in run["curve"]]
        run |= {"last": losses[-1], "lowest": min(losses)}
    return results


KNOBS = ("dropout 0.1", "dropout 0.3", "weight decay 0.1", "weight decay 1", "label smoothing 0.1")


@pytest.mark.parametrize("knob", KNOBS)
def test_the_last_validation_loss_falls_with_dropout_and_smoothing_the_lowest_with_none(measured, knob):
    last, lowest = (differences(measured, knob, "plain", metric).loc["16"] for metric in ("last", "lowest"))
    assert last["shown"] == ("no difference shown" if "decay" in knob else "behind")
    assert lowest["shown"] == "no difference shown"
    if "decay" not in knob:
        assert abs(lowest["mean"]) < abs(last["mean"]) / 3
