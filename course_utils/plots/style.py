"""The one style of all figures: colours, dashes and markers that differ without colour, and the line of text."""

from collections.abc import Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

COLORS = ["#1b6ca8", "#c2571a", "#3b7d3a", "#6a4c93", "#555555", "#a61c5d"]
DASHES = ["-", "--", "-.", ":"]
# Twelve styles: each has a marker of its own, and no two the same colour and dash.
LINES = [dict(color=COLORS[i % 6], linestyle=DASHES[i % 4], marker=marker) for i, marker in enumerate("os^DvPX*<>ph")]
FILLS = ["#9fc5e0", "#f2b78b", "#b5d6a7", "#cdbfe0", "#c9c9c9", "#e6a9c4"]
HATCHES = ["", "//", "..", "xx", "\\\\", "--", "||", "oo", "++", "OO", "**", "//.."]


def styles(count: int, skip: int = 0) -> list[dict]:
    """Styles for `count` lines, the first `skip` left out. Raises ValueError for more than can be told apart."""
    if skip + count > len(LINES):
        raise ValueError(f"A figure can tell {len(LINES) - skip} series apart, not {count}: draw fewer at a time.")
    return LINES[skip : skip + count]


def plain(text: str) -> str:
    """The text as it is, for a title or a legend: Matplotlib would read what stands between two $ as a formula."""
    return str(text).replace("$", r"\$")


def spread(heights: Sequence[float], gap: float) -> np.ndarray:
    """Move heights up until each is at least `gap` above the one below, so that labels do not cover each other."""
    placed = np.array(heights, dtype=float)
    for lower, upper in pairwise(np.argsort(placed, kind="stable")):
        placed[upper] = max(placed[upper], placed[lower] + gap)
    return placed


def close(figure: Figure, words: str) -> Figure:
    """Print what the figure shows, take it out of pyplot's memory, and return it at 150 dpi."""
    print(f"Figure: {words}.")
    plt.close(figure)
    figure.set_dpi(150)  # closing sets it back
    return figure
