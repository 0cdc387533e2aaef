"""Every figure of the lessons. Each function draws one figure and prints the same facts as a line of text.

Figures can be read without colour: lines differ in dash and marker, bars in hatching, cells hold their numbers. In a
summary, ≈ stands before a number that was measured on a trained model. Texts and labels are shown as they are: a dollar
sign begins no formula. A figure that is given more series than can be told apart raises ValueError.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from course_utils.diagnosis import running_mean

COLORS = ["#1b6ca8", "#c2571a", "#3b7d3a", "#6a4c93", "#555555", "#a61c5d"]
DASHES = ["-", "--", "-.", ":"]
# Twelve styles: each has a marker of its own, and no two the same colour and dash.
LINES = [dict(color=COLORS[i % 6], linestyle=DASHES[i % 4], marker=marker) for i, marker in enumerate("os^DvPX*<>ph")]
FILLS = ["#9fc5e0", "#f2b78b", "#b5d6a7", "#cdbfe0", "#c9c9c9", "#e6a9c4"]
HATCHES = ["", "//", "..", "xx", "\\\\", "--", "||", "oo", "++", "OO", "**", "//.."]
# The highest loss (nats) on the chart of lesson 7, twice that of guessing among eight queues: a run that has diverged
# leaves the chart, and the others are not pressed flat.
LOSS_SHOWN = 4.0


def styles(count: int, skip: int = 0) -> list[dict]:
    """Styles for `count` lines, the first `skip` left out. Raises ValueError for more than can be told apart."""
    if skip + count > len(LINES):
        raise ValueError(f"A figure can tell {len(LINES) - skip} series apart, not {count}: draw fewer at a time.")
    return LINES[skip : skip + count]


def plain(text: str) -> str:
    """The text as it is, for a title or a legend: Matplotlib would read what stands between two $ as a formula."""
    return str(text).replace("$", r"\$")


def close(figure: Figure, words: str) -> Figure:
    """Print what the figure shows, take it out of pyplot's memory, and return it."""
    print(f"Figure: {words}.")
    plt.close(figure)
    return figure


def plot_history(history, title: str = "Fine-tuning") -> Figure:
    """Loss at every step with validation loss, and validation macro-F1, of a `training.History`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    steps, mean = np.arange(1, len(history.loss) + 1), running_mean(history.loss)
    rows = history.table()
    left.plot(steps, history.loss, color="#1b6ca8", alpha=0.25, linewidth=1, label="training, each step")
    left.plot(steps, mean, color="#1b6ca8", label="training, mean of 10 steps")
    left.plot(rows.index, rows["validation_loss"], label="validation", **LINES[1])
    left.set(title=f"{plain(title)}: loss", xlabel="optimizer step", ylabel="cross-entropy (nats)", ylim=(0, None))
    left.legend()
    right.plot(rows.index, rows["macro_f1"], **LINES[0])
    right.set(title="Validation macro-F1", xlabel="optimizer step", xlim=left.get_xlim(), ylim=(0, 1))
    best = "there is no validation yet"
    if history.best_step is not None:
        right.axvline(history.best_step, color="black", linestyle=":", label=f"best step: {history.best_step}")
        right.legend(loc="lower right")
        best = f"validation macro-F1 is best at ≈ {rows['macro_f1'].max():.2f}"
    return close(figure, f"training loss goes from ≈ {history.loss[0]:.2f} to ≈ {mean[-1]:.2f}; {best}")


def plot_learning_rates(rates: dict[str, Sequence[float]], title: str = "Learning-rate schedules") -> Figure:
    """Learning rate over the steps, one line for each named schedule."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for style, (name, values) in zip(styles(len(rates)), rates.items(), strict=True):
        axes.plot(np.arange(1, len(values) + 1), values, label=plain(name), markevery=max(1, len(values) // 8), **style)
    axes.set(title=plain(title), xlabel="optimizer step", ylabel="learning rate", ylim=(0, None))
    axes.legend()
    peaks = "; ".join(
        f"{n} peaks at {max(v):g} at step {int(np.argmax(v)) + 1}, ends at {v[-1]:.2g}" for n, v in rates.items()
    )
    return close(figure, peaks)


def plot_next_tokens(tokens: Sequence[str], probabilities: Sequence[float], prompt: str) -> Figure:
    """Bars of the most probable next tokens after a prompt."""
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(tokens) + 1), layout="constrained")
    names = [plain(repr(token)) for token in tokens]
    bars = axes.barh(names[::-1], list(probabilities)[::-1], color="#9fc5e0", edgecolor="#1b6ca8", hatch="//")
    axes.bar_label(bars, fmt="{:.2f}", padding=3)
    axes.set(title=plain(f"Next token after {prompt!r}"), xlabel="probability", xlim=(0, max(probabilities) * 1.15))
    return close(figure, f"the most probable next token is {tokens[0]!r}")


def plot_lengths(lengths: dict[str, Sequence[int]], unit: str = "tokens", limit: int | None = None) -> Figure:
    """Histogram of text lengths, one outline for each named group, and a line at the length where texts are cut."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    top = max(limit or 0, *(max(values) for values in lengths.values()))
    for style, (name, values) in zip(styles(len(lengths)), lengths.items(), strict=True):
        axes.hist(
            values, bins=np.linspace(0, top, 31), weights=np.full(len(values), 1 / len(values)), histtype="step",
            label=plain(name), linewidth=1.6, color=style["color"], linestyle=style["linestyle"],
        )  # fmt: skip
    if limit is not None:
        axes.axvline(limit, color="black", linestyle=":", label=f"limit: {limit}")
    axes.set(title=f"Length in {unit}", xlabel=unit, ylabel="share of texts")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    return close(figure, "median length " + "; ".join(f"{n} {int(np.median(v))} {unit}" for n, v in lengths.items()))


def plot_label_shares(labels: dict[str, pd.Series]) -> Figure:
    """Bars of each label's share, one group of bars for each named column of labels, which may differ in length."""
    table = pd.DataFrame({name: column.value_counts(normalize=True) for name, column in labels.items()}).fillna(0)
    table = table.sort_values(next(iter(labels)), ascending=False)
    styles(len(labels))  # hatchings are as many as line styles
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    table.rename(index=plain, columns=plain).plot.bar(ax=axes, rot=30, edgecolor="black", color=FILLS)
    for bars, hatch in zip(axes.containers, HATCHES, strict=False):
        for bar in bars:
            bar.set_hatch(hatch)
    axes.set(title="Share of each label", xlabel="", ylabel="share of texts")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    gap = (table.max(axis=1) - table.min(axis=1)).max()
    return close(
        figure,
        f"the largest label is {table.index[0]!r}, the smallest {table.index[-1]!r}; "
        f"no label's share differs by more than {gap:.1%} between the groups",
    )


def plot_confusion(evaluation) -> Figure:
    """Confusion matrix of an `evaluation.Evaluation`: shares of each true class by shade, counts written in."""
    counts = evaluation.confusion_table()
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    figure, axes = plt.subplots(figsize=(6.4, 5.2), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=max(shares.to_numpy().max(), 0.01))
    for (i, j), count in np.ndenumerate(counts.to_numpy()):
        color = "white" if image.norm(shares.iat[i, j]) > 0.5 else "black"
        axes.text(j, i, str(count), ha="center", va="center", color=color)
    axes.set_xticks(range(len(counts)), map(plain, counts.columns), rotation=40, ha="right")
    axes.set_yticks(range(len(counts)), map(plain, counts.index))
    axes.set(title="Confusion matrix: counts, shaded by share of the row", xlabel="predicted", ylabel="true")
    figure.colorbar(image, label="share of the true class")
    off = counts.where(~np.eye(len(counts), dtype=bool), 0).stack()
    true, predicted = off.idxmax()
    return close(
        figure,
        f"≈ {np.trace(counts)} of {counts.to_numpy().sum()} on the diagonal; "
        f"the commonest mix-up is {true!r} taken for {predicted!r}",
    )


def plot_comparison(scores: dict[str, tuple[float, float, float]], metric: str = "macro-F1") -> Figure:
    """Points with intervals, one row for each named (value, low, high)."""
    figure, axes = plt.subplots(figsize=(7, 0.45 * len(scores) + 1.2), layout="constrained")
    names = list(scores)[::-1]
    for y, name in enumerate(names):
        value, low, high = scores[name]
        axes.plot([low, high], [y, y], color="#1b6ca8", linewidth=3, alpha=0.5)
        axes.plot(value, y, "o", color="#1b6ca8")
        axes.annotate(f"{value:.2f}", (value, y), textcoords="offset points", xytext=(0, 7), ha="center")
    axes.set_yticks(range(len(names)), map(plain, names))
    axes.set(title=f"{metric} with 95 % intervals", xlabel=metric, xlim=(0, 1), ylim=(-0.5, len(names) - 0.3))
    axes.grid(axis="x", alpha=0.3)
    shown = "; ".join(f"{n} ≈ {v:.2f} (≈ {low:.2f} to ≈ {high:.2f})" for n, (v, low, high) in scores.items())
    return close(figure, f"{metric} {shown}")


# --- the labs: drawn on a given figure, again and again, in whatever thread the training runs ----------------------


def empty_axes(figure: Figure, widths: Sequence[float]) -> Sequence:
    """Give a row of axes of these relative widths, with few ticks and nothing drawn on them.

    Most of the time that a picture takes goes into its ticks. So axes that are there already are used again.
    """
    if len(figure.axes) != len(widths):
        figure.clear()
        for axes in figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]:
            axes.locator_params(nbins=5)
    for axes in figure.axes:
        for artist in [*axes.lines, *axes.collections, *axes.texts, axes.get_legend()]:
            if artist is not None:
                artist.remove()
        axes.set_prop_cycle(None)
    return figure.axes


def draw_runs(figure: Figure, current, earlier: Sequence = ()) -> None:
    """Loss, validation macro-F1 and learning rate over the steps of `live.LiveTraining` runs, the current one in front.

    Draws on `figure`, wiping it first. Changes of the rate by hand are dotted lines.
    """
    loss, score, rate = empty_axes(figure, [2, 1.2, 1.2])
    for style, run in zip(styles(len(earlier), skip=1), earlier, strict=True):
        draw_run(loss, score, rate, run.history, {**style, "linewidth": 1, "alpha": 0.7}, run.name)
    if current is not None and current.history.loss:
        steps = np.arange(1, len(current.history.loss) + 1)
        loss.plot(steps, current.history.loss, color="#1b6ca8", alpha=0.3, linewidth=1)
        draw_run(loss, score, rate, current.history, {**LINES[0], "linewidth": 2.2}, "this run")
        for step, _ in current.changes:
            for axes in (loss, score, rate):
                axes.axvline(step, color="black", linestyle=":", linewidth=1)
    loss.set(title="training loss, and its mean of 10 steps", xlabel="step", ylabel="cross-entropy (nats)")
    loss.set_ylim(0, LOSS_SHOWN)
    score.set(title="validation macro-F1", xlabel="step", ylim=(0, 1))
    rate.set(title="learning rate", xlabel="step", yscale="log")
    rate.minorticks_off()
    for axes in (loss, score, rate):
        axes.set_xlim(0, current.steps if current is not None else 1)
    if loss.get_legend_handles_labels()[0]:
        loss.legend(fontsize=8, loc="upper right")
    figure.subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.15, wspace=0.25)


def draw_run(loss, score, rate, history, style: dict, name: str) -> None:
    """One run's three lines. `style` is for plot; markers only where there are few points."""
    steps = np.arange(1, len(history.loss) + 1)
    line = {**style, "marker": None}
    loss.plot(steps, running_mean(history.loss), label=plain(name), **line)
    score.plot(history.table()["macro_f1"], **style)
    # A rate of zero, where a schedule begins or ends, has no place on a log axis.
    rate.plot(steps, np.where(np.array(history.learning_rate) > 0, history.learning_rate, np.nan), **line)


def draw_range_test(figure: Figure, rates: Sequence[float], losses: Sequence[float], marks: dict[str, float]) -> None:
    """Loss against learning rate of a range test; `marks` are named rates, drawn as vertical lines."""
    (axes,) = empty_axes(figure, [1])
    axes.plot(rates, losses, color="#1b6ca8", alpha=0.3, linewidth=1)
    axes.plot(rates, running_mean(losses), **{**LINES[0], "marker": None}, label="mean of 10 steps")
    for style, (name, value) in zip(styles(len(marks), skip=1), marks.items(), strict=True):
        axes.axvline(value, color=style["color"], linestyle=style["linestyle"], label=f"{name}: {value:.1e}")
    axes.set(title="Range test", xlabel="learning rate", ylabel="cross-entropy (nats)", xscale="log")
    axes.legend()
    figure.subplots_adjust(left=0.08, right=0.98, top=0.9, bottom=0.15)


def draw_gap(figure: Figure, current, earlier: Sequence = ()) -> None:
    """Training and validation loss with the gap between them shaded, and validation macro-F1, with the best point."""
    loss, score = empty_axes(figure, [1.5, 1])
    for style, run in zip(styles(len(earlier), skip=1), earlier, strict=True):
        rows, style = run.history.table(), {**style, "linewidth": 1}
        loss.plot(rows["validation_loss"], **style, label=plain(f"validation, {run.name}"))
        score.plot(rows["macro_f1"], **style)
    if current is not None and current.history.best_step is not None:
        rows = current.history.table()
        loss.plot(rows["train_loss"], label="training", color="#1b6ca8", linestyle="--", marker=".")
        loss.plot(rows["validation_loss"], label="validation", **LINES[0], linewidth=2.2)
        loss.fill_between(rows.index, rows["train_loss"], rows["validation_loss"], alpha=0.15, label="gap")
        score.plot(rows["macro_f1"], **LINES[0], linewidth=2.2)
        mark = dict(color="black", linestyle=":", label="lowest validation loss, restored")
        for axes in (loss, score):
            axes.axvline(current.history.best_step, **mark)
    loss.set(title="loss", xlabel="step", ylabel="cross-entropy (nats)")
    top = max([1.0, *(max(line.get_ydata(), default=0) for line in loss.lines)])
    loss.set_ylim(0, 1.5 * top)  # room for the legend above the curves
    score.set(title="validation macro-F1", xlabel="step", ylim=(0, 1))
    for axes in (loss, score):
        axes.set_xlim(0, current.steps if current is not None else 1)
    if loss.get_legend_handles_labels()[0]:
        loss.legend(fontsize=8, loc="upper left", ncols=2)
    figure.subplots_adjust(left=0.07, right=0.99, top=0.9, bottom=0.15, wspace=0.18)


def draw_label_curves(figure: Figure, curves: dict, points: Sequence[tuple[str, float, float]] = ()) -> None:
    """Test macro-F1 against labels a class, a line with its 95 % band for each contestant, and single points.

    `curves` maps a contestant to a list of (labels, mean, half-width); `points` holds (name, labels, score).
    """
    (axes,) = empty_axes(figure, [1])
    for style, (name, rows) in zip(styles(len(curves)), curves.items(), strict=True):
        sizes, means, halves = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        axes.plot(sizes, means, label=plain(name), **style)
        axes.fill_between(sizes, means - halves, means + halves, color=style["color"], alpha=0.15)
    for i, (_, size, score) in enumerate(points, start=1):
        axes.plot(size, score, "*", color="black", markersize=13)
        axes.annotate(f"{i}", (size, score), textcoords="offset points", xytext=(8, -3))
    ticks = sorted({size for rows in curves.values() for size, *_ in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{size:.0f}" for size in ticks])
    axes.minorticks_off()
    axes.set(title="Means over the seeds, with their 95 % intervals", ylim=(0, 1))
    axes.set(xlabel="labels a queue (on the right: all, as a mean over the queues)", ylabel="test macro-F1")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")
    figure.subplots_adjust(left=0.08, right=0.98, top=0.9, bottom=0.13)
