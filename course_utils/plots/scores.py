"""Figures of lesson 6: which labels are mixed up, and scores with their intervals."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from course_utils.plots.style import close, plain


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
