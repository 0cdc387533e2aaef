"""Figures of lesson 10: every line has its name, and the summary says what the lines say."""

import pytest

from course_utils import plots
from course_utils.plots.style import spread
from course_utils.results import label_curves


def test_depths_are_drawn_and_named(capsys):
    (axes,) = plots.plot_depths({"mean": {0: 0.2, 3: 0.6}, "last": {0: 0.1, 3: 0.59}}).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.2, 0.6], [0.1, 0.59]]
    named = {text.get_text(): (text.xy[1], text.get_color()) for text in axes.texts}
    assert list(named) == ["mean", "last"] and named["mean"][0] - named["last"][0] == pytest.approx(0.04)
    assert [color for _, color in named.values()] == [line.get_color() for line in axes.lines]
    assert "mean: best ≈ 0.60, last ≈ 0.60; last: best ≈ 0.59" in capsys.readouterr().out


def test_draws_of_labels_become_a_mean_in_a_band(capsys):
    (axes,) = plots.plot_depths({"mean": {0: [0.1, 0.3], 3: [0.5, 0.6]}}).axes
    assert axes.lines[0].get_ydata() == pytest.approx([0.2, 0.55])
    (band,) = axes.collections
    corners = {(x, round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert {(0, 0.1), (0, 0.3), (3, 0.5), (3, 0.6)} <= corners
    assert axes.get_ylim() == (0, pytest.approx(0.65)) and "from the lowest to the highest draw" in axes.get_xlabel()
    assert "mean: best ≈ 0.55, last ≈ 0.55" in capsys.readouterr().out


def test_more_lines_than_can_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="apart"):
        plots.plot_depths({str(i): {0: 0.1} for i in range(len(plots.LINES) + 1)})


def test_label_curves_come_from_results_in_order_of_labels(capsys):
    runs = [
        {"contestant": name, "labels": size, "seed": seed, "macro_f1": score + 0.02 * seed}
        for name, size, score in (("b", None, 0.8), ("b", 8, 0.4), ("a", 8, 0.3))
        for seed in (0, 1)
    ]
    curves = label_curves({"settings": {"rows": {"train": 100}}, "runs": runs}, 4, ["a", "b"])
    assert list(curves) == ["a", "b"]
    assert [row[:2] for row in curves["b"]] == [(8, pytest.approx(0.41)), (25.0, pytest.approx(0.81))]
    assert set(label_curves({"settings": {"rows": {"train": 100}}, "runs": runs}, 4)) == {"a", "b"}
    figure = plots.plot_label_curves(curves)
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b"]
    assert "a 0.31 to 0.31; b 0.41 to 0.81" in capsys.readouterr().out


def test_only_names_at_the_same_place_are_moved_apart():
    """A line that ends early must not push the names at the far end away from their lines."""
    figure = plots.plot_label_curves(
        {"long": [(8, 0.3, 0.0), (64, 0.6, 0.0)], "short": [(8, 0.4, 0.0), (16, 0.59, 0.0)]}
    )
    assert {text.get_text(): text.xy for text in figure.axes[0].texts} == {"long": (64, 0.6), "short": (16, 0.59)}


def test_names_that_stand_close_are_moved_as_little_as_possible():
    assert spread([0.2, 0.5, 0.9], 0.1) == pytest.approx([0.2, 0.5, 0.9])  # far apart: they stay
    assert spread([0.80, 0.79, 0.10], 0.05) == pytest.approx([0.82, 0.77, 0.10])  # up and down by the same
    placed = spread([0.80, 0.79, 0.753], 0.045)
    assert placed == pytest.approx([0.826, 0.781, 0.736])
