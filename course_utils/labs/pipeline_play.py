"""Play of lessons 4 and 6: batches and their padding, a schedule and its knobs, a threshold and what it costs.

box = BatchBox(lengths)
box                                          # in the last line of a cell: the widgets
box.set(batch_size=32, order="random")       # the same by code
box.figure()                                 # a static picture of what it shows
"""

from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from course_utils.evaluation import Evaluation
from course_utils.labs.controls import NAMED, WIDE, dropdown, rate_slider
from course_utils.labs.play import Play
from course_utils.pipeline import SCHEDULES, LengthBuckets, make_scheduler
from course_utils.plots.scores import draw_coverage
from course_utils.plots.style import LINES
from course_utils.plots.texts import draw_batch


def whole_slider(description: str, value: int, low: int, high: int, step: int = 1) -> widgets.IntSlider:
    """A named slider over whole numbers, which reports where it is let go."""
    return widgets.IntSlider(
        value=value, min=low, max=high, step=step, description=description, continuous_update=False, style=NAMED,
        layout=WIDE,
    )  # fmt: skip


class BatchBox(Play):
    """Choose a batch size and an order; see the first batches of an epoch, and how much of them is padding.

    lengths: tokens of each training text.
    """

    title = "Batch box"
    inches = (8.6, 2.6)
    shown = 4  # batches in the picture

    def __init__(self, lengths: Sequence[int], batch_size: int = 16):
        self.lengths = np.asarray(lengths)
        controls = {
            "batch_size": dropdown("batch size", (1, 2, 4, 8, 16, 32, 64), batch_size),
            "order": dropdown("order", ("random", "length buckets"), "length buckets"),
            "epoch": whole_slider("epoch", 1, 1, 5),
        }
        super().__init__(controls)

    def batches(self) -> list[np.ndarray]:
        """Lengths of the texts of every batch of the epoch."""
        size, epoch = self.controls["batch_size"].value, self.controls["epoch"].value
        # A pool of one batch leaves the order random; the course's pools are 20 batches long.
        pool = 20 if self.controls["order"].value == "length buckets" else 1
        buckets = LengthBuckets(self.lengths, size, seed=0, pool=pool)
        buckets.set_epoch(epoch)
        return [self.lengths[rows] for rows in buckets]

    def draw(self, figure: Figure) -> None:
        """Draw the first batches, text dark, padding hatched."""
        batches = self.batches()
        figure.clear()
        for axes, batch in zip(figure.subplots(1, self.shown, sharex=True), batches[: self.shown], strict=False):
            draw_batch(axes, batch)
            axes.set(xlim=(0, self.lengths.max()), title=f"{1 - batch.mean() / batch.max():.0%} padding")
        order, size = (self.controls[name].value for name in ("order", "batch_size"))
        figure.axes[0].set_ylabel(f"{order}\n{size} texts")
        figure.supxlabel("position (tokens)", fontsize=9)

    def words(self) -> str:
        """Steps of an epoch, and padding in all its batches."""
        batches = self.batches()
        cells = sum(len(batch) * batch.max() for batch in batches)
        return (
            f"{len(batches)} steps an epoch; {1 - self.lengths.sum() / cells:.0%} of all cells are padding; "
            f"the largest batch has {max(len(batch) * batch.max() for batch in batches):,} cells."
        )


class ScheduleBox(Play):
    """Choose a schedule, its peak, the steps and the share of warm-up; see the learning rate of every step."""

    title = "Schedule box"
    inches = (7.0, 2.8)

    def __init__(self):
        controls = {
            "schedule": dropdown("schedule", SCHEDULES, "linear"),
            "learning_rate": rate_slider(),
            "steps": whole_slider("steps", 90, 10, 500, 10),
            "warmup_percent": whole_slider("warm-up (% of steps)", 10, 0, 100, 5),
        }
        super().__init__(controls)

    def rates(self) -> np.ndarray:
        """The learning rate of every step."""
        peak, steps = self.controls["learning_rate"].value, self.controls["steps"].value
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
        share, kind = self.controls["warmup_percent"].value / 100, self.controls["schedule"].value
        factor = make_scheduler(optimizer, steps, share, kind).lr_lambdas[0]
        return peak * np.array([factor(step) for step in range(steps)])

    def draw(self, figure: Figure) -> None:
        """Draw the rate of every step, and shade the warm-up."""
        rates = self.rates()
        figure.clear()
        axes = figure.subplots()
        axes.plot(np.arange(1, len(rates) + 1), rates, **{**LINES[0], "marker": None}, linewidth=2)
        if self.warmup_steps():
            axes.axvspan(1, self.warmup_steps() + 1, color="#eeeeee")  # up to the step that has the full rate
            place = 1 + self.warmup_steps() / 2, 0.03 * self.controls["learning_rate"].value
            axes.text(*place, "warm-up", ha="center", va="bottom", fontsize=9)
        axes.set(xlabel="optimizer step", ylabel="learning rate", xlim=(0, len(rates)))
        axes.set_ylim(0, 1.08 * self.controls["learning_rate"].value)

    def warmup_steps(self) -> int:
        """How many steps the warm-up takes."""
        return round(self.controls["warmup_percent"].value / 100 * self.controls["steps"].value)

    def words(self) -> str:
        """Peak, mean and end of the schedule."""
        rates = self.rates()
        peak = int(rates.argmax()) + 1
        return (
            f"{self.warmup_steps()} steps of warm-up; the rate is highest at step {peak}, {rates.max():.2g}; its mean "
            f"is {rates.mean():.2g}, and the last step has {rates[-1]:.2g}."
        )


class ThresholdBox(Play):
    """Move the threshold; see how many tickets are answered, how many of them rightly, and what is left to people."""

    title = "Threshold box"
    inches = (9.0, 3.2)

    def __init__(self, evaluation: Evaluation, threshold_percent: int = 50):
        self.evaluation = evaluation
        self.confidence = evaluation.probabilities.max(axis=1)
        self.right = evaluation.true == evaluation.predicted
        super().__init__({"threshold_percent": whole_slider("threshold (%)", threshold_percent, 0, 100)})

    @property
    def threshold(self) -> float:
        """The confidence from which on an answer is given."""
        return self.controls["threshold_percent"].value / 100

    def draw(self, figure: Figure) -> None:
        """Draw accuracy against coverage, and right and wrong answers by confidence on both sides of the threshold."""
        figure.clear()
        left, right = figure.subplots(1, 2)
        draw_coverage(left, self.evaluation, self.threshold)
        groups = [self.confidence[self.right], self.confidence[~self.right]]
        _, _, bars = right.hist(
            groups, bins=20, range=(0, 1), stacked=True, label=["right", "wrong"], edgecolor="black"
        )
        for group, color, hatch in zip(bars, ("#9fc5e0", "#f2b78b"), ("", "///"), strict=True):
            for bar in group:
                bar.set(facecolor=color, hatch=hatch)
        right.axvline(self.threshold, color="black", linestyle=":")
        right.set(title="Left of the line: to a person", xlabel="confidence", ylabel="tickets", xlim=(0, 1))
        right.legend()

    def words(self) -> str:
        """What the threshold does, in counts."""
        answered = self.confidence >= self.threshold
        count, wrong = int(answered.sum()), int((answered & ~self.right).sum())
        if count == 0:
            return f"Threshold {self.threshold:.2f}: nothing is answered, all {len(answered)} tickets go to a person."
        return (
            f"Threshold {self.threshold:.2f}: ≈ {count} of {len(answered)} tickets are answered, ≈ {wrong} of them "
            f"wrongly (accuracy ≈ {1 - wrong / count:.2f}); ≈ {len(answered) - count} go to a person."
        )
