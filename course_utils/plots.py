"""Every figure of the lessons. Each function draws one figure and prints the same facts as a line of text.

Figures can be read without colour: lines differ in dash and marker, bars in hatching, cells hold their numbers. In a
summary, ≈ stands before a number that was measured on a trained model.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

LINES = [
    dict(color="#1b6ca8", linestyle="-", marker="o"),
    dict(color="#c2571a", linestyle="--", marker="s"),
    dict(color="#3b7d3a", linestyle="-.", marker="^"),
    dict(color="#6a4c93", linestyle=":", marker="D"),
]


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


def plot_lengths(lengths: dict[str, Sequence[int]], unit: str = "tokens") -> Figure:
    """Histogram of text lengths, one outline for each named group."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    top = max(max(values) for values in lengths.values())
    for style, (name, values) in zip(LINES, lengths.items(), strict=False):
        axes.hist(
            values, bins=np.linspace(0, top, 31), histtype="step", density=True, label=name, linewidth=1.6,
            color=style["color"], linestyle=style["linestyle"],
        )  # fmt: skip
    axes.set(title=f"Length in {unit}", xlabel=unit, ylabel="share of texts")
    axes.set_yticks([])
    axes.legend()
    print("Figure: median length " + "; ".join(f"{n} {int(np.median(v))} {unit}" for n, v in lengths.items()) + ".")
    plt.close(figure)
    return figure


def plot_label_counts(counts: dict[str, pd.Series]) -> Figure:
    """Bars of the number of texts of each label, one group of bars for each named table of counts."""
    table = pd.DataFrame(counts)
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    table.plot.bar(ax=axes, rot=30, edgecolor="black", color=["#9fc5e0", "#f2b78b", "#b5d6a7", "#cdbfe0"])
    for bars, hatch in zip(axes.containers, ["", "//", "..", "xx"], strict=False):
        for bar in bars:
            bar.set_hatch(hatch)
    axes.set(title="Texts of each label", xlabel="", ylabel="texts")
    axes.legend()
    total = table.sum(axis=1)
    print(f"Figure: the largest label is {total.idxmax()!r}, the smallest {total.idxmin()!r}.")
    plt.close(figure)
    return figure


def plot_confusion(evaluation) -> Figure:
    """Confusion matrix of an `evaluation.Evaluation`: shares of each true class by shade, counts written in."""
    counts = evaluation.confusion_table()
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    figure, axes = plt.subplots(figsize=(6.4, 5.2), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts.to_numpy()):
        axes.text(j, i, str(count), ha="center", va="center", color="white" if shares.iat[i, j] > 0.5 else "black")
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
