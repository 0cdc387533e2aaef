"""Figures of lesson 10: scores against depth, and against the number of labels."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_utils.plots.labs import draw_label_curves
from course_utils.plots.style import close, name_ends, styles


def plot_depths(curves: dict[str, dict[int, float | Sequence[float]]], metric: str = "validation macro-F1") -> Figure:
    """A score against the number of blocks that a text has gone through: one line for each named {blocks: scores}.

    Several scores, one for each draw of labels, become their mean, in a band from the lowest to the highest.
    """
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    draws = {name: np.array([np.atleast_1d(scores) for scores in curve.values()]) for name, curve in curves.items()}
    words = []
    for style, (name, scores) in zip(styles(len(draws)), draws.items(), strict=True):
        blocks, means = list(curves[name]), scores.mean(axis=1)
        axes.plot(blocks, means, **style)
        axes.fill_between(blocks, scores.min(axis=1), scores.max(axis=1), color=style["color"], alpha=0.15)
        words.append(f"{name}: best ≈ {means.max():.2f}, last ≈ {means[-1]:.2f}")
    bands = (
        " (bands: from the lowest to the highest draw)" if any(scores.shape[1] > 1 for scores in draws.values()) else ""
    )
    axes.set(title="What frozen states tell, from the embeddings to the last block", ylabel=metric)
    axes.set(xlabel=f"blocks that the text has gone through{bands}", xticks=blocks)
    axes.set_ylim(0, max(scores.max() for scores in draws.values()) + 0.05)
    ends = {name: (blocks[-1], scores[-1].mean()) for name, scores in draws.items()}
    colors = {name: style["color"] for name, style in zip(draws, styles(len(draws)), strict=True)}
    name_ends(axes, ends, 0.04, colors)
    axes.set_xlim(-0.02 * blocks[-1], 1.35 * blocks[-1])
    axes.grid(alpha=0.3)
    return close(figure, "; ".join(words))


def plot_label_curves(curves: dict[str, list[tuple[float, float, float]]]) -> Figure:
    """Test macro-F1 against labels a class, as `results.label_curves` gives it, with 95 % bands."""
    figure = plt.figure(figsize=(8, 4.4))
    draw_label_curves(figure, curves)
    ends = [f"{name} {rows[0][1]:.2f} to {rows[-1][1]:.2f}" for name, rows in curves.items()]
    return close(figure, f"test macro-F1 from the fewest labels to the most: {'; '.join(ends)}")
