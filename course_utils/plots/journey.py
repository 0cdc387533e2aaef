"""The picture that opens every lesson: a ticket goes in, a queue comes out, and six steps lie between."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from course_utils.plots.style import close

# Each step: its name, and what is there when it is done.
STEPS = (
    ("load", "a GPT that\nknows English"),
    ("modify", "a head with\neight queues"),
    ("prepare", "clean tickets\nas token ids"),
    ("pipeline", "batches and\nan optimizer"),
    ("fine-tune", "weights that\nfit the task"),
    ("evaluate", "a score you\ncan trust"),
)
DARK, LIGHT, WHITE = "#1b6ca8", "#e3eef6", "white"


def plot_journey(step: int | None = None) -> Figure:
    """The way of the course: a ticket goes in, a queue comes out, six steps on the way.

    With None (the opening of lesson 1), the whole picture; with a step from 1 to 6, a small one that says "you are
    here". Raises ValueError for another number.
    """
    if step not in (None, *range(1, len(STEPS) + 1)):
        raise ValueError(f"There is no step {step!r}: give a number from 1 to {len(STEPS)}, or None for them all.")
    small = step is not None
    figure, axes = plt.subplots(figsize=(9, 0.95 if small else 1.3))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    axes.set(xlim=(0, 10.35), ylim=(0.15, 1.25) if small else (0.13, 1.6))
    axes.axis("off")
    middle = 0.85 if small else 1.2
    draw_box(axes, 0.75, middle, 1.3, "“Where is\nmy parcel?”", face=WHITE, style="italic")
    for number, (name, result) in enumerate(STEPS, start=1):
        x = 0.98 + 1.2 * number
        here = number == step
        draw_arrow(axes, x - 0.6, middle)
        draw_box(
            axes, x, middle, 0.88, f"{number}\n{name}", face=DARK if here else LIGHT,
            ink=WHITE if here else "black", weight="bold" if here else "normal",
        )  # fmt: skip
        if here:
            axes.text(x, 0.27, "▲ you are here", ha="center", va="center", fontsize=9, weight="bold", color=DARK)
        if not small:
            axes.text(x, 0.62, result, ha="center", va="top", fontsize=9)
    draw_arrow(axes, 8.78, middle)
    draw_box(axes, 9.6, middle, 1.3, "queue:\ndelivery", face=WHITE, weight="bold")
    if not small:
        axes.text(0.75, 0.62, "a ticket\ngoes in", ha="center", va="top", fontsize=9)
        axes.text(9.6, 0.62, "a queue\ncomes out", ha="center", va="top", fontsize=9)
    names = ", ".join(name for name, _ in STEPS)
    where = f"; you are here: step {step}, {STEPS[step - 1][0]}" if small else ""
    return close(figure, f"a ticket goes in, a queue comes out; the steps are {names}{where}")


def draw_box(axes: Axes, x: float, y: float, width: float, text: str, face: str, ink: str = "black", **font) -> None:
    """A box with rounded corners around (x, y), two lines of text in it."""
    height = 0.62
    corner = (x - width / 2, y - height / 2)
    outline = {"boxstyle": "round,pad=0.02", "facecolor": face, "edgecolor": DARK, "linewidth": 1.3}
    axes.add_patch(FancyBboxPatch(corner, width, height, **outline))
    axes.text(x, y, text, ha="center", va="center", fontsize=9.5, color=ink, linespacing=1.25, **font)


def draw_arrow(axes: Axes, x: float, y: float) -> None:
    """A short arrow to the right that ends near x."""
    arrow = {"arrowstyle": "->", "color": "black", "linewidth": 1.2}
    axes.annotate("", (x + 0.1, y), (x - 0.1, y), arrowprops=arrow)
