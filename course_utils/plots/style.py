"""The one style of all figures: colours, dashes and markers that differ without colour, and the line of text."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import LogLocator, StrMethodFormatter
from scipy.optimize import isotonic_regression

from course_utils import JOINERS

COLORS = ["#1b6ca8", "#c2571a", "#3b7d3a", "#6a4c93", "#555555", "#a61c5d"]
DASHES = ["-", "--", "-.", ":"]
# Twelve styles: each has a marker of its own, and no two the same colour and dash.
LINES = [dict(color=COLORS[i % 6], linestyle=DASHES[i % 4], marker=marker) for i, marker in enumerate("os^DvPX*<>ph")]
FILLS = ["#9fc5e0", "#f2b78b", "#b5d6a7", "#cdbfe0", "#c9c9c9", "#e6a9c4"]
HATCHES = ["", "//", "..", "xx", "\\\\", "--", "||", "oo", "++", "OO", "**", "//.."]
LONGEST = 24  # letters of a label in a figure; the tables beside it have all of them
WRITTEN = 20  # labels up to which a confusion matrix has a number in each cell

BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.6, "pad": 1}  # under a text that a curve runs through


def styles(count: int, skip: int = 0) -> list[dict]:
    """Styles for `count` lines, the first `skip` left out. Raises ValueError for more than can be told apart."""
    if skip + count > len(LINES):
        raise ValueError(f"A figure can tell {len(LINES) - skip} series apart, not {count}: draw fewer at a time.")
    return LINES[skip : skip + count]


def plain(text: str) -> str:
    """The text as it is, for a title or a legend: Matplotlib would read what stands between two $ as a formula."""
    text = str(text).replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text  # a legend leaves out names that begin with _


def short(label: str) -> str:
    """A label that fits beside an axis, on one line."""
    line = "".join(c if c.isprintable() or c in JOINERS else " " for c in label)
    return plain(line if len(line) <= LONGEST else line[: LONGEST - 1] + "…")


def short_names(labels: Sequence[str]) -> list[str]:
    """Labels that fit beside an axis; where two would look alike there, each begins with its number."""
    names = [short(drawable(label)) for label in labels]
    if len(set(names)) == len(names):
        return names
    return [short(f"{i}. {drawable(label)}") for i, label in enumerate(labels, start=1)]


def drawable(label: str) -> str:
    """A label in which letters that Matplotlib's own font lacks, such as Chinese ones, are a visible sign."""
    font = get_font(findfont("DejaVu Sans"))
    return "".join(c if font.get_char_index(ord(c)) else "\N{REPLACEMENT CHARACTER}" for c in str(label))


def headline(text: str) -> str:
    """The text with a capital at its beginning, for a title; the rest stays as it is, as in "Macro-F1"."""
    return text[:1].upper() + text[1:]


def spread(heights: Sequence[float], gap: float) -> np.ndarray:
    """Move heights as little as possible until all are at least `gap` apart, so that labels do not cover each other."""
    heights = np.array(heights, dtype=float)
    order, steps = np.argsort(heights, kind="stable"), gap * np.arange(len(heights))
    placed = np.empty_like(heights)
    # Without the steps, at least `gap` apart means not falling: the nearest such numbers are an isotonic regression.
    placed[order] = isotonic_regression(heights[order] - steps).x + steps
    return placed


def name_ends(
    axes: Axes, ends: dict[str, tuple[float, float]], gap: float = 0.06, colors: Mapping[str, str] | None = None
) -> None:
    """Write each name at the right end (place, score) of its line, apart from the others; a line may run behind it.

    `colors` are those of the lines, so that a name that had to move shows which is its own. Without them: black.
    """
    for end in {place for place, _ in ends.values()}:
        scores = {name: score for name, (place, score) in ends.items() if place == end}
        for name, height in zip(scores, spread(list(scores.values()), gap), strict=True):
            axes.annotate(
                plain(name), (end, height), (9, 0), textcoords="offset points", va="center", fontsize=9, bbox=BEHIND,
                color=(colors or {}).get(name, "black"),
            )  # fmt: skip


def label_decades(axes: Axes) -> None:
    """Put the numbers 1, 2 and 5 of each decade on a logarithmic y axis, written out."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.minorticks_off()


def close(figure: Figure, words: str) -> Figure:
    """Print what the figure shows, take it out of pyplot's memory, and return it at 150 dpi."""
    print(f"Figure: {words}.")
    plt.close(figure)
    figure.set_dpi(150)  # closing sets it back
    return figure
