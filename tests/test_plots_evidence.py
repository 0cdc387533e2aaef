"""Figures of lessons 7 and 8 that read whole runs and several seeds, and sentences that rest on measured ones."""

import numpy as np
import pandas as pd
import pytest

from course_utils import plots
from course_utils.contestants import NETWORKS
from course_utils.history import History
from course_utils.results import differences, read_results


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_courses_show_each_run_to_its_end_with_its_mean(capsys):
    falling, flat = np.linspace(2, 1, 40), np.full(30, 2.1)
    figure = plots.plot_courses({"falling": falling, "flat": flat}, 8, (11, 15, "rate 0.1"))
    (axes,) = figure.axes
    assert axes.lines[0].get_ydata().tolist() == falling.tolist()
    assert axes.lines[3].get_ydata() == pytest.approx(flat)
    assert legend(axes) == ["falling", "flat", "guessing among 8: 2.08", "rate 0.1"]
    said = capsys.readouterr().out
    assert "falling: ≈ 1.88 after 10 steps, ≈ 2.00 at its highest, ≈ 1.12 after 40; flat: ≈ 2.10 after 10" in said


def test_a_run_that_explodes_stays_in_the_figure_and_presses_no_other_flat():
    (axes,) = plots.plot_courses({"lost": [90.0] * 12, "kept": [1.0, 2.0] * 6}, 8).axes
    assert axes.get_yscale() == "log" and axes.get_ylim()[0] < 1 and axes.get_ylim()[1] > 90
    assert 12 < axes.get_xlim()[1] < 14
    low, high, top = axes.transAxes.inverted().transform(axes.transData.transform([(1, 1), (1, 2), (1, 90)]))[:, 1]
    assert high - low > (top - low) / 10  # on a linear axis a ninetieth


def test_presets_have_a_panel_each_and_one_scale(capsys):
    calm, wild = np.linspace(2.0, 1.5, 30), np.linspace(2.0, 40.0, 30)
    panels = plots.plot_presets({"A": calm, "B": wild}, 8).axes
    assert [axes.get_title() for axes in panels] == ["preset A", "preset B"]
    assert {axes.get_ylim() for axes in panels} == {(1.0, 4.0)}
    for axes, losses in zip(panels, (calm, wild), strict=True):
        each, mean, guess = (line.get_ydata() for line in axes.lines)
        assert np.array_equal(each, losses) and mean[-1] == pytest.approx(np.mean(losses[-10:]))
        assert set(guess) == {np.log(8)}
    assert "A ≈ 1.58; B ≈ 34.10; dotted: guessing, 2.08" in capsys.readouterr().out


def test_the_hill_has_a_dot_for_each_seed_a_mean_with_its_interval_and_the_marks(capsys):
    runs = pd.DataFrame({"rate": [1e-4, 1e-4, 1e-3, 1e-3], "validation": [0.1, 0.3, 0.5, 0.5]})
    summary = pd.DataFrame({"mean": [0.5, 0.2], "half": [0.0, 0.1]}, index=[1e-3, 1e-4])
    (axes,) = plots.plot_hill(runs, summary, {"steepest descent": 2e-3}).axes
    assert axes.lines[0].get_ydata().tolist() == [0.1, 0.3, 0.5, 0.5]
    assert axes.lines[1].get_ydata().tolist() == [0.2, 0.5]
    assert list(axes.lines[-1].get_xdata()) == [2e-3, 2e-3]
    assert axes.lines[0].get_xdata().tolist() == runs["rate"].tolist()
    assert axes.lines[0].get_zorder() > axes.lines[1].get_zorder()  # or the mean would cover them
    assert axes.get_ylabel() == "validation macro-F1" and "steepest descent: 2.0e-03" in legend(axes)
    assert "highest, 0.50, at 0.001; steepest descent: ≈ 2.0e-03." in capsys.readouterr().out


def test_a_forest_tells_intervals_without_zero_from_the_others(capsys):
    table = pd.DataFrame({"mean": [-0.3, 0.1], "low": [-0.5, -0.1], "high": [-0.1, 0.3]}, index=["dropout", "decay"])
    figure = plots.plot_forest({"loss": table, "score": table.iloc[1:]}, ["lower", "higher"])
    first, second = figure.axes
    assert [list(line.get_xdata()) for line in first.lines[:4:2]] == [[-0.5, -0.1], [-0.1, 0.3]]
    assert [line.get_fillstyle() for line in first.lines[1:4:2]] == ["full", "none"]
    assert {line.get_solid_capstyle() for line in first.lines[:4:2]} == {"butt"}  # a round end would touch zero
    assert first.get_xlabel() == "difference to plain\n(← better)" and "better →" in second.get_xlabel()
    assert [text.get_text().split()[3] for text in figure.legends[0].get_texts()] == ["leaves", "holds"]
    assert "loss: dropout -0.300 (-0.500 to -0.100); score: none." in capsys.readouterr().out


def test_a_name_has_the_same_row_in_every_panel_of_a_forest():
    table = pd.DataFrame({"mean": [0.1, -0.1], "low": [0.0, -0.2], "high": [0.2, 0.0]}, index=["dropout", "decay"])
    for panels in ({"one": table, "two": table[::-1]}, {"one": table, "two": table.iloc[1:]}):
        figure = plots.plot_forest(panels, ["higher"] * 2)
        names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        assert names == ["dropout", "decay"]
        for axes, own in zip(figure.axes, panels.values(), strict=True):
            marks = {line.get_xdata()[0]: line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"}
            assert marks == {own.loc[name, "mean"]: names.index(name) for name in own.index}
            low, high = sorted(axes.get_ylim())
            assert all(low < y < high for y in marks.values())


def test_a_corrected_interval_is_drawn_thin_and_fills_the_marks(capsys):
    table = pd.DataFrame({"mean": [-0.3, -0.4], "low": [-0.5, -0.5], "high": [-0.1, -0.3]}, index=["smoothing", "rate"])
    table = table.assign(**{"wide low": [-0.7, -0.6], "wide high": [0.1, -0.2]})
    figure = plots.plot_forest({"loss": table}, ["lower"])
    (axes,) = figure.axes
    thin, thick = axes.lines[:2]
    assert [list(line.get_xdata()) for line in (thin, thick)] == [[-0.7, 0.1], [-0.5, -0.1]]
    assert thin.get_linewidth() < thick.get_linewidth()
    assert [line.get_fillstyle() for line in axes.lines[2:6:3]] == ["none", "full"]
    assert figure.legends[0].get_texts()[0].get_text() == "corrected interval (thin) leaves out zero"
    said = "where the corrected interval leaves out zero. loss: rate -0.400 (-0.600 to -0.200)."
    assert said in capsys.readouterr().out


def test_panels_of_a_forest_with_the_same_unit_have_the_same_axis():
    table = pd.DataFrame({"mean": [0.0], "low": [-1.0], "high": [1.0]}, index=["dropout"])
    panels = {"last": table, "lowest": table / 10, "score": table / 10}
    last, lowest, score = plots.plot_forest(panels, ["lower", "lower", "higher"], units=["nats", "nats", ""]).axes
    assert last.get_xlim() == lowest.get_xlim() and last.get_xlim()[1] > 1 > score.get_xlim()[1]
    assert lowest.get_xlabel() == "difference to plain, nats\n(← better)"
    assert score.get_xlabel() == "difference to plain\n(better →)"


def test_stops_show_the_end_and_what_is_kept(capsys):
    rows = [{"step": 10 * i, "validation_loss": 3.0 - i, "macro_f1": i / 10} for i in range(1, 4)]
    stops = {"macro_f1": {1: (20, 10), 2: (30, 30)}, "validation_loss": {1: (30, 30)}}
    axes, loss = plots.plot_stops(History(validations=rows), stops, guessing=2.08).axes
    assert axes.lines[0].get_ydata().tolist() == [0.1, 0.2, 0.3]
    assert list(axes.lines[1].get_xdata()) == [0, 20]
    assert list(axes.lines[3].get_xdata()) == [10, 10] and axes.lines[3].get_ydata()[1] == 0.1
    assert [label.get_text() for label in axes.get_yticklabels()][-2:] == ["patience 1", "patience 2"]
    assert [text.get_text() for text in loss.texts] == ["guessing: 2.08"] and not axes.texts
    assert 30 < axes.get_xlim()[1] < 33
    said = "macro-F1, patience 1: ends at step ≈ 20, keeps ≈ 0.10 of step ≈ 10; macro-F1, patience 2: ends at step ≈ 30"
    assert said in capsys.readouterr().out


# --- what lesson 8 says of its ten seeds --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    results = read_results("regularization")
    for run in results["runs"]:
        losses = [row["validation_loss"] for row in run["curve"]]
        run |= {"last": losses[-1], "lowest": min(losses)}
    return results


KNOBS = ("dropout 0.1", "dropout 0.3", "weight decay 0.1", "weight decay 1", "label smoothing 0.1")
# What leaves out zero with intervals that are wide enough for all fifteen comparisons.
SHOWN = {
    "last": {
        "dropout 0.1": "behind",
        "dropout 0.3": "behind",
        "weight decay 0.1": "ahead",
        "weight decay 1": "ahead",
        "label smoothing 0.1": "behind",
    },
    "lowest": {"label smoothing 0.1": "behind"},
    "macro_f1": {"dropout 0.3": "behind"},
}


@pytest.mark.parametrize("metric", SHOWN)
def test_what_lesson_8_calls_shown_remains_when_corrected(measured, metric):
    rows = {name: differences(measured, name, "plain", metric, level=1 - 0.05 / 15).loc["16"] for name in KNOBS}
    assert {name: row["shown"] for name, row in rows.items() if "difference" not in row["shown"]} == SHOWN[metric]
    assert {row["seeds"] for row in rows.values()} == {10}


@pytest.mark.parametrize("knob", KNOBS)
def test_what_dropout_and_smoothing_gain_at_the_end_they_do_not_gain_at_the_best_moment(measured, knob):
    last, lowest = (differences(measured, knob, "plain", metric).loc["16"] for metric in ("last", "lowest"))
    if "decay" in knob:
        assert abs(last["mean"]) < 0.02
    else:
        assert last["mean"] < min(-0.15, 2 * lowest["mean"])


def test_one_setting_betters_the_last_loss_and_spoils_the_score_in_all_ten_seeds(measured):
    """The question that lesson 8 opens with, and what it says of the answer."""
    runs = {(run["contestant"], run["seed"]): run for run in measured["runs"]}

    def gaps(knob, metric):
        return [runs[knob, seed][metric] - runs["plain", seed][metric] for seed in range(10)]

    both = [k for k in KNOBS if max(gaps(k, "last")) < 0 and max(gaps(k, "macro_f1")) < 0]
    assert both == ["dropout 0.3"]
    means = {knob: round(np.mean(gaps(knob, "last")), 2) for knob in KNOBS if "decay" not in knob}
    assert means == {"dropout 0.1": -0.20, "dropout 0.3": -0.36, "label smoothing 0.1": -0.39}
    assert round(np.mean(gaps("dropout 0.3", "macro_f1")), 2) == -0.05
    training = {k: np.mean([runs[k, seed]["curve"][-1]["train_loss"] for seed in range(10)]) for k in ("plain", *KNOBS)}
    assert (round(training["dropout 0.3"], 2), round(training["plain"], 2)) == (0.99, 0.01)
    assert {np.diff([row["step"] for row in run["curve"]])[-1] for run in runs.values()} == {15}
    fallen = np.mean([runs["plain", seed]["last"] - runs["plain", seed]["lowest"] for seed in range(10)])
    assert round(fallen, 2) == 0.35
    scores = {k: round(np.mean([runs[k, seed]["macro_f1"] for seed in range(10)]), 2) for k in ("plain", *KNOBS)}
    assert [scores[k] - scores["plain"] for k in KNOBS if scores[k] != scores["plain"]] == [pytest.approx(-0.05)]


def test_more_labels_help_more_than_any_knob():
    score = {
        (r["labels"], r["seed"]): r["macro_f1"]
        for r in read_results("transfer")["runs"]
        if r["contestant"] == "pre-trained"
    }
    gains = [score[32, seed] - score[16, seed] for seed in range(5)]
    assert round(np.mean(gains), 2) == 0.10 and (round(min(gains), 2), round(max(gains), 2)) == (0.08, 0.13)
    assert NETWORKS["pre-trained"] == NETWORKS["plain"]
