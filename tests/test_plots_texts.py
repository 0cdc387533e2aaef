"""Figures of texts, tokens and batches: drawn from real values, and their words say the same."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from course_utils import plots


def written(figure, axes=0):
    return [text.get_text() for text in figure.axes[axes].texts]


def test_the_journey_shows_all_steps_and_where_one_is(capsys):
    whole, small = plots.plot_journey(), plots.plot_journey(2)
    out = capsys.readouterr().out.splitlines()
    assert "you are here" not in out[0] and out[1].endswith("you are here: step 2, modify.")
    assert not any("you are here" in text for text in written(whole))
    assert sum("you are here" in text for text in written(small)) == 1
    for figure in (whole, small):
        assert {f"{n}\n{name}" for n, name in enumerate(("load", "modify", "prepare"), 1)} <= set(written(figure))


@pytest.mark.parametrize("step", [0, 7, "two", 1.5])
def test_a_step_that_is_none_is_refused(step):
    with pytest.raises(ValueError, match=r"There is no step .*: give a number from 1 to 6"):
        plots.plot_journey(step)


def test_tokens_are_chips_with_their_ids_in_lines_that_fit(capsys):
    names = [f"Ġword{i}" for i in range(40)]
    figure = plots.plot_tokens(names, range(100, 140))
    assert "Figure: 40 tokens" in capsys.readouterr().out
    assert written(figure)[::2] == names and written(figure)[1::2] == [str(i) for i in range(100, 140)]
    chips = figure.axes[0].patches
    assert len({chip.get_y() for chip in chips}) > 1
    assert max(chip.get_x() + chip.get_width() for chip in chips) <= figure.axes[0].get_xlim()[1]
    for left, right in pairwise(chips):
        assert left.get_y() != right.get_y() or left.get_x() + left.get_width() <= right.get_x()


def test_dollars_and_line_breaks_in_tokens_are_shown_as_they_are():
    assert written(plots.plot_tokens(["$5$", "\n"], [1, 2]))[::2] == [r"\$5\$", r"\n"]


def test_surprise_shades_darker_what_was_less_expected(capsys):
    figure = plots.plot_surprise(["a", " rare", " c"], [0.5, 9.25, 2.0])
    shades = [sum(to_rgb(chip.get_facecolor())) for chip in figure.axes[0].patches]
    assert shades[1] < shades[2] < shades[0]
    assert written(figure)[1::2] == ["0.5", "9.2", "2.0"]
    assert "most surprising of 3 tokens is 'rare', with a loss of ≈ 9.2 nats" in capsys.readouterr().out


def test_each_temperature_has_a_panel_with_the_same_tokens_on_one_scale(capsys):
    figure = plots.plot_temperatures([" a", " b"], {0.5: [0.9, 0.1], 2.0: [0.6, 0.4]})
    assert [axes.get_title() for axes in figure.axes] == ["temperature 0.5", "temperature 2"]
    assert [[bar.get_width() for bar in axes.patches] for axes in figure.axes] == [[0.1, 0.9], [0.4, 0.6]]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert "the probability of ' a' by temperature: ≈ 0.90 at 0.5, ≈ 0.60 at 2." in capsys.readouterr().out


def test_similarities_are_counted_on_both_sides_of_the_threshold(capsys):
    figure = plots.plot_similarities([0.25, 0.3, 0.7, 0.9, 0.95], threshold=0.7, lowest=0.2)
    out = capsys.readouterr().out
    assert "3 pairs reach the threshold of 0.7, 2 do not; none lies between 0.30 and 0.70" in out
    assert figure.axes[0].lines[0].get_xdata()[0] == 0.7
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(heights) == 5
    plots.plot_similarities([0.9], threshold=0.7)
    assert "1 pairs reach the threshold of 0.7, 0 do not; none lies between 0.00 and 0.90" in capsys.readouterr().out


def test_a_batch_is_an_image_of_text_and_padding(capsys):
    ways = {"random": [[2, 8], [4, 4]], "buckets": [[2, 4], [4, 8]]}
    figure = plots.plot_batches(ways)
    assert "share of padding in 2 batches: random 25%, buckets 25%." in capsys.readouterr().out
    assert [axes.get_title() for axes in figure.axes] == ["38% padding", "0% padding", "25% padding", "25% padding"]
    text, padding = figure.axes[0].containers
    assert [bar.get_width() for bar in text] == [2, 8]
    assert [(bar.get_x(), bar.get_width()) for bar in padding] == [(2, 6), (8, 0)]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


def test_padding_is_drawn_against_the_batch_size(capsys):
    figure = plots.plot_padding({"random": {1: 0.0, 4: 0.5}, "buckets": {1: 0.0, 4: 0.1}})
    random, buckets = figure.axes[0].lines
    assert (list(random.get_xdata()), list(random.get_ydata())) == ([1, 4], [0.0, 0.5])
    assert list(buckets.get_ydata()) == [0.0, 0.1] and buckets.get_marker() != random.get_marker()
    assert [text.get_text() for text in figure.axes[0].texts] == ["random", "buckets"]
    said = capsys.readouterr().out
    assert "random from 0% in batches of 1 to 50% in batches of 4; buckets from 0% in batches of 1 to 10%" in said


def test_figures_are_sharp_enough_to_print():
    assert plots.plot_batches({"one": [[1, 2]]}).get_dpi() == 150
    assert np.allclose(plots.plot_journey().get_facecolor(), 1)  # opaque white: right in a dark theme, too
