"""Figures of lessons 7 and 8: what the curves of whole runs show, and what several seeds show."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from course_utils.diagnosis import WINDOW, running_mean
from course_utils.plots.style import LINES, close, plain, spread, styles

RATHER = {"lower": "← better", "higher": "better →"}  # which way is better, on a horizontal axis


# --- lesson 7 ---------------------------------------------------------------------------------------------------


def plot_courses(
    runs: dict[str, Sequence[float]], classes: int, span: tuple[int, int, str] | None = None, top: float = 4.0
) -> Figure:
    """Training loss of named runs, each step thin and the mean of ten bold, and the loss of guessing among `classes`.

    `span` shades steps and names what was different there: (first, last, words). Losses above `top` leave the figure.
    """
    figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
    ends, words = [], []
    for style, (name, losses) in zip(styles(len(runs)), runs.items(), strict=True):
        steps, mean = np.arange(1, len(losses) + 1), running_mean(losses)
        axes.plot(steps, losses, color=style["color"], alpha=0.3, linewidth=0.8)
        axes.plot(steps, mean, color=style["color"], linestyle=style["linestyle"], linewidth=2)
        ends.append((steps[-1], min(mean[-1], top)))
        words.append(f"{name}: ≈ {mean[:WINDOW][-1]:.2f} after {WINDOW} steps, ≈ {mean[-1]:.2f} after {len(losses)}")
    longest = max(step for step, _ in ends)
    for (step, _), name, height in zip(ends, runs, spread([loss for _, loss in ends], 0.07 * top), strict=True):
        axes.annotate(plain(f"  {name}"), (step, height), va="center", annotation_clip=False)
    axes.plot([0, longest], [np.log(classes)] * 2, color="black", linestyle=":", linewidth=1)
    axes.text(longest, np.log(classes) + 0.03 * top, f"guessing: {np.log(classes):.2f} ", ha="right", fontsize=9)
    if span is not None:
        first, last, said = span
        axes.axvspan(first - 0.5, last + 0.5, color="#f2b78b", alpha=0.6)
        axes.text(last + 1.5, 0.97 * top, plain(said), va="top", fontsize=9)
    axes.set(title="Training loss: each step, and the mean of ten", xlabel="optimizer step", ylabel="nats")
    axes.set(xlim=(0, 1.4 * longest), ylim=(0, top))
    return close(figure, f"mean training loss of {'; '.join(words)}")


def plot_hill(runs: pd.DataFrame, summary: pd.DataFrame, marks: dict[str, float] | None = None) -> Figure:
    """Test macro-F1 against learning rate: a dot for each seed, the mean with its 95 % interval; named rates as lines.

    `runs` has the columns `rate` and `macro_f1`; `summary` has the rate as its index, and `mean` and `half`.
    """
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    summary = summary.sort_index()
    axes.plot(runs["rate"], runs["macro_f1"], ".", color="#555555", markersize=5, label="one seed")
    label = "mean, with its 95 % interval"
    axes.errorbar(summary.index, summary["mean"], summary["half"], **LINES[0], capsize=3, label=label)
    for i, (style, (name, rate)) in enumerate(
        zip(styles(len(marks or {}), skip=1), (marks or {}).items(), strict=True)
    ):
        axes.axvline(rate, color=style["color"], linestyle=style["linestyle"])
        axes.text(rate, 0.98 - 0.09 * i, f" {plain(name)}", va="top", fontsize=9, color=style["color"])
    axes.set(title="Whole runs: score against learning rate", xscale="log", ylim=(0, 1))
    axes.set(xlabel="learning rate", ylabel="test macro-F1")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    best = summary["mean"].idxmax()
    words = [f"the mean is highest, {summary['mean'][best]:.2f}, at {best:g}"]
    words += [f"{name}: ≈ {rate:.1e}" for name, rate in (marks or {}).items()]
    return close(figure, "; ".join(words))


# --- lesson 8 ---------------------------------------------------------------------------------------------------


def plot_forest(panels: dict[str, pd.DataFrame], better: Sequence[str], reference: str = "plain") -> Figure:
    """Differences to a reference with their 95 % intervals, a panel for each named measure.

    A panel's table has the names in its index, and `mean`, `low`, `high`, as `results.differences` gives them; `better`
    says for each panel whether "lower" or "higher" is better. Filled marks: the interval leaves out zero.
    """
    figure, row = plt.subplots(1, len(panels), figsize=(10, 3.1), sharey=True, layout="constrained", squeeze=False)
    words = []
    for axes, way, (title, table) in zip(row[0], better, panels.items(), strict=True):
        shown = (table["low"] > 0) | (table["high"] < 0)
        for y, (name, values) in enumerate(table.iterrows()):
            fill = "full" if shown[name] else "none"
            axes.plot([values["low"], values["high"]], [y, y], color="#1b6ca8", linewidth=2)
            axes.plot(values["mean"], y, "o", color="#1b6ca8", fillstyle=fill, markersize=8, markerfacecoloralt="white")
        axes.axvline(0, color="black", linestyle="--", linewidth=1)
        axes.set(title=plain(title), xlabel=f"minus {reference}   ({RATHER[way]})")
        axes.set_yticks(range(len(table)), list(map(plain, table.index)))
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.3)
        names = [f"{name} {table.loc[name, 'mean']:+.2f}" for name in table.index[shown]]
        words.append(f"{title}: {', '.join(names) or 'none'}")
    return close(figure, f"difference to {reference} where the interval leaves out zero. {'; '.join(words)}")


def plot_stops(history, stops: dict[str, dict[int, tuple[int, int]]]) -> Figure:
    """Where early stopping would have ended a run, and what it would have kept: a panel for each monitored metric.

    `stops` maps a metric of the history, for each patience, to (step of the end, step of the weights kept).
    """
    figure, row = plt.subplots(1, len(stops), figsize=(10, 3.4), layout="constrained", squeeze=False)
    table, words = history.table(), []
    for axes, (metric, found) in zip(row[0], stops.items(), strict=True):
        curve, name = table[metric], metric.replace("_", " ").replace("macro f1", "macro-F1")
        low, high = curve.min(), curve.max()
        axes.plot(curve.index, curve, color="#1b6ca8", linewidth=2)
        for i, (style, (patience, (end, kept))) in enumerate(
            zip(styles(len(found), skip=1), found.items(), strict=True)
        ):
            y = low - (0.14 + 0.13 * i) * (high - low)
            axes.plot([0, end], [y, y], color=style["color"], linestyle=style["linestyle"])
            axes.plot(end, y, "|", color=style["color"], markersize=12)
            axes.plot(kept, y, style["marker"], color=style["color"])
            axes.plot(kept, curve[kept], "o", color="black", fillstyle="none", markersize=11)
            axes.annotate(f" patience {patience}", (end, y), va="center", fontsize=9)
            score = f"keeps ≈ {curve[kept]:.2f} of step ≈ {kept}"
            words.append(f"{name}, patience {patience}: ends at step ≈ {end}, {score}")
        axes.set(title=f"monitored: {name}", xlabel="optimizer step", ylabel=name)
        axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
        axes.set_xlim(0, 1.22 * curve.index[-1])
        axes.grid(alpha=0.3)
    return close(figure, "; ".join(words))
