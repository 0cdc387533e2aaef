"""Figures of lessons 7 and 8: what the curves of whole runs show, and what several seeds show."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from course_utils.diagnosis import WINDOW, running_mean
from course_utils.plots.style import LINES, close, label_decades, plain, styles

MARK = {"color": "#1b6ca8", "marker": "o", "markersize": 8}
RATHER = {"lower": "← better", "higher": "better →"}  # which way is better, on a horizontal axis


# --- lesson 7 ---------------------------------------------------------------------------------------------------


def plot_presets(runs: dict[str, Sequence[float]], classes: int, highest: float = 4.0) -> Figure:
    """Training loss of named runs, a panel for each: every step thin, the mean of ten bold, guessing dotted.

    What lies above `highest` is cut off, so that a run which explodes leaves the others their shape.
    """
    figure, row = plt.subplots(1, len(runs), figsize=(10, 2.8), sharey=True, layout="constrained", squeeze=False)
    guess = np.log(classes)
    for axes, (name, losses) in zip(row[0], runs.items(), strict=True):
        steps = np.arange(1, len(losses) + 1)
        axes.plot(steps, losses, color=LINES[0]["color"], alpha=0.4, linewidth=1)
        axes.plot(steps, running_mean(losses), color=LINES[0]["color"], linewidth=2.2)
        axes.axhline(guess, color="black", linestyle=":", linewidth=1)
        axes.set(title=f"preset {plain(name)}", xlabel="optimizer step", ylim=(min(1, guess), highest))
    row[0][0].set_ylabel("cross-entropy (nats)")
    ends = "; ".join(f"{name} ≈ {running_mean(losses)[-1]:.2f}" for name, losses in runs.items())
    return close(figure, f"mean training loss of the last ten steps: {ends}; dotted: guessing, {guess:.2f}")


def plot_courses(runs: dict[str, Sequence[float]], classes: int, span: tuple[int, int, str] | None = None) -> Figure:
    """Training loss of named runs, each step thin and the mean of ten bold, and the loss of guessing among `classes`.

    The axis is logarithmic, for runs of which one explodes. `span` shades steps and names what was different there:
    (first, last, words).
    """
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    words = []
    for style, (name, losses) in zip(styles(len(runs)), runs.items(), strict=True):
        steps, mean = np.arange(1, len(losses) + 1), running_mean(losses)
        axes.plot(steps, losses, color=style["color"], alpha=0.3, linewidth=0.8)
        line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 2}
        axes.plot(steps, mean, label=plain(name), **line)
        course = f"≈ {mean[:WINDOW][-1]:.2f} after {WINDOW} steps, ≈ {mean.max():.2f} at its highest"
        words.append(f"{name}: {course}, ≈ {mean[-1]:.2f} after {len(losses)}")
    guess = np.log(classes)
    axes.axhline(guess, color="black", linestyle=":", linewidth=1, label=f"guessing among {classes}: {guess:.2f}")
    if span is not None:
        first, last, said = span
        axes.axvspan(first - 0.5, last + 0.5, color="#f2b78b", alpha=0.6, label=plain(said))
    axes.set(title="Training loss: each step, and the mean of ten", xlabel="optimizer step")
    axes.set(ylabel="cross-entropy (nats)", yscale="log", xlim=(0, max(map(len, runs.values())) + 1))
    label_decades(axes)
    axes.legend(fontsize=8, loc="upper right")
    return close(figure, f"mean training loss of {'; '.join(words)}")


def plot_hill(runs: pd.DataFrame, summary: pd.DataFrame, marks: dict[str, float] | None = None) -> Figure:
    """Validation macro-F1 against learning rate: a dot for each seed, the mean with its 95 % interval.

    `runs` has the columns `rate` and `validation`, the score; `summary` has the rate as its index, and `mean` and
    `half`. `marks` are named rates, drawn as vertical lines.
    """
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    summary = summary.sort_index()
    # The dots lie on top of the mean, and their white rims keep them apart from it.
    dots = {"color": "black", "markeredgecolor": "white", "markersize": 9, "zorder": 3}
    axes.plot(runs["rate"], runs["validation"], ".", **dots, label="one seed")
    label = "mean, with its 95 % interval"
    axes.errorbar(summary.index, summary["mean"], summary["half"], **LINES[0], capsize=3, label=label)
    for style, (name, rate) in zip(styles(len(marks or {}), skip=1), (marks or {}).items(), strict=True):
        axes.axvline(rate, color=style["color"], linestyle=style["linestyle"], label=f"{plain(name)}: {rate:.1e}")
    axes.set(title="Whole runs: score against learning rate", xscale="log", ylim=(0, 1))
    axes.set(xlabel="learning rate", ylabel="validation macro-F1")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="upper left")
    best = summary["mean"].idxmax()
    words = [f"the mean is highest, {summary['mean'][best]:.2f}, at {best:g}"]
    words += [f"{name}: ≈ {rate:.1e}" for name, rate in (marks or {}).items()]
    return close(figure, "; ".join(words))


# --- lesson 8 ---------------------------------------------------------------------------------------------------


def plot_forest(
    panels: dict[str, pd.DataFrame],
    better: Sequence[str],
    reference: str = "plain",
    units: Sequence[str] | None = None,
) -> Figure:
    """Differences to a reference with their 95 % intervals, a panel for each named measure.

    A panel's table has the names in its index, and `mean`, `low`, `high`, as `results.differences` gives them; `better`
    says for each panel whether "lower" or "higher" is better. Filled marks: the interval leaves out zero. Tables may
    have `wide low` and `wide high` as well, an interval corrected for the number of comparisons: it is drawn thin, and
    then decides which marks are filled. A name has the same row in every panel, empty where a table lacks it. `units`
    names each panel's unit; panels with the same one have the same horizontal axis. None: each has its own.
    """
    figure, row = plt.subplots(1, len(panels), figsize=(10, 3.5), sharey=True, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(w_pad=0.12)  # the last tick of a panel and the first of the next need room
    rows = list(dict.fromkeys(name for table in panels.values() for name in table.index))
    is_corrected = all("wide low" in table for table in panels.values())
    low, high = ("wide low", "wide high") if is_corrected else ("low", "high")
    words = []
    for i, (axes, way, (title, table)) in enumerate(zip(row[0], better, panels.items(), strict=True)):
        shown = (table[low] > 0) | (table[high] < 0)
        draw_intervals(axes, table, shown, rows)
        unit = f", {units[i]}" if units and units[i] else ""
        axes.set(title=plain(title), xlabel=f"difference to {reference}{unit}\n({RATHER[way]})")
        numbers = table.loc[shown, ["mean", low, high]].itertuples()
        names = [f"{name} {mean:+.3f} ({least:+.3f} to {most:+.3f})" for name, mean, least, most in numbers]
        one_line = " ".join(title.split())
        words.append(f"{one_line}: {', '.join(names) or 'none'}")
    for unit in set(units or ()):
        alike = [axes for axes, own in zip(row[0], units, strict=True) if own == unit]
        limits = [axes.get_xlim() for axes in alike]
        for axes in alike:
            axes.set_xlim(min(left for left, _ in limits), max(right for _, right in limits))
    which = "corrected interval (thin)" if is_corrected else "95 % interval"
    marks = [
        Line2D([], [], **MARK, fillstyle=fill, linewidth=2, label=f"{which} {without}")
        for fill, without in (("full", "leaves out zero"), ("none", "holds zero: no difference shown"))
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False)
    which = which.removesuffix(" (thin)")
    return close(figure, f"difference to {reference} where the {which} leaves out zero. {'; '.join(words)}")


def draw_intervals(axes: Axes, table: pd.DataFrame, shown: pd.Series, rows: list) -> None:
    """In a name's place in `rows`: its interval, the corrected one, if any, and the mean, filled where `shown`."""
    for name, values in table.iterrows():
        y = rows.index(name)
        if "wide low" in values:
            axes.plot([values["wide low"], values["wide high"]], [y, y], color=MARK["color"], linewidth=0.8)
        # A round end of the line would reach beyond the end of the interval.
        ends = [values["low"], values["high"]]
        axes.plot(ends, [y, y], color=MARK["color"], linewidth=2, solid_capstyle="butt")
        axes.plot(values["mean"], y, **MARK, fillstyle="full" if shown[name] else "none")
    axes.axvline(0, color="black", linestyle="--", linewidth=1)
    axes.locator_params(axis="x", nbins=4)
    axes.set_yticks(range(len(rows)), list(map(plain, rows)))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)


def plot_stops(history, stops: dict[str, dict[int, tuple[int, int]]], guessing: float | None = None) -> Figure:
    """Where early stopping would have ended a run, and what it would have kept: a panel for each monitored metric.

    `stops` maps a metric of the history, for each patience, to (step of the end, step of the weights kept), which has
    a ring. `guessing` is the validation loss of guessing, drawn as a dotted line.
    """
    figure, row = plt.subplots(1, len(stops), figsize=(10, 3.4), layout="constrained", squeeze=False)
    table, words = history.table(), []
    for axes, (metric, found) in zip(row[0], stops.items(), strict=True):
        curve, name = table[metric], metric.replace("_", " ").replace("macro f1", "macro-F1")
        low, high = curve.min(), curve.max()
        axes.plot(curve.index, curve, color="#1b6ca8", linewidth=2)
        ring = {"marker": "o", "color": "black", "fillstyle": "none", "markersize": 9, "linestyle": "none"}
        heights = [low - (0.14 + 0.13 * i) * (high - low) for i in range(len(found))]
        for y, style, (patience, (end, kept)) in zip(heights, styles(len(found), skip=1), found.items(), strict=True):
            axes.plot([0, end], [y, y], color=style["color"], linestyle=style["linestyle"])
            axes.plot(end, y, "|", color=style["color"], markersize=12)
            axes.plot([kept, kept], [y, curve[kept]], **ring)
            score = f"keeps ≈ {curve[kept]:.2f} of step ≈ {kept}"
            words.append(f"{name}, patience {patience}: ends at step ≈ {end}, {score}")
        axes.set(title=f"monitored: {name}", xlabel="optimizer step", ylabel=name)
        if guessing is not None and metric == "validation_loss":
            axes.axhline(guessing, color="black", linestyle=":", linewidth=1)
            axes.text(curve.index[-1], guessing, f"guessing: {guessing:.2f}", ha="right", va="bottom", fontsize=9)
        ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
        names = [*(f"{tick:.2f}" for tick in ticks), *(f"patience {patience}" for patience in found)]
        axes.set_yticks([*ticks, *heights], names)
        axes.set_xlim(0, 1.03 * curve.index[-1])
        axes.grid(alpha=0.3)
    return close(figure, "; ".join(words))
