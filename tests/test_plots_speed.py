"""Figures on time say what was measured."""

import pytest

from course_utils import plots

MEANS = [
    {"means": "buckets", "ratio": 1.8, "used": True},
    {"means": "packing", "ratio": 0.6, "used": False},
    {"means": "$fused$", "ratio": 1.1, "used": True},
]
GROWTH = [
    {"rows": 1000, "tokens": 45_000, "seconds": 8.0, "peak_mib": 900},
    {"rows": 10_000, "tokens": 450_000, "seconds": 90.0, "peak_mib": 950},
]


def test_means_stand_in_the_order_of_what_they_bring(capsys):
    figure = plots.plot_means(MEANS)
    assert "Figure: buckets 1.80; $fused$ 1.10; packing 0.60." in capsys.readouterr().out
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["packing", r"\$fused\$", "buckets"]
    used, unused = axes.containers[0], axes.containers[1]
    assert {bar.get_x() for bar in [*used, *unused]} == {1}  # no difference
    places = {bar.get_y() + bar.get_height() / 2: bar.get_x() + bar.get_width() for bar in [*used, *unused]}
    assert places == pytest.approx({0.0: 0.6, 1.0: 1.1, 2.0: 1.8})
    assert {bar.get_hatch() for bar in used} != {bar.get_hatch() for bar in unused}  # told apart without colour
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["used in the course", "left out"]
    assert all(text.get_bbox_patch().get_facecolor() == (1, 1, 1, 1) for text in axes.texts)  # the line is behind them


def test_a_group_without_a_means_is_not_named():
    (axes,) = plots.plot_means([row for row in MEANS if row["used"]]).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["used in the course"]


def test_growth_is_drawn_beside_a_straight_line_through_its_beginning(capsys):
    figure = plots.plot_growth(GROWTH)
    assert "1,000 tickets: 8 s, 900 MiB; 10,000 tickets: 90 s, 950 MiB" in capsys.readouterr().out
    measured, straight = figure.axes[0].lines
    assert list(measured.get_ydata()) == [8.0, 90.0] and list(straight.get_ydata()) == [8.0, 80.0]
    assert list(figure.axes[1].lines[0].get_ydata()) == [900, 950] and figure.axes[1].get_ylim()[0] == 0
    figure.draw_without_rendering()
    numbers = [[text.get_text() for text in axes.get_xticklabels()] for axes in figure.axes]
    assert all({"100,000", "1,000,000"} <= set(shown) for shown in numbers)  # written out, not as powers of ten
