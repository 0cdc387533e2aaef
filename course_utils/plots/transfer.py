"""Figures of lesson 9: what pre-training saves in steps and in labels, and how far each layer moves."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from course_utils.plots.style import BEHIND, LINES, close, name_ends, plain, styles

# In the order of the lab's chart.
CHARTED = ["majority class", "TF-IDF", "pre-trained", "frozen body", "random weights", "probe, then all blocks"]


def contestant_styles(names: Sequence[str]) -> list[dict]:
    """The style that each contestant has in the lab's chart; names that the chart does not have get what it left."""
    left = iter(styles(sum(name not in CHARTED for name in names), skip=len(CHARTED)))
    return [LINES[CHARTED.index(name)] if name in CHARTED else next(left) for name in names]


def first_reach(places: Sequence[float], scores: Sequence[float], goal: float, log: bool = False) -> float:
    """Where a curve first reaches `goal`, interpolated between two places, with `log` on a logarithmic axis.

    The first place if its score is enough already; infinity if no score is.
    """
    axis, scores = np.log2(places) if log else np.asarray(places, dtype=float), np.asarray(scores, dtype=float)
    enough = np.flatnonzero(scores >= goal)
    if len(enough) == 0:
        return float("inf")
    ends = slice(max(0, enough[0] - 1), enough[0] + 1)  # of the piece of the drawn line that crosses the goal first
    place = np.interp(goal, scores[ends], axis[ends])
    return float(2**place if log else place)


# --- steps and labels saved -----------------------------------------------------------------------------------------


def draw_curve(axes: Axes, rows: Sequence[tuple[float, float, float]], style: dict) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of (place, mean, half-width) as a line with its band; return places and means."""
    places, means, halves = np.array(rows, dtype=float).T
    axes.plot(places, means, **style)
    axes.fill_between(places, means - halves, means + halves, color=style["color"], alpha=0.15)
    return places, means


def draw_saving(axes: Axes, start: float, end: float, goal: float, text: str) -> None:
    """Mark two places of equal score by dotted lines down to the axis, joined by an arrow with a text above it."""
    axes.annotate("", (start, goal), (end, goal), arrowprops={"arrowstyle": "<->", "linewidth": 1.5})
    axes.vlines([start, end], 0, goal, colors="black", linestyles=":", linewidth=1)
    middle = (start * end) ** 0.5 if axes.get_xscale() == "log" else (start + end) / 2
    place = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 9}
    axes.annotate(text, (middle, goal), (0, 5), **place, bbox=BEHIND)


def draw_goal(axes: Axes, start: float, goal: float, text: str) -> None:
    """Mark a score: a dotted line from `start` to the right edge, a text above it."""
    edge = axes.get_xlim()[1]
    axes.hlines(goal, start, edge, colors="black", linestyles=":", linewidth=1)
    place = {"textcoords": "offset points", "ha": "right", "va": "bottom", "fontsize": 9}
    axes.annotate(plain(text), (edge, goal), (-5, 3), **place, bbox=BEHIND)


def plot_steps_saved(panels: dict[str, dict[str, list[tuple[float, float, float]]]]) -> Figure:
    """Validation score against optimizer steps; an arrow leads from the slower network's last score to the faster one.

    Each named panel holds two curves as `results.score_curves` gives them, the faster first, with 95 % bands.
    """
    figure, row = plt.subplots(1, len(panels), figsize=(5 * len(panels), 3.6), layout="constrained", squeeze=False)
    words = []
    for axes, (title, curves) in zip(row[0], panels.items(), strict=True):
        looks = contestant_styles(list(curves))
        drawn = [draw_curve(axes, rows, style) for rows, style in zip(curves.values(), looks, strict=True)]
        (fast_steps, fast), (slow_steps, slow) = drawn
        fast_name, slow_name = curves
        name_ends(axes, {name: (places[-1], means[-1]) for name, (places, means) in zip(curves, drawn, strict=True)})
        axes.set(title=plain(title), xlabel="optimizer step", ylabel="validation macro-F1", ylim=(0, 1))
        axes.set_xlim(0, 1.42 * slow_steps[-1])
        axes.grid(alpha=0.3)
        reached = first_reach(fast_steps, fast, slow[-1])
        most = "at most " if fast[0] >= slow[-1] else ""
        if reached < slow_steps[-1]:
            saved = f"{most}{reached:.0f} steps instead of {slow_steps[-1]:.0f}"
            draw_saving(axes, reached, slow_steps[-1], slow[-1], saved)
            words.append(
                f"{title}: {fast_name} is after {most}{reached:.0f} steps where {slow_name} is after "
                f"{slow_steps[-1]:.0f}, at {slow[-1]:.2f}"
            )
        else:
            words.append(f"{title}: {fast_name} does not get to the {slow[-1]:.2f} of {slow_name} any sooner")
    return close(figure, "; ".join(words))


def plot_labels_saved(curves: dict[str, list[tuple[float, float, float]]], labels: float) -> Figure:
    """Test score against labels a class: what the first curve has with `labels`, and how many each rival needs for it.

    One rival gets an arrow from its number of labels to the first curve's; of several, each that has the score gets a
    line down to its number. A dotted line is the score. Takes two curves or more as `results.label_curves` gives them.
    Raises ValueError where `labels` is no measured size.
    """
    figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    axes.set_xscale("log", base=2)
    looks = dict(zip(curves, contestant_styles(list(curves)), strict=True))
    drawn = {name: draw_curve(axes, rows, looks[name]) for name, rows in curves.items()}
    name, *rivals = curves
    sizes, means = drawn[name]
    if labels not in sizes:
        raise ValueError(f"Nothing was measured with {labels} labels; choose one of {[float(size) for size in sizes]}.")
    goal = means[list(sizes).index(labels)]
    needed = {rival: first_reach(*drawn[rival], goal, log=True) for rival in rivals}
    said = {rival: f"{'at most ' if drawn[rival][1][0] >= goal else ''}{count:.0f}" for rival, count in needed.items()}
    name_ends(axes, {name: (places[-1], scores[-1]) for name, (places, scores) in drawn.items()})
    axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    axes.minorticks_off()
    axes.set(title="Labels for the same score", ylim=(0, 1), xlim=(sizes[0] / 1.1, 2.6 * sizes[-1]))
    axes.set(xlabel="labels a queue (on the right: all, as a mean over the queues)", ylabel="test macro-F1")
    axes.grid(alpha=0.3)
    never = [rival for rival, count in needed.items() if not np.isfinite(count)]
    reached = {rival: count for rival, count in needed.items() if rival not in never}
    if len(rivals) == 1 and reached:
        draw_saving(axes, labels, needed[rivals[0]], goal, f"{labels:.0f} labels instead of {said[rivals[0]]}")
    else:
        if len(rivals) == 1:
            axes.vlines(labels, 0, goal, colors="black", linestyles=":", linewidth=1)
        missed = f": not reached by the mean of {' or '.join(never)}" if never else ""
        draw_goal(axes, min([labels, *reached.values()]), goal, f"{goal:.2f}{missed}")
    if len(rivals) > 1:
        draw_needs(axes, {**reached, name: labels}, {**said, name: f"{labels:.0f}"}, goal, looks)
    takes = ["takes " + ", ".join(f"{rival} {said[rival]}" for rival in reached)] if reached else []
    takes += [f"was not reached by the mean of {' or '.join(never)}"] if never else []
    return close(
        figure, f"the macro-F1 of {goal:.2f} that {name} has with {labels:.0f} labels a queue {'; '.join(takes)}"
    )


def draw_needs(axes: Axes, places: dict[str, float], said: dict[str, str], goal: float, looks: dict[str, dict]) -> None:
    """From where each curve first has the goal a line down to the axis, beside it name and number, a row for each."""
    for row, (name, place) in enumerate(sorted(places.items(), key=lambda item: -item[1])):
        color = looks[name]["color"]
        axes.vlines(place, 0, goal, colors=color, linestyles=":", linewidth=1.5)
        offset = {"textcoords": "offset points", "va": "bottom", "fontsize": 9, "color": color}
        axes.annotate(plain(f"{name}: {said[name]}"), (place, 0), (4, 3 + 13 * row), **offset, bbox=BEHIND)


# --- layers ---------------------------------------------------------------------------------------------------------


def plot_layer_moves(panels: dict[str, dict[str, dict[str, float]]]) -> Figure:
    """How far each layer moved, a panel for each named measure: one line for each named {layer: value}, from below.

    The axis is logarithmic.
    """
    figure, row = plt.subplots(1, len(panels), figsize=(5 * len(panels), 3.4), layout="constrained", squeeze=False)
    words = []
    for axes, (title, runs) in zip(row[0], panels.items(), strict=True):
        for style, (name, moves) in zip(styles(len(runs)), runs.items(), strict=True):
            axes.plot(range(len(moves)), list(moves.values()), label=plain(name), **style)
            lowest, *_, highest = moves.values()
            words.append(f"{title}, {name}: ≈ {lowest:.1e} at the bottom, ≈ {highest:.1e} at the top")
        axes.set_xticks(range(len(moves)), map(plain, moves), rotation=35, ha="right")
        axes.set(title=plain(title), yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.minorticks_off()
        axes.grid(axis="y", alpha=0.3)
    row[0, 0].legend(loc="lower right")
    return close(figure, "; ".join(words))
