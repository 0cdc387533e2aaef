"""Pictures of the labs: drawn on a given figure, again and again, in whatever thread the training runs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_utils.diagnosis import WINDOW, running_mean
from course_utils.plots.style import BEHIND, FILLS, LINES, name_ends, plain, styles

# The highest loss (nats) on the chart of lesson 7, twice that of guessing among eight queues: a run that has diverged
# leaves the chart, and the others are not pressed flat.
LOSS_SHOWN = 4.0
CELL = 0.9  # width of a full bar, where the columns of the messages are 1 apart


def empty_axes(figure: Figure, widths: Sequence[float], tickets=None, **margins: float) -> Sequence[Axes]:
    """Give a row of axes of these relative widths, with few ticks and nothing drawn on them; `margins` in parts of 1.

    With `tickets`, a `labs.tickets.Tickets`, their bars are drawn below the row.
    """
    # Most of the time that a picture takes goes into its ticks. So axes that are there already are used again.
    if len(figure.axes) != len(widths) + (tickets is not None):
        figure.clear()
        place = {"left": 0.06, "right": 0.99, "top": 0.93, "bottom": 0.13} | margins
        if tickets is not None:
            place["bottom"] = 0.47
        for axes in figure.add_gridspec(1, len(widths), width_ratios=widths, **place).subplots(squeeze=False)[0]:
            axes.locator_params(nbins=5)
        if tickets is not None:
            figure.add_subplot(figure.add_gridspec(1, 1, left=0.31, right=0.97, top=0.29, bottom=0.01)[0])
    for axes in figure.axes:
        for artist in [*axes.lines, *axes.collections, *axes.texts, axes.get_legend()]:
            if artist is not None:
                artist.remove()
        axes.set_prop_cycle(None)
    if tickets is not None:
        draw_tickets(figure.axes[-1], tickets)
    return figure.axes[: len(widths)]


def draw_tickets(axes: Axes, tickets) -> None:
    """A row for each message, a column for each queue; a full cell is a probability of 1, the right one has a frame."""
    columns = np.arange(len(tickets.labels))
    for y, (_, queue) in enumerate(tickets.rows):
        right = tickets.labels.index(queue)
        axes.broken_barh([(x, CELL) for x in columns], (y - 0.35, 0.7), facecolor="#eeeeee")
        if tickets.probabilities is not None:
            row = tickets.probabilities[y]
            axes.broken_barh(
                [(x, CELL * share) for x, share in zip(columns, row, strict=True)], (y - 0.35, 0.7), facecolor=FILLS[0],
                edgecolor="#1b6ca8", linewidth=0.8,
            )  # fmt: skip
            for x in {right, int(row.argmax())}:
                axes.text(x + 0.04, y, f"{row[x]:.2f}", va="center", fontsize=8, bbox=BEHIND)
            axes.text(len(columns), y, "right" if row.argmax() == right else "wrong", va="center", fontsize=8)
        axes.broken_barh([(right, CELL)], (y - 0.35, 0.7), facecolor="none", edgecolor="black", linewidth=1.6)
    axes.set_yticks(range(len(tickets.rows)), [plain(text) for text, _ in tickets.rows], fontsize=9)
    axes.set_xticks(columns + CELL / 2, list(map(plain, tickets.labels)), fontsize=9)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set(xlim=(-0.05, len(columns) + 0.2), ylim=(len(tickets.rows) - 0.5, -0.5))
    axes.spines[:].set_visible(False)


# --- lesson 7 ---------------------------------------------------------------------------------------------------


def draw_runs(figure: Figure, current, earlier: Sequence = (), tickets=None, hidden: Sequence = ()) -> None:
    """Loss, validation macro-F1 and learning rate over the steps of `live.LiveTraining` runs, the current one in front.

    Draws on `figure`, wiping it first. Changes of the rate by hand are dotted lines; the rates of `hidden` runs are
    left out.
    """
    loss, score, rate = empty_axes(figure, [2, 1.2, 1.2], tickets, wspace=0.25)
    for style, run in zip(styles(len(earlier), skip=1), earlier, strict=True):
        draw_run(loss, score, rate, run, {**style, "linewidth": 1.3, "alpha": 0.8}, run.name, run in hidden)
    if current is not None and current.history.loss:
        name = f"this run: {current.name}" if current.name else "this run"
        # Its marker is large and open: another run with the same score shows inside it.
        front = {**LINES[0], "linewidth": 2.2, "markersize": 10, "fillstyle": "none"}
        draw_run(loss, score, rate, current, front, name, current in hidden)
        for step, _ in current.changes:
            for axes in (loss, score, rate):
                axes.axvline(step, color="black", linestyle=":", linewidth=1)
    loss.set(title="training loss: each step (thin), mean of 10", xlabel="step", ylabel="cross-entropy (nats)")
    loss.set_ylim(0, LOSS_SHOWN)
    score.set(title="validation macro-F1", xlabel="step", ylim=(0, 1))
    rate.set(title="learning rate" + (" (hidden)" if hidden else ""), xlabel="step", yscale="log")
    rate.minorticks_off()
    runs = [*earlier, current] if current is not None else earlier
    if runs and all(run in hidden for run in runs):
        rate.set_yticks([])
        rate.text(0.5, 0.5, "hidden", transform=rate.transAxes, ha="center")
    for axes in (loss, score, rate):
        axes.set_xlim(0, 1.04 * max((run.steps for run in runs), default=1))  # room for the last marker
    if loss.get_legend_handles_labels()[0]:
        loss.legend(fontsize=8, loc="lower left")  # a run that comes down from above passes on the right


def draw_run(loss: Axes, score: Axes, rate: Axes, run, style: dict, name: str, hidden: bool = False) -> None:
    """One run's lines. `style` is for plot; markers only where there are few points."""
    history = run.history
    steps = np.arange(1, len(history.loss) + 1)
    line = {**style, "marker": None}
    loss.plot(steps, running_mean(history.loss), label=plain(name), **line)
    loss.plot(steps, history.loss, color=style["color"], alpha=0.3, linewidth=0.8, zorder=1)
    score.plot(history.table()["macro_f1"], **style)
    if not hidden:
        # A rate of zero, where a schedule begins or ends, has no place on a log axis.
        rate.plot(steps, np.where(np.array(history.learning_rate) > 0, history.learning_rate, np.nan), **line)


def draw_range_test(figure: Figure, rates: Sequence[float], losses: Sequence[float], marks: dict[str, float]) -> None:
    """Loss against learning rate of a range test; `marks` are named rates, drawn as vertical lines.

    The axis ends a little above one and a half times the loss of the start, where the test ends, so that a dip shows.
    """
    (axes,) = empty_axes(figure, [1], left=0.08, right=0.98)
    axes.plot(rates, losses, color="#1b6ca8", alpha=0.3, linewidth=1)
    # A running mean lags: it is drawn at the middle of its steps, where `read_range_test` reads it.
    middles = 10 ** running_mean(np.log10(rates)) if len(rates) else rates
    whole = slice(WINDOW - 1, None)  # the first means are of fewer steps
    axes.plot(middles[whole], running_mean(losses)[whole], **{**LINES[0], "marker": None}, label="mean of 10 steps")
    if len(losses):
        start = np.mean(losses[:WINDOW])
        axes.axhline(start, color="black", linestyle=":", linewidth=1, label=f"at the start: {start:.2f}")
        axes.set_ylim(min(0.6 * start, 0.9 * min(losses)), 1.65 * start)
    for style, (name, value) in zip(styles(len(marks), skip=1), marks.items(), strict=True):
        axes.axvline(value, color=style["color"], linestyle=style["linestyle"], label=f"{name}: {value:.1e}")
    axes.set(title="Range test", xlabel="learning rate", ylabel="cross-entropy (nats)", xscale="log")
    axes.legend()


# --- lesson 8 ---------------------------------------------------------------------------------------------------


def draw_gap(
    figure: Figure, current, earlier: Sequence = (), tickets=None, kept: str = "best step", shaded: bool = True
) -> None:
    """Training and validation loss with the gap between them shaded, and validation macro-F1, with the best point.

    `kept` names the mark of the step whose weights are kept; without `shaded` the gap is not. With `tickets`, a dotted
    line shows the loss of guessing among their queues.
    """
    loss, score = empty_axes(figure, [1.5, 1], tickets, wspace=0.18)
    for style, run in zip(styles(len(earlier), skip=1), earlier, strict=True):
        draw_losses(loss, run, {**style, "linewidth": 1.3}, run.name)
        score.plot(run.history.table()["macro_f1"], **style, linewidth=1.3)
    if current is not None and current.history.best_step is not None:
        rows = current.history.table()
        name = f"this run: {current.name}" if current.name else "this run"
        draw_losses(loss, current, {**LINES[0], "linewidth": 2.2}, name)
        if shaded:
            loss.fill_between(rows.index, rows["train_loss"], rows["validation_loss"], alpha=0.15, label="its gap")
        score.plot(rows["macro_f1"], **LINES[0], linewidth=2.2)
        for axes in (loss, score):
            axes.axvline(current.history.best_step, color="black", linestyle=":", label=kept)
    loss.set(title="loss: validation (with markers), training (thin)", xlabel="step", ylabel="cross-entropy (nats)")
    top = max([1.0, *(max(line.get_ydata(), default=0) for line in loss.lines)])
    loss.set_ylim(0, 1.5 * top)  # room for the legend above the curves
    if tickets is not None:
        chance = np.log(len(tickets.labels))
        loss.axhline(chance, color="#555555", linestyle=":", linewidth=1, label=f"guessing: {chance:.2f}")
    score.set(title="validation macro-F1", xlabel="step", ylim=(0, 1))
    runs = [*earlier, current] if current is not None else earlier
    for axes in (loss, score):
        axes.set_xlim(0, 1.04 * max((run.steps for run in runs), default=1))  # room for the last marker
    if loss.get_legend_handles_labels()[0]:
        loss.legend(fontsize=8, loc="upper left", ncols=2, framealpha=1)


def draw_losses(axes: Axes, run, style: dict, name: str) -> None:
    """One run's validation loss, with markers, and its training loss, thin and without."""
    rows = run.history.table()
    axes.plot(rows["validation_loss"], **style, label=plain(name))
    axes.plot(rows["train_loss"], **{**style, "marker": None, "linewidth": 0.9})


# --- lesson 9 ---------------------------------------------------------------------------------------------------


def draw_label_curves(
    figure: Figure, curves: dict, points: Sequence[tuple[str, float, float]] = (), tickets=None
) -> None:
    """Test macro-F1 against labels a class, a line with its 95 % band for each contestant, and single points.

    `curves` maps a contestant to a list of (labels, mean, half-width); `points` holds (name, labels, score), each drawn
    as a star with its number, in the colour of its contestant where that one has a curve.
    """
    (axes,) = empty_axes(figure, [1], tickets, left=0.08, right=0.98)
    colors, ends = {}, {}
    for style, (name, rows) in zip(styles(len(curves)), curves.items(), strict=True):
        sizes, means, halves = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        axes.plot(sizes, means, **style)
        axes.fill_between(sizes, means - halves, means + halves, color=style["color"], alpha=0.15)
        colors[name], ends[name] = style["color"], (sizes[-1], means[-1])
    for i, (name, size, score) in enumerate(points, start=1):
        axes.plot(size, score, "*", color=colors.get(name, "black"), markeredgecolor="black", markersize=14)
        shown = plain(f"{i}: {name}")
        axes.annotate(shown, (size, score), textcoords="offset points", xytext=(8, -3), fontsize=8)
    ticks = sorted({size for rows in curves.values() for size, *_ in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{size:.0f}" for size in ticks])
    axes.minorticks_off()
    axes.set(title="Means over the seeds, with their 95 % intervals", ylim=(0, 1))
    axes.set(xlabel="labels a queue (on the right: all, as a mean over the queues)", ylabel="test macro-F1")
    axes.set_xlim(ticks[0] / 1.15, 3 * ticks[-1])  # room for the names
    name_ends(axes, ends, 0.1 if tickets else 0.06, colors)
    axes.grid(alpha=0.3)
