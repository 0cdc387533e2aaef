"""Figures of lesson 5 on time: what each means of training faster brings, and how a run grows with the data."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from course_utils.plots.style import FILLS, HATCHES, LINES, close, plain


def plot_means(rows: Sequence[dict]) -> Figure:
    """A bar for each means of training faster: how many times as fast a step is with it as without it.

    `rows` are {"means": name, "ratio": number, "used": whether the course uses it}.
    """
    rows = sorted(rows, key=lambda row: row["ratio"])
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(rows) + 1), layout="constrained")
    for used, label in ((True, "used in the course"), (False, "left out")):
        places = [i for i, row in enumerate(rows) if row["used"] == used]
        if not places:
            continue
        ratios = [rows[i]["ratio"] for i in places]
        # From 1, "no difference": gains point to the right, losses to the left.
        gains, look = [ratio - 1 for ratio in ratios], {"color": FILLS[not used], "hatch": HATCHES[not used]}
        bars = axes.barh(places, gains, left=1, edgecolor="black", label=label, **look)
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # so that the line at 1 crosses no number
        axes.bar_label(bars, labels=[f"{ratio:.2f}" for ratio in ratios], padding=4, bbox=white)
    axes.set_yticks(range(len(rows)), [plain(row["means"]) for row in rows])
    axes.axvline(1, color="black", linestyle=":")
    axes.set(title="A training step with it and without it", xlabel="times as fast (1: no difference)")
    axes.margins(x=0.12)
    axes.legend(loc="lower right")
    return close(figure, "; ".join(f"{row['means']} {row['ratio']:.2f}" for row in reversed(rows)))


def plot_growth(rows: Sequence[dict]) -> Figure:
    """Seconds of one epoch, and peak memory, against the tokens in it, all axes but memory's logarithmic.

    `rows` are {"rows": examples, "tokens": number, "seconds": number, "peak_mib": number}.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    tokens, seconds, memory = ([row[name] for row in rows] for name in ("tokens", "seconds", "peak_mib"))
    left.loglog(tokens, seconds, label="measured", **LINES[0])
    straight = [seconds[0] * number / tokens[0] for number in tokens]
    left.loglog(tokens, straight, color="black", linestyle=":", label="in proportion")
    left.set(title="Time of one epoch", xlabel="tokens in the training set (log axis)", ylabel="seconds (log axis)")
    left.legend()
    right.semilogx(tokens, memory, **LINES[1])
    right.set(title="Most memory used", xlabel="tokens in the training set (log axis)", ylabel="MiB")
    right.set_ylim(0, 1.15 * max(memory))
    for axis in (left.xaxis, left.yaxis, right.xaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    words = [f"{row['rows']:,} tickets: {row['seconds']:,.0f} s, {row['peak_mib']:,} MiB" for row in rows]
    return close(figure, "; ".join(words))
