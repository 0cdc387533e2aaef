"""Figures of lesson 6: which labels are mixed up, whether confidence can be trusted, and scores with intervals."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_utils.evaluation import accuracy_interval
from course_utils.plots.style import WRITTEN, close, headline, plain, short_names, spread, styles


def plot_confusion(evaluation) -> Figure:
    """Confusion matrix of an `evaluation.Evaluation`: shares of each true class by shade, counts written in.

    Beyond 20 labels its cells hold no numbers. Long labels are cut in the figure.
    """
    counts = evaluation.confusion_table()
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    names, is_written = short_names(counts.index), len(counts) <= WRITTEN
    more = 0.3 * max(0, min(len(counts), 24) - 10)  # inches
    letters = 10 if is_written else max(2, 350 / len(counts))
    figure, axes = plt.subplots(figsize=(6.4 + more, 5.2 + more), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=max(shares.to_numpy().max(), 0.01))
    for (i, j), count in np.ndenumerate(counts.to_numpy()) if is_written else ():
        color = "white" if image.norm(shares.iat[i, j]) > 0.5 else "black"
        axes.text(j, i, str(count), ha="center", va="center", color=color)
    axes.set_xticks(range(len(counts)), names, rotation=40, ha="right", fontsize=letters)
    axes.set_yticks(range(len(counts)), names, fontsize=letters)
    title = f"Confusion matrix{': counts' if is_written else ''}, shaded by share of the row"
    axes.set(title=title, xlabel="predicted", ylabel="true")
    figure.colorbar(image, label="share of the true class")
    off = counts.where(~np.eye(len(counts), dtype=bool), 0).stack()
    true, predicted = off.idxmax()
    mixed = f"by counts, the commonest mix-up is {true!r} taken for {predicted!r}" if off.max() else "none is mixed up"
    return close(figure, f"≈ {np.trace(counts)} of {counts.to_numpy().sum()} on the diagonal; {mixed}")


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
    axes.set(
        title=f"{headline(metric)} with 95 % intervals",
        xlabel=metric,
        xlim=(0, 1),
        ylim=(-0.5, len(names) - 0.3),
    )
    axes.grid(axis="x", alpha=0.3)
    shown = "; ".join(f"{n} ≈ {v:.2f} (≈ {low:.2f} to ≈ {high:.2f})" for n, (v, low, high) in scores.items())
    return close(figure, f"{metric} {shown}")


# --- two sets ---------------------------------------------------------------------------------------------------


def plot_two_sets(
    scores: dict[str, tuple[float, float]], metric: str = "macro-F1", true: float | None = None
) -> Figure:
    """Slopes from validation to test, one for each named (validation score, test score).

    With `true`, the score that all of them really have, the lines are many and nameless, and that score is drawn too.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    pairs = np.array(list(scores.values()))
    named = true is None
    lines = styles(len(pairs)) if named else [{"color": "#1b6ca8", "alpha": 0.35}] * len(pairs)
    for style, pair in zip(lines, pairs, strict=True):
        axes.plot([0, 1], pair, **style)
    if named:
        for name, height in zip(scores, spread(pairs[:, 1], 0.07), strict=True):
            axes.annotate(plain(f"   {name}"), (1, height), va="center")
        axes.set_ylim(0, 1)
    else:
        axes.plot([0, 1], pairs.mean(axis=0), color="black", linewidth=3, marker="o", label="mean of the winners")
        axes.axhline(true, color="#c2571a", linestyle="--", label=f"what all of them are worth: {true:g}")
        axes.legend(loc="upper right")
    axes.set_xticks([0, 1], ["validation", "test"])
    axes.set(
        title=f"{headline(metric)}: validation beside test",
        ylabel=metric,
        xlim=(-0.15, 1.9 if named else 1.15),
    )
    axes.grid(axis="y", alpha=0.3)
    if named:
        words = "; ".join(f"{name} ≈ {before:.2f} and ≈ {after:.2f}" for name, (before, after) in scores.items())
        return close(figure, f"{metric} on validation and on test: {words}")
    before, after = pairs.mean(axis=0)
    return close(
        figure, f"{len(pairs)} winners fall from {before:.3f} on validation to {after:.3f} on test, on average"
    )


# --- confidence -------------------------------------------------------------------------------------------------


def plot_reliability(evaluation, bins: int = 6) -> Figure:
    """Reliability diagram: accuracy against confidence, in `bins` groups of equally many answers, with 95 % intervals.

    On the diagonal, a model is right as often as it claims; below it, it claims too much.
    """
    confidence = evaluation.probabilities.max(axis=1)
    bins = min(bins, len(confidence))
    groups = np.array_split(np.argsort(confidence, kind="stable"), bins)
    figure, axes = plt.subplots(figsize=(5.2, 4.2), layout="constrained")
    axes.plot([0, 1], [0, 1], color="black", linestyle="--")
    along = {"rotation": 45, "rotation_mode": "anchor", "transform_rotates_text": True}
    axes.text(0.03, 0.05, "as good as it claims", va="bottom", **along)
    below = 0
    for group in groups:
        true, predicted, claimed = evaluation.true[group], evaluation.predicted[group], confidence[group].mean()
        low, high = accuracy_interval(true, predicted)
        axes.plot([claimed, claimed], [low, high], color="#1b6ca8", linewidth=3, alpha=0.5)
        axes.plot(claimed, (true == predicted).mean(), "o", color="#1b6ca8")
        below += high < claimed
    whole = (0, 1.02)  # the frame cuts no mark at 1 in half
    axes.set(title=f"Reliability: {bins} groups of equally many answers", xlim=whole, ylim=whole)
    axes.set(xlabel="mean confidence of the group", ylabel="accuracy of the group")
    axes.grid(alpha=0.3)
    words = f"mean confidence is ≈ {confidence.mean():.2f}, accuracy ≈ {evaluation.accuracy:.2f}"
    return close(figure, f"{words}; in ≈ {below} of {bins} groups the whole interval lies below the diagonal")


def draw_coverage(axes: Axes, evaluation, threshold: float | None = None) -> None:
    """Accuracy of the surest answers against their share (coverage), with its 95 % band; a threshold as a mark."""
    confidence = evaluation.probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum(evaluation.true[order] == evaluation.predicted[order])
    counts = np.arange(1, len(order) + 1)
    shown = counts >= min(20, len(order))  # fewer answers than that say nothing
    bands = [accuracy_interval(np.arange(n) < r, np.ones(n)) for n, r in zip(counts[shown], right[shown], strict=True)]
    low, high = np.array(bands).T
    axes.plot(counts[shown] / len(order), right[shown] / counts[shown], color="#1b6ca8")
    axes.fill_between(counts[shown] / len(order), low, high, color="#1b6ca8", alpha=0.15)
    if threshold is not None:
        share = (confidence >= threshold).mean()
        axes.axvline(share, color="black", linestyle=":")
        axes.text(share, 0.03, f" threshold {threshold:.2f}", ha="left" if share < 0.7 else "right")
    axes.set(title="Accuracy of the answers given", xlim=(0, 1), ylim=(0, 1))
    axes.set(xlabel="coverage: share of tickets that are answered", ylabel="accuracy, with 95 % band")
    axes.grid(alpha=0.3)


def plot_coverage(evaluation, threshold: float | None = None) -> Figure:
    """Accuracy against coverage of an `evaluation.Evaluation`, surest answers first, with a threshold if given."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    draw_coverage(axes, evaluation, threshold)
    right = evaluation.true == evaluation.predicted
    surest = np.argsort(-evaluation.probabilities.max(axis=1), kind="stable")[: -(-len(right) // 2)]
    return close(
        figure, f"accuracy is ≈ {right.mean():.2f} on all tickets and ≈ {right[surest].mean():.2f} on the surer half"
    )
