"""Pictures of the labs: drawn on a given figure, again and again, in whatever thread the training runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from course_utils.diagnosis import running_mean
from course_utils.plots.style import LINES, plain, styles

# The highest loss (nats) on the chart of lesson 7, twice that of guessing among eight queues: a run that has diverged
# leaves the chart, and the others are not pressed flat.
LOSS_SHOWN = 4.0


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
