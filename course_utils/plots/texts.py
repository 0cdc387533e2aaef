"""Figures of lessons 1 to 3: what a GPT expects next, how long texts are, how labels share them."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from course_utils.plots.style import FILLS, HATCHES, close, plain, styles


def plot_next_tokens(tokens: Sequence[str], probabilities: Sequence[float], prompt: str) -> Figure:
    """Bars of the most probable next tokens after a prompt."""
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(tokens) + 1), layout="constrained")
    names = [plain(repr(token)) for token in tokens]
    bars = axes.barh(names[::-1], list(probabilities)[::-1], color="#9fc5e0", edgecolor="#1b6ca8", hatch="//")
    axes.bar_label(bars, fmt="{:.2f}", padding=3)
    axes.set(title=plain(f"Next token after {prompt!r}"), xlabel="probability", xlim=(0, max(probabilities) * 1.15))
    return close(figure, f"the most probable next token is {tokens[0]!r}")


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
        axes.axvline(limit, color="black", linestyle=":", label=f"limit: {limit}")
    axes.set(title=f"Length in {unit}", xlabel=unit, ylabel="share of texts")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend()
    return close(figure, "median length " + "; ".join(f"{n} {int(np.median(v))} {unit}" for n, v in lengths.items()))


def plot_label_shares(labels: dict[str, pd.Series]) -> Figure:
    """Bars of each label's share, one group of bars for each named column of labels, which may differ in length."""
    table = pd.DataFrame({name: column.value_counts(normalize=True) for name, column in labels.items()}).fillna(0)
    table = table.sort_values(next(iter(labels)), ascending=False)
    styles(len(labels))  # hatchings are as many as line styles
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    table.rename(index=plain, columns=plain).plot.bar(ax=axes, rot=30, edgecolor="black", color=FILLS)
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
        f"no label's share differs by more than {gap:.1%} between the groups",
    )
