"""Figures of lessons 4 and 5: learning-rate schedules, and a run of fine-tuning."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from course_utils.diagnosis import running_mean
from course_utils.plots.style import LINES, close, plain, styles


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
