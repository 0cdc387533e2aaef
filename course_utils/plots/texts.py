"""Figures of lessons 1 to 3: tokens, what a GPT expects next, how texts differ in length, how labels share them."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from course_utils.plots.style import FILLS, HATCHES, close, name_ends, plain, short_names, styles

BLUE, INK = "#9fc5e0", "#1b6ca8"

# --- tokens as chips --------------------------------------------------------------------------------------------

LETTER, LINE, WIDTH = 0.083, 0.42, 8.6  # inches: a letter of the monospaced font, a line of chips, a figure


def plot_tokens(tokens: Sequence[str], ids: Sequence[int]) -> Figure:
    """Show a text as its tokens: one chip for each, with its id below."""
    fills = [FILLS[i % 4] for i in range(len(tokens))]
    figure = draw_chips(tokens, [str(i) for i in ids], fills)
    return close(figure, f"{len(tokens)} tokens, each with its id below")


def plot_surprise(tokens: Sequence[str], losses: Sequence[float]) -> Figure:
    """Shade a text by surprise: the darker a token, the less the model expected it. Its loss (nats) stands below."""
    if not losses:
        raise ValueError("A text of one token has nothing to be surprised at: give a longer one.")
    dearest = max(losses)
    fills = [plt.get_cmap("Oranges")(0.75 * max(loss, 0) / dearest) for loss in losses]
    figure = draw_chips(tokens, [f"{loss:.1f}" for loss in losses], fills)
    word = tokens[int(np.argmax(losses))].strip()
    return close(
        figure, f"the most surprising of {len(tokens)} tokens is {word!r}, with a loss of ≈ {dearest:.1f} nats"
    )


def draw_chips(tokens: Sequence[str], notes: Sequence[str], fills: Sequence) -> Figure:
    """Draw tokens as boxes from left to right, in as many lines as it takes, each with a note below."""
    places, x, line = [], 0.0, 0
    shown = [repr(token)[1:-1] if not token.isprintable() else token for token in tokens]
    for token, note in zip(shown, notes, strict=True):
        width = LETTER * max(len(token), 0.75 * len(note)) + 0.1
        if x + width > WIDTH:
            x, line = 0.0, line + 1
        places.append((x, line, width))
        x += width + 0.04
    figure = plt.figure(figsize=(WIDTH, LINE * (line + 1) + 0.05))
    axes = figure.add_axes([0, 0, 1, 1], xlim=(-0.02, WIDTH + 0.02), ylim=(-LINE * (line + 1), 0.05))
    axes.axis("off")
    for (x, line, width), token, note, fill in zip(places, shown, notes, fills, strict=True):
        top = -LINE * line
        axes.add_patch(Rectangle((x, top - 0.2), width, 0.2, facecolor=fill, edgecolor="black", linewidth=0.8))
        middle = {"ha": "center", "va": "center", "family": "monospace"}
        axes.text(x + width / 2, top - 0.11, plain(token), fontsize=10, **middle)
        axes.text(x + width / 2, top - 0.285, plain(note), fontsize=7, **middle)
    return figure


# --- the next token ---------------------------------------------------------------------------------------------


def plot_next_tokens(tokens: Sequence[str], probabilities: Sequence[float], prompt: str) -> Figure:
    """Bars of the most probable next tokens after a prompt."""
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(tokens) + 1), layout="constrained")
    shown = prompt if len(prompt) <= 50 else "..." + prompt[-47:]
    draw_next_tokens(axes, tokens, probabilities, f"Next token after {shown!r}")
    return close(figure, f"the most probable next token is {tokens[0]!r}")


def draw_next_tokens(axes: Axes, tokens: Sequence[str], probabilities: Sequence[float], title: str) -> None:
    """Draw one bar for each token, the first on top, with its probability beside it."""
    names = [plain(repr(token) if token.isprintable() else ascii(token)) for token in tokens]
    rows = range(len(tokens))  # by number: two tokens may look alike
    bars = axes.barh(rows, list(probabilities)[::-1], color=BLUE, edgecolor=INK, hatch="//")
    axes.set_yticks(rows, names[::-1])
    axes.bar_label(bars, fmt="{:.2f}", padding=3)
    axes.set(title=plain(title), xlabel="probability", xlim=(0, max(probabilities) * 1.2))


def plot_temperatures(tokens: Sequence[str], probabilities: dict[float, Sequence[float]]) -> Figure:
    """One panel of bars for each temperature, with the same tokens in the same order and one scale."""
    size = (3.1 * len(probabilities) + 0.6, 0.3 * len(tokens) + 1)
    figure, panels = plt.subplots(1, len(probabilities), figsize=size, layout="constrained", sharey=True, squeeze=False)
    highest = max(max(values) for values in probabilities.values())
    for axes, (temperature, values) in zip(panels[0], probabilities.items(), strict=True):
        draw_next_tokens(axes, tokens, values, f"temperature {temperature:g}")
        axes.set_xlim(0, 1.2 * highest)
    shares = ", ".join(f"≈ {values[0]:.2f} at {temperature:g}" for temperature, values in probabilities.items())
    return close(figure, f"the probability of {tokens[0]!r} by temperature: {shares}")


# --- lengths, labels, twins -------------------------------------------------------------------------------------


def plot_lengths(lengths: dict[str, Sequence[int]], unit: str = "tokens", limit: int | None = None) -> Figure:
    """Histogram of text lengths, one outline for each named group, and a line at the length where texts are cut."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    top = max(limit or 0, *(max(values) for values in lengths.values()))
    for style, (name, values) in zip(styles(len(lengths)), lengths.items(), strict=True):
        axes.hist(
            values, bins=np.linspace(0, top, 31), weights=np.full(len(values), 1 / len(values)), histtype="step",
            label=plain(name), linewidth=1.6, color=style["color"], linestyle=style["linestyle"],
        )  # fmt: skip
    if limit is not None:
        axes.axvline(limit, color="black", linestyle=":")
        longer = sum(length > limit for values in lengths.values() for length in values)
        axes.text(limit, 0.5, f" limit: {limit},\n {longer} longer", transform=axes.get_xaxis_transform())
    axes.set(title=f"Length in {unit}", xlabel=unit, ylabel="share of texts")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    if len(lengths) > 1:
        axes.legend()
    return close(
        figure, "median length of " + "; ".join(f"{n}: {int(np.median(v))} {unit}" for n, v in lengths.items())
    )


def plot_label_shares(labels: dict[str, pd.Series]) -> Figure:
    """Bars of each label's share, one group of bars for each named column of labels, which may differ in length."""
    table = pd.DataFrame({name: column.value_counts(normalize=True) for name, column in labels.items()}).fillna(0)
    table = table.sort_values(next(iter(labels)), ascending=False)
    styles(len(labels))  # hatchings are as many as line styles
    names, many = short_names(table.index), max(0, min(len(table), 60) - 24)
    figure, axes = plt.subplots(figsize=(8 + 0.15 * many, 3.2), layout="constrained")
    table.rename(columns=plain).plot.bar(ax=axes, edgecolor="black", color=FILLS)
    upright = len(names) <= 5 and sum(map(len, names)) <= 70
    place = {"rotation": 0, "ha": "center"} if upright else {"rotation": 30, "ha": "right"}
    axes.set_xticks(range(len(names)), names, fontsize=10 if not many else 350 / len(names), **place)
    for bars, hatch in zip(axes.containers, HATCHES, strict=False):
        for bar in bars:
            bar.set_hatch(hatch)
    axes.set(title="Share of each label", xlabel="", ylabel="share of texts")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    gap = (table.max(axis=1) - table.min(axis=1)).max()
    return close(
        figure,
        f"the largest label is {table.index[0]!r}, the smallest {table.index[-1]!r}; "
        f"no label's share differs by more than {100 * gap:.1f} percentage points between the parts",
    )


def plot_similarities(similarities: Sequence[float], threshold: float, lowest: float = 0.0) -> Figure:
    """Histogram of the similarities (0 to 1) of pairs of texts, with the threshold from which two texts are twins.

    `lowest`: where the axis begins, because pairs below it were left out.
    """
    values = np.asarray(similarities)
    twins, others = values[values >= threshold], values[values < threshold]
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for kind, fill, hatch in ((others, "white", "//"), (twins, BLUE, "")):
        axes.hist(kind, bins=np.linspace(0, 1, 41), color=fill, edgecolor="black", hatch=hatch)
    axes.axvline(threshold, color="black", linestyle="--")
    top = 1.25 * axes.get_ylim()[1]
    axes.set(xlim=(lowest, 1), ylim=(0, top), xlabel="similarity (Jaccard index)", ylabel="pairs of texts")
    axes.text(threshold, 0.97 * top, f" threshold {threshold:g}\n {len(twins)} pairs of twins", va="top")
    axes.text(threshold, 0.97 * top, f"{len(others)} other pairs from {lowest:g} up ", va="top", ha="right")
    low, high = others.max(initial=lowest), twins.min(initial=1)
    return close(
        figure,
        f"{len(twins)} pairs reach the threshold of {threshold:g}, {len(others)} do not; "
        f"none lies between {low:.2f} and {high:.2f}",
    )


# --- batches ----------------------------------------------------------------------------------------------------


def plot_batches(batches: dict[str, Sequence[Sequence[int]]]) -> Figure:
    """Show batches as images, a row of them for each named way to make them: text is dark, padding hatched.

    batches: for each way a list of batches, and for each batch the lengths of its texts in tokens.
    """
    count = max(len(ways) for ways in batches.values())
    longest = max(max(lengths) for ways in batches.values() for lengths in ways)
    figure, panels = plt.subplots(
        len(batches), count, figsize=(8.6, 1.5 * len(batches) + 0.5), layout="constrained", sharex=True, squeeze=False
    )
    words = []
    for row, (name, ways) in zip(panels, batches.items(), strict=True):
        for axes in row[len(ways) :]:
            axes.axis("off")
        for axes, lengths in zip(row, ways, strict=False):
            draw_batch(axes, lengths)
            axes.set(xlim=(0, longest), title=f"{1 - np.mean(lengths) / max(lengths):.0%} padding")
            axes.title.set_fontsize(9)
        row[0].set_ylabel(f"{plain(name)}\n{len(ways[0])} texts")
        words.append(f"{name} {1 - sum(map(sum, ways)) / sum(len(w) * max(w) for w in ways):.0%}")
    figure.supxlabel("position (tokens)", fontsize=9)
    return close(figure, f"share of padding in {count} batches: {', '.join(words)}")


def plot_padding(shares: dict[str, dict[int, float]]) -> Figure:
    """Draw which share of an epoch's cells is padding (0 to 1) against the batch size: a line for each named order."""
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    axes.set_xscale("log", base=2)
    words = []
    for style, (name, line) in zip(styles(len(shares)), shares.items(), strict=True):
        (smallest, first), (largest, last) = min(line.items()), max(line.items())
        axes.plot(list(line), list(line.values()), **style)
        name_ends(axes, {name: (largest, last)})
        words.append(f"{name} from {first:.0%} in batches of {smallest} to {last:.0%} in batches of {largest}")
    axes.set_xticks(list(line), [str(size) for size in line])
    axes.set(xlabel="texts in a batch", ylabel="share of padding", ylim=(0, 1), xlim=(smallest / 1.2, 3 * largest))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    return close(figure, f"share of padding: {'; '.join(words)}")


def draw_batch(axes: Axes, lengths: Sequence[int]) -> None:
    """Draw one batch: a bar for each text, and its padding up to the longest."""
    rows, longest = np.arange(len(lengths)), max(lengths)
    axes.barh(rows, lengths, height=1, color=INK, edgecolor="white", linewidth=0.3)
    axes.barh(
        rows,
        longest - np.asarray(lengths),
        left=lengths,
        height=1,
        color="#eeeeee",
        edgecolor="#999999",
        hatch="////",
        linewidth=0,
    )
    axes.set(yticks=[], ylim=(len(lengths) - 0.5, -0.5))
