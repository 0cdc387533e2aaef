"""Figures of lesson 9: arrows stand where two curves have the same score, and the words say what is drawn."""

import math

import numpy as np
import pytest

from course_utils import plots
from course_utils.data import QUEUES
from course_utils.plots.style import LINES
from course_utils.plots.transfer import CHARTED, contestant_styles, first_reach
from course_utils.results import label_curves, read_results

FAST = [(10, 0.3, 0.02), (20, 0.5, 0.02)]
SLOW = [(10, 0.1, 0.03), (20, 0.4, 0.03)]


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_the_first_place_is_interpolated_on_the_axis_asked_for():
    assert first_reach([16, 64], [0.2, 0.4], 0.3) == pytest.approx(40)
    assert first_reach([16, 64], [0.2, 0.4], 0.3, log=True) == pytest.approx(32)
    assert first_reach([16, 64], [0.2, 0.4], 0.1, log=True) == pytest.approx(16)
    assert first_reach([16, 64], [0.2, 0.4], 0.5) == math.inf
    assert first_reach([8, 16, 32, 64], [0.2, 0.4, 0.3, 0.6], 0.4) == pytest.approx(16)  # not where it comes back
    # Where the drawn line crosses the goal, also after a dip or a flat piece.
    assert first_reach([8, 16, 32, 64], [0.2, 0.4, 0.3, 0.6], 0.5) == pytest.approx(32 + 32 * 2 / 3)
    assert first_reach([0, 10, 20, 30], [0.5, 0.5, 0.5, 0.6], 0.55) == pytest.approx(25)


def test_steps_are_saved_between_equal_scores(capsys):
    figure = plots.plot_steps_saved({"few": {"fast": FAST, "slow": SLOW}})
    out = capsys.readouterr().out
    assert "few: fast is after 15 steps where slow is after 20, at 0.40" in out
    few = figure.axes[0]
    assert [line.get_ydata().tolist() for line in few.lines] == [[0.3, 0.5], [0.1, 0.4]]
    assert {"fast", "slow", "15 steps instead of 20"} <= set(texts(few))
    marks = [segment for collection in few.collections[2:] for segment in collection.get_segments()]
    assert [np.round(mark, 6).tolist() for mark in marks] == [[[15, 0], [15, 0.4]], [[20, 0], [20, 0.4]]]


def test_a_first_score_that_is_enough_is_no_more_than_a_bound(capsys):
    high = [(10, 0.45, 0), (20, 0.5, 0)]
    figure = plots.plot_steps_saved({"few": {"fast": high, "slow": SLOW}})
    assert "fast is after at most 10 steps where slow is after 20" in capsys.readouterr().out
    assert "at most 10 steps instead of 20" in texts(figure.axes[0])


def test_nothing_is_claimed_where_nothing_is_saved(capsys):
    figure = plots.plot_steps_saved({"few": {"fast": SLOW, "slow": FAST}})
    assert "few: fast does not get to the 0.50 of slow any sooner" in capsys.readouterr().out
    assert sorted(texts(figure.axes[0])) == ["fast", "slow"]


def test_a_rival_that_is_above_the_goal_at_once_takes_at_most_its_first_labels(capsys):
    figure = plots.plot_labels_saved({"read": [(8, 0.1, 0), (32, 0.3, 0)], "other": [(8, 0.4, 0), (32, 0.5, 0)]}, 32)
    assert "takes other at most 8" in capsys.readouterr().out
    assert "32 labels instead of at most 8" in texts(figure.axes[0])


def test_labels_are_saved_between_equal_scores(capsys):
    curves = {"read": [(8, 0.3, 0), (32, 0.5, 0)], "random": [(8, 0.1, 0), (32, 0.2, 0), (128, 0.4, 0)]}
    figure = plots.plot_labels_saved(curves, 8)
    said = "the macro-F1 of 0.30 that read has with 8 labels a queue takes random 64"
    assert said in capsys.readouterr().out
    assert "8 labels instead of 64" in texts(figure.axes[0])
    (axes,) = plots.plot_labels_saved(curves, 32).axes
    assert "with 32 labels a queue was not reached by the mean of random" in capsys.readouterr().out
    assert "0.50: not reached by the mean of random" in texts(axes)
    down, along = (collection.get_segments()[0].tolist() for collection in axes.collections[2:])
    assert down == [[32, 0], [32, 0.5]] and along == [[32, 0.5], [axes.get_xlim()[1], 0.5]]
    with pytest.raises(ValueError, match=r"measured with 16 labels; choose one of \[8\.0, 32\.0\]"):
        plots.plot_labels_saved(curves, 16)


def test_each_of_several_rivals_has_its_number_of_labels(capsys):
    curves = {"read": [(8, 0.3, 0), (32, 0.5, 0)], "words": [(8, 0.1, 0), (32, 0.5, 0)], "random": SLOW}
    (axes,) = plots.plot_labels_saved(curves, 32).axes
    said = "that read has with 32 labels a queue takes words 32; was not reached by the mean of random"
    assert said in capsys.readouterr().out
    assert {"words: 32", "read: 32", "0.50: not reached by the mean of random"} <= set(texts(axes))
    (axes,) = plots.plot_labels_saved(curves, 8).axes
    assert "with 8 labels a queue takes words 16, random 16" in capsys.readouterr().out
    assert {"words: 16", "random: 16", "read: 8", "0.30"} <= set(texts(axes))


def test_layers_are_drawn_from_below(capsys):
    runs = {"one rate": {"low": 0.1, "high": 0.1}, "by layer": {"low": 0.05, "high": 0.1}}
    first, later = plots.plot_layer_moves({"one step": runs, "many": {"one rate": {"low": 1.0, "high": 2.0}}}).axes
    assert [list(line.get_ydata()) for line in first.lines] == [[0.1, 0.1], [0.05, 0.1]]
    assert [list(line.get_ydata()) for line in later.lines] == [[1.0, 2.0]]
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["low", "high"]
    said = capsys.readouterr().out
    assert "one step, by layer: ≈ 5.0e-02 at the bottom, ≈ 1.0e-01 at the top" in said
    assert "many, one rate: ≈ 1.0e+00 at the bottom, ≈ 2.0e+00 at the top" in said


def test_a_contestant_looks_the_same_in_every_figure_of_the_lesson():
    charted = list(label_curves(read_results("transfer"), len(QUEUES)))
    assert charted[: len(CHARTED)] == CHARTED
    for place in ("pre-trained", "random weights"):
        assert contestant_styles(["somebody", place])[1] == LINES[charted.index(place)]
    looks = contestant_styles([*CHARTED, "somebody", "somebody else"])
    assert len({(look["color"], look["marker"]) for look in looks}) == len(looks)
    figure = plots.plot_labels_saved({"pre-trained": FAST, "random weights": SLOW}, 10)
    assert [line.get_marker() for line in figure.axes[0].lines] == [look["marker"] for look in (looks[2], looks[4])]


def test_every_figure_is_sharp_opaque_and_closed():
    from matplotlib import pyplot as plt

    for figure in (
        plots.plot_steps_saved({"few": {"fast": FAST, "slow": SLOW}}),
        plots.plot_labels_saved({"a": FAST, "b": SLOW}, 10),
        plots.plot_layer_moves({"all": {"a": {"low": 1.0, "high": 2.0}}}),
    ):
        assert figure.get_dpi() == 150 and np.allclose(figure.get_facecolor(), 1)
        assert not plt.fignum_exists(figure.number)
