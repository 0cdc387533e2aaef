"""Figures of the model's inside: attention, the shapes on the way, where the head reads, what is trained, LoRA."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from course_utils.plots.style import COLORS, close, plain

BLUE, PALE, GREY, ORANGE = "#1b6ca8", "#e3eef6", "#d9d9d9", "#f2b78b"


def plot_attention(weights: np.ndarray, tokens: Sequence[str], title: str = "Attention of one head") -> Figure:
    """Heatmap of one head's weights, shape (tokens, tokens): each row is a token, and how it weighs those it sees.

    Later tokens, which a row cannot see, are hatched. Raises ValueError for weights that are no causal attention.
    """
    weights, count = np.asarray(weights), len(tokens)
    if (
        weights.shape != (count, count)
        or np.triu(weights, 1).any()
        or not np.allclose(weights.sum(axis=1), 1, atol=1e-3)
    ):
        raise ValueError(
            f"These are not the weights of causal attention over {count} tokens: give a square of them, with rows that "
            "sum to 1 and zeros to the right of the diagonal."
        )
    figure, axes = plt.subplots(figsize=(0.55 * count + 1.6, 0.42 * count + 1.4), layout="constrained")
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), weight in np.ndenumerate(weights):
        if j > i:
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="#f4f4f4", edgecolor="#bbbbbb", hatch="///"))
        else:
            axes.text(
                j, i, f"{weight:.2f}", ha="center", va="center", color="white" if weight > 0.5 else "black", fontsize=8
            )
    names = [plain(repr(token)) for token in tokens]
    axes.set_xticks(range(count), names, rotation=45, ha="right")
    axes.set_yticks(range(count), names)
    axes.set(title=plain(title), xlabel="looks at", ylabel="token")
    return close(figure, f"{count} tokens, each row of weights sums to 1, and no token looks at a later one")


# --- shapes on the way ------------------------------------------------------------------------------------------


def plot_shapes(tokens: int, width: int, vocabulary: int, blocks: int, heads: int) -> Figure:
    """Diagram of a GPT-2's forward pass for a text of `tokens` tokens, with the shape of what flows from part to part.

    width, vocabulary, blocks and heads are the sizes in the model's config.
    """
    figure, axes = plt.subplots(figsize=(9.2, 2.6))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    axes.set(xlim=(-0.1, 13.9), ylim=(-1.15, 2.5))
    axes.axis("off")
    axes.add_patch(Rectangle((3.25, -0.75), 6.0, 3.15, facecolor="#f6f6f6", edgecolor="black", linestyle="--"))
    axes.text(3.4, 2.13, f"one block, of {blocks}", fontsize=9, weight="bold", va="center")
    axes.text(6.25, -0.5, f"residual stream {tokens} × {width}", fontsize=9, ha="center", va="center")
    draw_path(axes, [(0.75, 0), (1.15, 0)])
    draw_path(axes, [(2.85, 0), (9.6, 0)])
    draw_path(axes, [(10.7, 0), (10.95, 0)])
    draw_path(axes, [(12.55, 0), (12.85, 0)])
    draw_path(axes, [(3.5, 0), (3.5, 1.3), (6.1, 1.3), (6.1, 0.13)])
    draw_path(axes, [(6.45, 0), (6.45, 1.3), (8.95, 1.3), (8.95, 0.13)])
    for x in (6.1, 8.95):
        axes.text(
            x, 0, "+", ha="center", va="center", fontsize=12, bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white"}
        )
    draw_part(axes, 2.0, 0, 1.7, f"embeddings\n{vocabulary:,} × {width}\n+ positions")
    draw_part(axes, 4.15, 1.3, 0.85, "layer\nnorm")
    draw_part(axes, 5.3, 1.3, 1.25, f"attention\n{heads} heads\nof {width // heads}")
    draw_part(axes, 7.05, 1.3, 0.85, "layer\nnorm")
    draw_part(axes, 8.2, 1.3, 1.25, f"MLP\n{width} → {4 * width}\n→ {width}")
    draw_part(axes, 10.15, 0, 1.1, "layer\nnorm")
    draw_part(axes, 11.75, 0, 1.6, f"head\n{width} × {vocabulary:,}\n(same table)")
    for x, text in ((0.35, f"ids\n{tokens}"), (13.3, f"logits\n{tokens} ×\n{vocabulary:,}")):
        axes.text(x, 0, text, ha="center", va="center", fontsize=9, weight="bold")
    return close(
        figure,
        f"ids of shape ({tokens},) become vectors ({tokens}, {width}), pass {blocks} blocks of attention and MLP, "
        f"and become logits ({tokens}, {vocabulary})",
    )


def draw_part(axes: Axes, x: float, y: float, width: float, text: str) -> None:
    """Draw a part of the model: a box around (x, y) with its name in it."""
    axes.add_patch(Rectangle((x - width / 2, y - 0.5), width, 1.0, facecolor=PALE, edgecolor=BLUE, zorder=2))
    axes.text(x, y, text, ha="center", va="center", fontsize=8.5, zorder=3)


def draw_path(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw a line through points, with an arrow head at the last."""
    axes.plot(*zip(*points[:-1], strict=True), color="black", linewidth=1.2)
    axes.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0})


# --- the classifier ---------------------------------------------------------------------------------------------


def plot_reading(tokens: Sequence[str], pads: int) -> Figure:
    """Where a head may read a padded text: at its first token, its last real one, or the last pad token."""
    count = len(tokens)
    last = count - 1
    near = min(last, pads or last) * 9 / (count + pads) < 1.5  # inches from note to note: else one covers the other
    lift = 0.75 if near else 0
    figure, axes = plt.subplots(figsize=(9, 2.15 + 0.74 * lift))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
    axes.set(xlim=(-0.6, count + pads - 0.4), ylim=(-1.0, 1.9 + lift))
    axes.axis("off")
    for i, token in enumerate([*tokens, *["pad"] * pads]):
        face, hatch = (PALE, "") if i < count else (GREY, "///")
        axes.add_patch(Rectangle((i - 0.46, -0.3), 0.92, 0.6, facecolor=face, hatch=hatch, edgecolor="#777777"))
        style = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}} if i >= count else {}
        word = plain(token.strip())
        axes.text(i, 0, word, ha="center", va="center", fontsize=8, **style)
    notes = [
        (0, "first token:\nhas seen 1 token", "✗", "left"),
        (last, f"last real token:\nhas seen all {count}", "✓", "center" if pads else "right"),
        (count + pads - 1, "position -1:\na pad token", "✗", "right"),
    ][: 3 if pads else 2]
    for position, note, mark, side in notes:
        right = mark == "✓"
        arrow = {"arrowstyle": "<-", "linewidth": 2.5 if right else 1.2, "linestyle": "-" if right else "--"}
        high = 1.15 + (lift if right else 0)
        axes.annotate("", (position, 0.35), (position, high), arrowprops={**arrow, "color": BLUE if right else "black"})
        x = {"left": position - 0.45, "center": position, "right": position + 0.45}[side]
        weight = "bold" if right else "normal"
        axes.text(x, high + 0.1, f"{mark} {note}", ha=side, va="bottom", fontsize=10, weight=weight)
    axes.annotate("", (last + 0.3, -0.6), (-0.4, -0.6), arrowprops={"arrowstyle": "->", "color": "black"})
    axes.text(-0.45, -0.85, "attention looks to the left only: what is known grows from left to right", fontsize=9)
    return close(
        figure,
        f"of {count} tokens and {pads} pads, only position {last} is a real token that has seen all {count}",
    )


def plot_trained_parts(parts: pd.DataFrame, title: str = "What training may change") -> Figure:
    """The model as a stack, lowest part at the bottom, with the parameters of each: frozen ones grey and hatched.

    parts: a row for each part, lowest first, indexed by name, with the columns `parameters` and `trainable`.
    """
    figure = plt.figure(figsize=(8, 0.33 * len(parts) + 1), layout="constrained")
    draw_trained_parts(figure, parts, title)
    trained = parts["parameters"][parts["trainable"]].sum()
    total = parts["parameters"].sum()
    return close(
        figure, f"{trained:,} of {total:,} parameters ({trained / total:.2%}) may learn, {total - trained:,} are frozen"
    )


def draw_trained_parts(figure: Figure, parts: pd.DataFrame, title: str) -> None:
    """Draw the stack of `plot_trained_parts` on a figure, wiping it first."""
    figure.clear()
    axes = figure.subplots()
    trainable, rows = parts["trainable"].to_numpy(), np.arange(len(parts))
    for chosen, color, hatch in ((trainable, ORANGE, ""), (~trainable, GREY, "///")):
        axes.barh(rows[chosen], parts["parameters"][chosen], color=color, hatch=hatch, edgecolor="#555555", height=0.8)
    for row, (count, learns) in enumerate(zip(parts["parameters"], trainable, strict=True)):
        text = f" {count:,} {'learn' if learns else 'frozen'}"
        axes.text(count, row, text, va="center", fontsize=9, weight="bold" if learns else "normal")
    axes.set_yticks(rows, map(plain, parts.index))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(title=plain(title), xlabel="parameters", xlim=(0, 1.25 * parts["parameters"].max()))


def plot_lora(inputs: int, outputs: int, rank: int) -> Figure:
    """LoRA to scale: the frozen matrix W plus α/r times the thin B and A of some rank r.

    GPT-2 stores W as (inputs, outputs), so it is drawn transposed: in the shape of the product B A.
    """
    scale = 2.6 / max(outputs, inputs)  # inches a row or column
    gap, below = 1.2, 0.75
    sizes = {"W": (inputs, outputs), "B": (rank, outputs), "A": (inputs, rank)}
    width = sum(columns for columns, _ in sizes.values()) * scale + 2 * gap + 1.2
    figure = plt.figure(figsize=(width, outputs * scale + below + 0.1))
    axes = figure.add_axes([0, 0, 1, 1], xlim=(0, width), ylim=(-below, outputs * scale + 0.1))
    axes.axis("off")
    x, middle = 0.5, outputs * scale / 2
    for (name, (columns, rows)), sign in zip(sizes.items(), ("", "+ α/r ·", "×"), strict=True):
        axes.text(x - gap / 2, middle, sign, fontsize=15, ha="center", va="center")
        face, hatch = (GREY, "//") if name == "W" else (COLORS[1], "")
        low = middle - rows * scale / 2
        axes.add_patch(
            Rectangle(
                (x, low), columns * scale, rows * scale, facecolor=face, hatch=hatch, edgecolor="black", linewidth=0.6
            )
        )
        what = f"{name}, learns\n{rows} × {columns}"
        if name == "W":
            what = f"W transposed, frozen\n{rows} outputs × {columns} inputs"
        note = f"{what}\n{rows * columns:,}"
        axes.text(x + columns * scale / 2, low - 0.08, note, ha="center", va="top", fontsize=9)
        x += columns * scale + gap
    share = rank * (inputs + outputs) / (inputs * outputs)
    return close(
        figure,
        f"W has {inputs * outputs:,} numbers, B and A of rank {rank} together {rank * (inputs + outputs):,}, "
        f"{share:.1%} of them",
    )


def plot_trainable(counts: dict[str, int]) -> Figure:
    """How many parameters each named variant trains, as dots on a log axis (a bar would have no honest beginning)."""
    figure, axes = plt.subplots(figsize=(8, 0.4 * len(counts) + 1), layout="constrained")
    counts = dict(sorted(counts.items(), key=lambda item: item[1]))
    axes.plot(list(counts.values()), range(len(counts)), "o", color=ORANGE, markeredgecolor="#555555", markersize=9)
    for row, count in enumerate(counts.values()):
        axes.text(count * 1.5, row, f"{count:,}", va="center")
    axes.set_yticks(range(len(counts)), map(plain, counts))
    axes.grid(axis="x", alpha=0.3)
    low, high = min(counts.values()), max(counts.values())
    axes.set(
        xscale="log", xlim=(low / 3, high * 8), xlabel="trainable parameters (log axis)", title="What is left to train",
        ylim=(-0.6, len(counts) - 0.4),
    )  # fmt: skip
    most, least = max(counts, key=counts.get), min(counts, key=counts.get)
    return close(figure, f"{most!r} trains {high / low:,.0f} times as many parameters as {least!r}")
