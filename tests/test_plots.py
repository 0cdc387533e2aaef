"""Figures: each is drawn from real values, and its printed summary says the same as the picture."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_utils import plots
from course_utils.diagnosis import running_mean
from course_utils.evaluation import Evaluation
from course_utils.history import History


@pytest.fixture
def history():
    rows = [
        {"epoch": e, "step": 4 * e, "train_loss": 1.0, "validation_loss": 2 - 0.1 * e, "accuracy": 0.5, "macro_f1": f}
        for e, f in ((1, 0.3), (2, 0.62), (3, 0.5))
    ]
    return History(loss=list(np.linspace(2, 1, 12)), learning_rate=[0.1] * 12, validations=rows, best_step=8)


@pytest.fixture
def run(history):
    return SimpleNamespace(history=history, steps=12, changes=[(5, 0.1)], name="run")


def texts(figure, axes=0):
    return [text.get_text() for text in figure.axes[axes].get_legend().get_texts()]


def data(line):
    return list(line.get_xdata()), list(line.get_ydata())


def test_history_shows_losses_and_validations_at_their_steps_and_the_best_of_them(history, capsys):
    left, right = plots.plot_history(history).axes
    assert left.lines[0].get_ydata().tolist() == history.loss
    assert left.lines[1].get_ydata().tolist() == running_mean(history.loss).tolist()
    assert data(left.lines[2]) == ([4, 8, 12], [1.9, 1.8, 1.7])
    assert data(right.lines[0]) == ([4, 8, 12], [0.3, 0.62, 0.5])
    assert right.lines[1].get_xdata()[0] == 8
    assert [(text.get_text(), text.get_ha()) for text in right.texts] == [(" best step: 8 ", "right")]
    assert "from ≈ 2.00 to ≈ 1.41; validation macro-F1 is best at ≈ 0.62." in capsys.readouterr().out


def test_the_best_step_is_named_on_the_side_where_there_is_room(history):
    history.best_step = 4  # of 12
    assert [text.get_ha() for text in plots.plot_history(history).axes[1].texts] == ["left"]


def test_history_without_a_validation_is_drawn_too(capsys):
    plots.plot_history(History(loss=[2.0, 1.0], learning_rate=[0.1, 0.1]))
    assert "from ≈ 2.00 to ≈ 1.50; there is no validation yet." in capsys.readouterr().out


def test_confusion_writes_every_count_and_names_the_commonest_mix_up(capsys):
    true, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 0, 1])
    figure = plots.plot_confusion(Evaluation(["cat", "dog"], true, predicted, np.eye(2)[predicted]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "1", "2", "1"]
    out = capsys.readouterr().out
    assert "≈ 2 of 5 on the diagonal; by counts, the commonest mix-up is 'dog' taken for 'cat'" in out


def test_a_matrix_without_mistakes_names_no_mix_up(capsys):
    true = np.array([0, 0, 1])
    plots.plot_confusion(Evaluation(["cat", "dog"], true, true, np.eye(2)[true]))
    assert "≈ 3 of 3 on the diagonal; none is mixed up." in capsys.readouterr().out


def test_comparison_draws_an_interval_for_each(capsys):
    figure = plots.plot_comparison({"a": (0.5, 0.4, 0.6), "b": (0.7, 0.65, 0.75)})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]
    assert data(figure.axes[0].lines[0]) == ([0.65, 0.75], [0, 0])
    assert "a ≈ 0.50 (≈ 0.40 to ≈ 0.60); b ≈ 0.70 (≈ 0.65 to ≈ 0.75)" in capsys.readouterr().out


def test_learning_rates_next_tokens_and_lengths_say_what_they_show(capsys):
    plots.plot_learning_rates({"linear": [0.0, 1.0, 0.5], "constant": [1.0, 1.0, 1.0]})
    assert "linear peaks at 1 at step 2, ends at 0.5" in capsys.readouterr().out
    bars = plots.plot_next_tokens([" the", " a"], [0.5, 0.2], "on").axes[0].containers[0]
    assert [bar.get_width() for bar in bars] == [0.2, 0.5]
    assert "the most probable next token is ' the'." in capsys.readouterr().out
    lengths = plots.plot_lengths({"all": [1, 2, 9]}, limit=12)
    assert "median length of all: 2 tokens." in capsys.readouterr().out
    assert [text.get_text() for text in lengths.axes[0].texts] == [" limit: 12,\n 0 longer"]


def test_a_schedule_is_named_where_it_is_farthest_from_the_others():
    ends = {"low": [0.1, 0.0, 0.1], "high": [0.2, 0.4, 0.2], "late": [0.1, 0.2, 0.9]}
    rates = {name: [0.1] * 7 + end for name, end in ends.items()}
    names = {text.get_text(): text for text in plots.plot_learning_rates(rates).axes[0].texts}
    assert {name: text.xy for name, text in names.items()} == {"low": (9, 0.0), "high": (9, 0.4), "late": (10, 0.9)}
    # The lowest stands below its line, and what ends at the right has its name on the left.
    assert {n: (t.get_va(), t.get_ha()) for n, t in names.items()} == {
        "low": ("top", "right"), "high": ("bottom", "left"), "late": ("bottom", "right"),
    }  # fmt: skip


def test_few_labels_stand_upright_and_many_slant():
    def slant(count):
        axes = plots.plot_label_shares({"all": pd.Series([f"label {i}" for i in range(count)])}).axes[0]
        return {text.get_rotation() for text in axes.get_xticklabels()}

    assert slant(5) == {0} and slant(6) == {30}


def test_decades_are_written_out(capsys):
    axes = plots.plot_losses({"burnt": [0.5, 200.0]}, classes=8, log=True).axes[0]
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    shown = [text.get_text() for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert shown == ["0.5", "1", "2", "5", "10", "20", "50", "100", "200"]


def test_label_shares_are_drawn_a_bar_for_each_label_and_group(capsys):
    shares = plots.plot_label_shares({"train": pd.Series(list("xxxy")), "test": pd.Series(list("xy"))})
    assert (
        "largest label is 'x', the smallest 'y'; no label's share differs by more than 25.0 percentage points"
        in capsys.readouterr().out
    )
    assert [[bar.get_height() for bar in bars] for bars in shares.axes[0].containers] == [[0.75, 0.25], [0.5, 0.5]]


NAMES = [f"series {i}" for i in range(12)]
MANY = {
    "rates": lambda names: plots.plot_learning_rates({name: [1.0, 0.5] for name in names}),
    "lengths": lambda names: plots.plot_lengths({name: [1, 2] for name in names}),
    "shares": lambda names: plots.plot_label_shares({name: pd.Series(["x", "y"]) for name in names}),
    "curves": lambda names: draw_curves(names),
}


def draw_curves(names):
    figure = Figure()
    plots.draw_label_curves(figure, {name: [(8, 0.3, 0.1), (16, 0.4, 0.1)] for name in names})
    return figure


@pytest.mark.parametrize("draw", MANY.values(), ids=MANY)
@pytest.mark.parametrize("count", [5, 12])
def test_every_series_is_drawn_and_named(draw, count):
    figure = draw(NAMES[:count])
    (axes,) = figure.axes
    named = texts(figure) if axes.get_legend() else [text.get_text() for text in axes.texts]
    assert named == NAMES[:count]
    assert len(axes.lines or axes.containers or axes.patches) == count


@pytest.mark.parametrize("draw", MANY.values(), ids=MANY)
def test_more_series_than_can_be_told_apart_are_refused(draw):
    with pytest.raises(ValueError, match="can tell 12 series apart, not 13: draw fewer at a time"):
        draw([*NAMES, "one more"])
    plt.close("all")


def test_series_can_be_told_apart_without_colour():
    assert len({style["marker"] for style in plots.LINES}) == len(plots.LINES) == 12
    for one, other in combinations(plots.LINES, 2):
        assert (one["color"], one["linestyle"]) != (other["color"], other["linestyle"])
    bars = plots.plot_label_shares({name: pd.Series(["x"]) for name in NAMES}).axes[0].containers
    assert len({group[0].get_hatch() for group in bars}) == 12


def test_a_dollar_sign_in_a_text_or_a_label_begins_no_formula():
    """Matplotlib fails to draw what it takes for a wrong formula."""
    odd = r"$\oops$ 5"  # an even number of dollars: with an odd one Matplotlib sees no formula
    frame = pd.Series([odd, "b"])
    figures = [
        plots.plot_next_tokens([odd, "b"], [0.5, 0.2], odd),
        plots.plot_label_shares({odd: frame, "test": frame}),
        plots.plot_confusion(Evaluation([odd, "b"], np.array([0, 1]), np.array([0, 0]), np.eye(2))),
        plots.plot_comparison({odd: (0.5, 0.4, 0.6)}),
        plots.plot_learning_rates({odd: [1.0, 0.5]}, title=odd),
        plots.plot_lengths({odd: [1, 2]}),
        draw_curves([odd]),
    ]
    for figure in figures:
        figure.draw_without_rendering()


def test_figures_are_closed_so_that_memory_does_not_grow(history):
    for _ in range(3):
        assert isinstance(plots.plot_history(history), Figure)
    assert plt.get_fignums() == []


def test_labels_are_counted_whole():
    figure = Figure()
    plots.draw_label_curves(figure, {"TF-IDF": [(8, 0.3, 0.1), (203.75, 0.7, 0.0)]}, [("TF-IDF", 8, 0.35)])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["8", "204"]
    assert data(figure.axes[0].lines[1]) == ([8], [0.35])


def test_a_run_is_drawn_over_its_steps_with_earlier_ones_and_changes_of_the_rate(run):
    figure = Figure()
    plots.draw_runs(figure, run, [run, run, run])
    loss, score, rate = figure.axes
    assert texts(figure) == ["run", "run", "run", "this run: run"]
    means, steps = loss.lines[0:8:2], loss.lines[1:8:2]  # every run has both, the current one too
    assert len({line.get_linestyle() for line in means}) == 4
    assert all(data(line)[1] == running_mean(run.history.loss).tolist() for line in means)
    assert all(data(line)[1] == run.history.loss for line in steps)
    assert [data(line) for line in score.lines[:4]] == [([4, 8, 12], [0.3, 0.62, 0.5])] * 4
    assert rate.lines[3].get_ydata().tolist() == [0.1] * 12
    assert [axes.lines[-1].get_xdata()[0] for axes in figure.axes] == [5, 5, 5]


def test_a_hidden_rate_is_not_drawn(run):
    figure = Figure()
    plots.draw_runs(figure, run, [run], hidden=[run])
    assert [len(axes.lines) for axes in figure.axes] == [5, 3, 1]  # only the dotted line of the change
    assert "hidden" in figure.axes[2].get_title() and figure.axes[2].texts[0].get_text() == "hidden"
    assert not len(figure.axes[2].get_yticks())
    plots.draw_runs(figure, run, [run])
    assert len(figure.axes[2].get_yticks()) and not figure.axes[2].texts


def test_a_hidden_rate_beside_a_known_one_leaves_the_axis_as_it_is(run):
    figure, known = Figure(), SimpleNamespace(**vars(run) | {"name": "known"})
    plots.draw_runs(figure, run, [known], hidden=[run])
    assert len(figure.axes[2].get_yticks()) and not figure.axes[2].texts
    assert figure.axes[2].lines[0].get_ydata().tolist() == [0.1] * 12


def test_the_last_marker_has_room_and_one_score_does_not_cover_another(run):
    figure = Figure()
    plots.draw_runs(figure, run, [run])
    earlier, current = figure.axes[1].lines[:2]
    assert figure.axes[1].get_xlim()[1] > 12
    assert current.get_fillstyle() == "none" and current.get_markersize() > earlier.get_markersize()


def test_a_rate_of_zero_has_no_place_on_a_log_axis(run):
    run.history.learning_rate[0] = 0.0
    figure = Figure()
    plots.draw_runs(figure, run)
    assert np.isnan(figure.axes[2].lines[0].get_ydata()[0])


def test_a_diverged_run_leaves_the_chart(run):
    run.history.loss[1] = 36.0
    figure = Figure()
    plots.draw_runs(figure, run)
    assert figure.axes[0].get_ylim() == (0, plots.LOSS_SHOWN)


def test_the_gap_is_shaded_between_both_losses_and_the_best_step_is_marked(run):
    figure = Figure()
    plots.draw_gap(figure, run, [run])
    loss, score = figure.axes
    both = [[1.9, 1.8, 1.7], [1.0, 1.0, 1.0]]  # validation and training, of the earlier run as well
    assert [data(line)[1] for line in loss.lines[:4]] == both * 2
    assert [line.get_marker() for line in loss.lines[:4]] == ["s", "None", "o", "None"]
    assert data(score.lines[1]) == ([4, 8, 12], [0.3, 0.62, 0.5])
    assert [axes.lines[-1].get_xdata()[0] for axes in figure.axes] == [8, 8]
    assert texts(figure) == ["run", "this run: run", "its gap", "best step"]
    plots.draw_gap(figure, run, [run], shaded=False)
    assert texts(figure) == ["run", "this run: run", "best step"] and not figure.axes[0].collections


@pytest.mark.parametrize("draw", [plots.draw_runs, plots.draw_gap])
def test_drawn_again_a_chart_keeps_its_axes_and_forgets_what_was_on_them(run, draw):
    figure = Figure()
    draw(figure, run, [run])
    axes, count = list(figure.axes), [len(axes.lines) for axes in figure.axes]
    draw(figure, run, [run])
    assert figure.axes == axes and [len(axes.lines) for axes in figure.axes] == count
    draw(figure, None)
    assert not any(axes.lines or axes.get_legend() for axes in figure.axes)


def test_a_range_test_is_drawn_with_its_marks():
    figure = Figure()
    rates, losses = np.geomspace(1e-6, 1, 30), np.linspace(2, 1, 30)
    plots.draw_range_test(figure, rates, losses, {"steepest descent": 1e-3, "gain lost": 0.5})
    names = ["mean of 10 steps", "at the start: 1.84", "steepest descent: 1.0e-03", "gain lost: 5.0e-01"]
    assert texts(figure) == names
    assert [line.get_xdata()[0] for line in figure.axes[0].lines[3:]] == [1e-3, 0.5]
    # The first mean of ten whole steps is that of the first ten, at the middle of their rates.
    mean = figure.axes[0].lines[1]
    assert len(mean.get_xdata()) == 21
    assert mean.get_ydata()[0] == pytest.approx(losses[:10].mean())
    assert mean.get_xdata()[0] == pytest.approx(np.exp(np.log(rates[:10]).mean()))


def test_a_range_test_is_cut_where_it_ends_and_shows_the_whole_dip():
    figure = Figure()
    losses = [2.0] * 20 + [0.5] * 10 + [40.0] * 5
    plots.draw_range_test(figure, np.geomspace(1e-6, 1, 35), losses, {})
    low, high = figure.axes[0].get_ylim()
    assert low < 0.5 and 1.5 * 2.0 < high < 4
