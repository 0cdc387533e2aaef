"""Figures of lessons 4 and 5: learning-rate schedules, gradient norms, and runs of fine-tuning."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from course_utils.diagnosis import running_mean
from course_utils.plots.style import BEHIND, LINES, close, headline, label_decades, plain, spread, styles


def plot_history(history, title: str = "Fine-tuning") -> Figure:
    """Loss at every step with validation loss, and validation macro-F1, of a `training.History`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    steps, mean = np.arange(1, len(history.loss) + 1), running_mean(history.loss)
    rows = history.table()
    left.plot(steps, history.loss, color="#1b6ca8", alpha=0.25, linewidth=1, label="training, each step")
    left.plot(steps, mean, color="#1b6ca8", label="training, mean of 10 steps")
    left.plot(rows.index, rows["validation_loss"], label="validation", **LINES[1])
    left.set(title=f"{plain(title)}: loss", xlabel="optimizer step", ylabel="cross-entropy (nats)")
    left.set_ylim(0, 1.35 * left.get_ylim()[1])  # room for the legend
    left.legend(loc="upper right")
    right.plot(rows.index, rows["macro_f1"], **LINES[0])
    right.set(title="Validation macro-F1", xlabel="optimizer step", xlim=left.get_xlim(), ylim=(0, 1))
    best = "there is no validation yet"
    if history.best_step is not None:
        right.axvline(history.best_step, color="black", linestyle=":")
        early = history.best_step <= len(history.loss) / 2  # the text stands where there is more room
        right.text(history.best_step, 0.03, f" best step: {history.best_step} ", ha="left" if early else "right")
        best = f"validation macro-F1 is best at ≈ {rows['macro_f1'].max():.2f}"
    return close(figure, f"training loss goes from ≈ {history.loss[0]:.2f} to ≈ {mean[-1]:.2f}; {best}")


def plot_learning_rates(rates: dict[str, Sequence[float]], title: str = "Learning-rate schedules") -> Figure:
    """Learning rate of each step, counted from 1: one line for each named schedule, its markers at places of its own.

    Where schedules agree, as in a common warm-up, the markers show that several lines lie on one another.
    """
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for i, (style, (name, values)) in enumerate(zip(styles(len(rates)), rates.items(), strict=True)):
        often = max(len(rates), len(values) // 10)  # steps between two markers of a line
        marks = (i * often // len(rates), often)
        axes.plot(np.arange(1, len(values) + 1), values, label=plain(name), markevery=marks, **style)
    axes.set(title=plain(title), xlabel="optimizer step", ylabel="learning rate")
    axes.set_ylim(0, 1.15 * max(max(values) for values in rates.values()))  # room for a name
    name_schedules(axes, rates)
    peaks = "; ".join(
        f"{n} peaks at {max(v):g} at step {int(np.argmax(v)) + 1}, ends at {v[-1]:.2g}" for n, v in rates.items()
    )
    return close(figure, peaks)


def name_schedules(axes: Axes, rates: dict[str, Sequence[float]]) -> None:
    """Write each schedule's name at the step where it is farthest from the others: below the lowest, else above."""
    common = min(map(len, rates.values()))  # steps that all of them have
    for style, (name, values) in zip(styles(len(rates)), rates.items(), strict=True):
        others = [np.asarray(other, dtype=float)[:common] for key, other in rates.items() if key != name]
        gaps = np.min([np.abs(other - values[:common]) for other in others], axis=0) if others else np.asarray(values)
        step = int(np.argmax(gaps))
        lowest = all(values[step] <= other[step] for other in others) and bool(others)
        left = lowest or step > 0.85 * len(values)  # on the right there would be no room
        axes.annotate(
            plain(name), (step + 1, values[step]), (-6 if left else 6, -4 if lowest else 4), color=style["color"],
            textcoords="offset points", ha="right" if left else "left", va="top" if lowest else "bottom",
        )  # fmt: skip


def plot_gradient_norms(norms: Sequence[float], limit: float) -> Figure:
    """The gradient's norm at every step, before clipping, with the limit that it is clipped to."""
    norms, steps = np.asarray(norms), np.arange(1, len(norms) + 1)
    clipped = norms > limit
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(steps, norms, color="#555555", linewidth=1)
    if clipped.any():
        axes.plot(steps[clipped], norms[clipped], "^", color="#c2571a", label=f"clipped: {clipped.sum()} steps")
    if not clipped.all():
        axes.plot(steps[~clipped], norms[~clipped], "o", color="#1b6ca8", label=f"left alone: {(~clipped).sum()} steps")
    axes.axhline(limit, color="black", linestyle="--")
    axes.text(steps[-1], limit, f"limit {limit:g} ", ha="right", va="bottom")
    axes.set(title="Norm of all gradients together, before clipping", xlabel="optimizer step", ylabel="norm")
    axes.set_ylim(0, None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    words = f"the limit of {limit:g} is exceeded in ≈ {clipped.sum()} of {len(norms)} steps"
    return close(figure, f"{words}; the norms lie between ≈ {norms.min():.1f} and ≈ {norms.max():.1f}")


def plot_losses(
    runs: dict[str, Sequence[float]], classes: int, title: str = "Training loss", log: bool = False
) -> Figure:
    """Training loss of every step, one line for each named run, and the loss of guessing among so many classes.

    With `log`, on a logarithmic axis: for runs of which one explodes.
    """
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    ends = [losses[-1] for losses in runs.values()]
    if not log and np.isfinite(ends).all():
        top = max(map(max, runs.values()))
        ends = spread(np.maximum(ends, 0.05 * top), 0.07 * top)  # no name covers another, or lies on the axis
    for style, (name, losses), end in zip(styles(len(runs)), runs.items(), ends, strict=True):
        axes.plot(np.arange(1, len(losses) + 1), losses, **style, markersize=4)
        beside = {"textcoords": "offset points", "va": "center", "bbox": BEHIND, "color": style["color"]}
        axes.annotate(plain(name), (len(losses), end), (9, 0), **beside)
    said = f"guessing among {classes}: {np.log(classes):.2f}"
    axes.axhline(np.log(classes), color="black", linestyle=":", label=said)
    axes.margins(x=0.25)
    axes.set_xlim(left=0)
    axes.set(title=plain(title), xlabel="optimizer step", ylabel="cross-entropy (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        axes.set_yscale("log")
        label_decades(axes)
    else:
        axes.set_ylim(0, None)
    axes.legend()
    words = "; ".join(f"{name}: from ≈ {losses[0]:.2f} to ≈ {losses[-1]:.2f}" for name, losses in runs.items())
    return close(figure, f"training loss of {words}")


def plot_scores(curves: dict[str, dict[int, float]], metric: str = "validation macro-F1") -> Figure:
    """A score against optimizer steps: one line for each named {step: score}, its best step marked with a ring."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    words = []
    for style, (name, curve) in zip(styles(len(curves)), curves.items(), strict=True):
        steps, scores = list(curve), list(curve.values())
        best = int(np.argmax(scores))
        axes.plot(steps, scores, label=plain(name), **style)
        axes.plot(steps[best], scores[best], "o", markersize=13, fillstyle="none", color="black")
        words.append(f"{name} is best at ≈ {scores[best]:.2f}, after ≈ {steps[best]} steps")
    ends = [list(curve.items())[-1] for curve in curves.values()]
    for name, (step, _), height in zip(curves, ends, spread([score for _, score in ends], 0.08), strict=True):
        axes.annotate(plain(name), (step, height), xytext=(12, 0), textcoords="offset points", va="center")
    axes.set(title=f"{headline(metric)} against steps", xlabel="optimizer step", ylabel=metric, ylim=(0, 1))
    axes.margins(x=0.22)
    axes.set_xlim(left=-0.02 * max(step for step, _ in ends))
    axes.grid(alpha=0.3)
    return close(figure, "; ".join(words))


def plot_step_lengths(runs: dict[str, Sequence[float]]) -> Figure:
    """How far an optimizer moves one weight at every step, in learning rates: one line for each named run."""
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for style, (name, lengths) in zip(styles(len(runs)), runs.items(), strict=True):
        line = {**style, "marker": None, "linewidth": 1.2}
        axes.plot(np.arange(1, len(lengths) + 1), lengths, label=plain(name), **line)
    axes.axhline(1, color="black", linestyle=":")
    axes.text(1, 1.05, "the learning rate", va="bottom")
    axes.set(title="Length of AdamW's steps for one weight", xlabel="optimizer step", ylabel="learning rates")
    axes.legend(loc="upper right")
    words = []
    for name, lengths in runs.items():
        late = np.mean(lengths[-100:])
        words.append(f"{name}: longest step {max(lengths):.2f} learning rates, mean of the last hundred {late:.2f}")
    return close(figure, "; ".join(words))
