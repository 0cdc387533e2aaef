"""Every figure of the lessons. Each function draws one figure and prints the same facts as a line of text.

Figures can be read without colour: lines differ in dash and marker, bars in hatching, cells hold their numbers. In a
summary, ≈ stands before a number that was measured on a trained model.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

LINES = [
    dict(color="#1b6ca8", linestyle="-", marker="o"),
    dict(color="#c2571a", linestyle="--", marker="s"),
    dict(color="#3b7d3a", linestyle="-.", marker="^"),
    dict(color="#6a4c93", linestyle=":", marker="D"),
]
# The highest loss (nats) on the chart of lesson 7, twice that of guessing among eight queues: a run that has diverged
# leaves the chart, and the others are not pressed flat.
LOSS_SHOWN = 4.0


def smooth(values: Sequence[float], window: int = 10) -> np.ndarray:
    """Running mean over the last `window` values, shape as given."""
    return pd.Series(values).rolling(window, min_periods=1).mean().to_numpy()


def plot_history(history, title: str = "Fine-tuning") -> Figure:
    """Loss at every step with validation loss, and validation macro-F1, of a `training.History`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    steps = np.arange(1, len(history.loss) + 1)
    epochs = history.table()
    left.plot(steps, history.loss, color="#1b6ca8", alpha=0.25, linewidth=1, label="training, each step")
    left.plot(steps, smooth(history.loss), color="#1b6ca8", label="training, mean of 10 steps")
    left.plot(epochs["step"], epochs["validation_loss"], label="validation", **LINES[1])
    left.set(title=f"{title}: loss", xlabel="optimizer step", ylabel="cross-entropy (nats)", ylim=(0, None))
    left.legend()
    right.plot(epochs.index, epochs["macro_f1"], **LINES[0])
    right.set(title="Validation macro-F1", xlabel="epoch", ylim=(0, 1), xticks=epochs.index)
    best = "there is no validation yet"
    if history.best_epoch is not None:
        right.axvline(history.best_epoch, color="black", linestyle=":", label=f"best epoch: {history.best_epoch}")
        right.legend(loc="lower right")
        best = f"validation macro-F1 is best at ≈ {epochs['macro_f1'].max():.2f}"
    print(f"Figure: training loss goes from ≈ {history.loss[0]:.2f} to ≈ {smooth(history.loss)[-1]:.2f}; {best}.")
    plt.close(figure)
    return figure


def plot_learning_rates(rates: dict[str, Sequence[float]], title: str = "Learning-rate schedules") -> Figure:
    """Learning rate over the steps, one line for each named schedule."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for style, (name, values) in zip(LINES, rates.items(), strict=False):
        axes.plot(np.arange(1, len(values) + 1), values, label=name, markevery=max(1, len(values) // 8), **style)
    axes.set(title=title, xlabel="optimizer step", ylabel="learning rate", ylim=(0, None))
    axes.legend()
    peaks = "; ".join(
        f"{n} peaks at {max(v):g} at step {int(np.argmax(v)) + 1}, ends at {v[-1]:.2g}" for n, v in rates.items()
    )
    print(f"Figure: {peaks}.")
    plt.close(figure)
    return figure


def plot_next_tokens(tokens: Sequence[str], probabilities: Sequence[float], prompt: str) -> Figure:
    """Bars of the most probable next tokens after a prompt."""
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(tokens) + 1), layout="constrained")
    names = [repr(token) for token in tokens]
    bars = axes.barh(names[::-1], list(probabilities)[::-1], color="#9fc5e0", edgecolor="#1b6ca8", hatch="//")
    axes.bar_label(bars, fmt="{:.2f}", padding=3)
    axes.set(title=f"Next token after {prompt!r}", xlabel="probability", xlim=(0, max(probabilities) * 1.15))
    print(f"Figure: the most probable next token is {names[0]}.")
    plt.close(figure)
    return figure


def plot_lengths(lengths: dict[str, Sequence[int]], unit: str = "tokens", limit: int | None = None) -> Figure:
    """Histogram of text lengths, one outline for each named group, and a line at the length where texts are cut."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    top = max(limit or 0, *(max(values) for values in lengths.values()))
    for style, (name, values) in zip(LINES, lengths.items(), strict=False):
        axes.hist(
            values, bins=np.linspace(0, top, 31), weights=np.full(len(values), 1 / len(values)), histtype="step",
            label=name, linewidth=1.6, color=style["color"], linestyle=style["linestyle"],
        )  # fmt: skip
    if limit is not None:
        axes.axvline(limit, color="black", linestyle=":", label=f"limit: {limit}")
    axes.set(title=f"Length in {unit}", xlabel=unit, ylabel="share of texts")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    print("Figure: median length " + "; ".join(f"{n} {int(np.median(v))} {unit}" for n, v in lengths.items()) + ".")
    plt.close(figure)
    return figure


def plot_label_shares(labels: dict[str, pd.Series]) -> Figure:
    """Bars of each label's share, one group of bars for each named column of labels, which may differ in length."""
    table = pd.DataFrame({name: column.value_counts(normalize=True) for name, column in labels.items()}).fillna(0)
    table = table.sort_values(next(iter(labels)), ascending=False)
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    table.plot.bar(ax=axes, rot=30, edgecolor="black", color=["#9fc5e0", "#f2b78b", "#b5d6a7", "#cdbfe0"])
    for bars, hatch in zip(axes.containers, ["", "//", "..", "xx"], strict=False):
        for bar in bars:
            bar.set_hatch(hatch)
    axes.set(title="Share of each label", xlabel="", ylabel="share of texts")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    gap = (table.max(axis=1) - table.min(axis=1)).max()
    print(
        f"Figure: the largest label is {table.index[0]!r}, the smallest {table.index[-1]!r}; "
        f"no label's share differs by more than {gap:.1%} between the groups."
    )
    plt.close(figure)
    return figure


def plot_confusion(evaluation) -> Figure:
    """Confusion matrix of an `evaluation.Evaluation`: shares of each true class by shade, counts written in."""
    counts = evaluation.confusion_table()
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    figure, axes = plt.subplots(figsize=(6.4, 5.2), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=max(shares.to_numpy().max(), 0.01))
    for (i, j), count in np.ndenumerate(counts.to_numpy()):
        color = "white" if image.norm(shares.iat[i, j]) > 0.5 else "black"
        axes.text(j, i, str(count), ha="center", va="center", color=color)
    axes.set_xticks(range(len(counts)), counts.columns, rotation=40, ha="right")
    axes.set_yticks(range(len(counts)), counts.index)
    axes.set(title="Confusion matrix: counts, shaded by share of the row", xlabel="predicted", ylabel="true")
    figure.colorbar(image, label="share of the true class")
    off = counts.where(~np.eye(len(counts), dtype=bool), 0).stack()
    true, predicted = off.idxmax()
    print(
        f"Figure: ≈ {np.trace(counts)} of {counts.to_numpy().sum()} on the diagonal; "
        f"the commonest mix-up is {true!r} taken for {predicted!r}."
    )
    plt.close(figure)
    return figure


def plot_comparison(scores: dict[str, tuple[float, float, float]], metric: str = "macro-F1") -> Figure:
    """Points with intervals, one row for each named (value, low, high)."""
    figure, axes = plt.subplots(figsize=(7, 0.45 * len(scores) + 1.2), layout="constrained")
    names = list(scores)[::-1]
    for y, name in enumerate(names):
        value, low, high = scores[name]
        axes.plot([low, high], [y, y], color="#1b6ca8", linewidth=3, alpha=0.5)
        axes.plot(value, y, "o", color="#1b6ca8")
        axes.annotate(f"{value:.2f}", (value, y), textcoords="offset points", xytext=(0, 7), ha="center")
    axes.set_yticks(range(len(names)), names)
    axes.set(title=f"{metric} with 95 % intervals", xlabel=metric, xlim=(0, 1), ylim=(-0.5, len(names) - 0.3))
    axes.grid(axis="x", alpha=0.3)
    print(
        f"Figure: {metric} "
        + "; ".join(f"{n} ≈ {v:.2f} (≈ {low:.2f} to ≈ {high:.2f})" for n, (v, low, high) in scores.items())
        + "."
    )
    plt.close(figure)
    return figure


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
    for style, run in zip(LINES[1:] * 2, earlier, strict=False):
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
    loss.plot(steps, smooth(history.loss), label=name, **line)
    score.plot([row["step"] for row in history.epochs], [row["macro_f1"] for row in history.epochs], **style)
    # A rate of zero, where a schedule begins or ends, has no place on a log axis.
    rate.plot(steps, np.where(np.array(history.learning_rate) > 0, history.learning_rate, np.nan), **line)


def draw_range_test(figure: Figure, rates: Sequence[float], losses: Sequence[float], marks: dict[str, float]) -> None:
    """Loss against learning rate of a range test; `marks` are named rates, drawn as vertical lines."""
    (axes,) = empty_axes(figure, [1])
    axes.plot(rates, losses, color="#1b6ca8", alpha=0.3, linewidth=1)
    axes.plot(rates, smooth(losses), **{**LINES[0], "marker": None}, label="mean of 10 steps")
    for style, (name, value) in zip(LINES[1:], marks.items(), strict=False):
        axes.axvline(value, color=style["color"], linestyle=style["linestyle"], label=f"{name}: {value:.1e}")
    axes.set(title="Range test", xlabel="learning rate", ylabel="cross-entropy (nats)", xscale="log")
    axes.legend()
    figure.subplots_adjust(left=0.08, right=0.98, top=0.9, bottom=0.15)


def draw_gap(figure: Figure, current, earlier: Sequence = ()) -> None:
    """Training and validation loss with the gap between them shaded, and validation macro-F1, with the best point."""
    loss, score = empty_axes(figure, [1.5, 1])
    for style, run in zip(LINES[1:] * 2, earlier, strict=False):
        rows = run.history.table()
        loss.plot(rows["step"], rows["validation_loss"], **{**style, "linewidth": 1}, label=f"validation, {run.name}")
        score.plot(rows["step"], rows["macro_f1"], **{**style, "linewidth": 1})
    if current is not None and current.history.epochs:
        rows = current.history.table()
        best = rows.loc[current.history.best_epoch]
        loss.plot(rows["step"], rows["train_loss"], label="training", color="#1b6ca8", linestyle="--", marker=".")
        loss.plot(rows["step"], rows["validation_loss"], label="validation", **LINES[0], linewidth=2.2)
        loss.fill_between(rows["step"], rows["train_loss"], rows["validation_loss"], alpha=0.15, label="gap")
        score.plot(rows["step"], rows["macro_f1"], **LINES[0], linewidth=2.2)
        for axes in (loss, score):
            axes.axvline(best["step"], color="black", linestyle=":", label="lowest validation loss, restored")
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
    styles = [
        *LINES,
        dict(color="#555555", linestyle="-", marker="v"),
        dict(color="#a61c5d", linestyle="--", marker="P"),
    ]
    for style, (name, rows) in zip(styles, curves.items(), strict=False):
        sizes, means, halves = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        axes.plot(sizes, means, label=name, **style)
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
