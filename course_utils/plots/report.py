"""Figures of a run's report: each function takes facts from report.json, returns the figure and its words.

They are drawn without pyplot, because a report is written by a command, where no notebook shows figures.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from course_utils.diagnosis import running_mean
from course_utils.plots.style import FILLS, HATCHES, LINES, WRITTEN, short, short_names

BLUE = "#1b6ca8"

Drawn = tuple[Figure, str]


def draw_scores(facts: dict) -> Drawn:
    """Macro-F1 of the model and of the two baselines, with 95 % intervals."""
    rows = {
        facts["model"]["name"]: facts["test"]["macro_f1"],
        "TF-IDF": facts["baselines"]["tfidf"]["macro_f1"],
        "commonest label": facts["baselines"]["majority"]["macro_f1"],
    }
    figure = Figure((7, 2.1), layout="constrained")
    axes = figure.subplots()
    for y, (score, style) in enumerate(zip(rows.values(), LINES, strict=False)):
        value = score["value"]
        low, high = (value if score[end] is None else score[end] for end in ("low", "high"))
        axes.plot([low, high], [y, y], color=style["color"], linewidth=3, alpha=0.5)
        axes.plot(value, y, marker=style["marker"], color=style["color"])
        axes.annotate(f"{value:.2f}", (value, y), textcoords="offset points", xytext=(0, 6), ha="center")
    axes.set_yticks(range(len(rows)), map(short, rows))
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.7), xlabel="macro-F1 on the test, with 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    return figure, "macro-F1 on the test: " + ", ".join(f"{name} {score['value']:.2f}" for name, score in rows.items())


def draw_confusion(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> Drawn:
    """Confusion matrix, shaded by share of the true label. Beyond 20 labels its cells hold no numbers."""
    counts = np.array(confusion)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    names, size = short_names(labels), 0.45 * min(len(labels), 24) + 2.2
    figure = Figure((size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= WRITTEN:
        for (i, j), count in np.ndenumerate(counts):
            axes.text(j, i, count, ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    letters = 10 if len(labels) <= WRITTEN else max(2, 220 / len(labels))
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=letters)
    axes.set_yticks(range(len(names)), names, fontsize=letters)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, label="share of the true label", shrink=0.8)
    return figure, f"confusion matrix: {np.trace(counts):,} of {counts.sum():,} test rows on the diagonal"


def draw_reliability(bins: Sequence[dict]) -> Drawn:
    """How often the model was right (bars) beside how sure it was (the dashed diagonal), in bins of confidence."""
    filled = [b for b in bins if b["rows"]]
    figure = Figure((5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", label="as sure as right")
    bars = axes.bar(
        [(b["low"] + b["high"]) / 2 for b in filled], [b["accuracy"] for b in filled],
        width=[0.9 * (b["high"] - b["low"]) for b in filled], color=FILLS[0], hatch=HATCHES[1], edgecolor="black",
    )  # fmt: skip
    for bar, b in zip(bars, filled, strict=True):
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(bar.get_x() + bar.get_width() / 2, 0.03, f"{b['rows']:,}", ha="center", fontsize=8, bbox=white)
    dots = {"color": LINES[1]["color"], "marker": LINES[1]["marker"], "linestyle": "none"}
    sure = [b["confidence"] for b in filled]
    axes.plot(sure, [b["accuracy"] for b in filled], label="mean confidence of the bin", **dots)
    axes.set(
        xlim=(0, 1.02),  # the frame cuts no dot at 1 in half
        ylim=(0, 1.3),
        yticks=np.linspace(0, 1, 6),
        xlabel="confidence (number of texts in each bar)",
        ylabel="share of right answers",
    )
    axes.legend(loc="upper left")
    each = "; ".join(f"{b['confidence']:.2f} sure, {b['accuracy']:.2f} right ({b['rows']:,} rows)" for b in filled)
    return figure, f"reliability by bins of confidence: {each}"


def draw_curves(history: dict) -> Drawn:
    """Loss of training and validation, and macro-F1 of validation, over the steps."""
    loss, rows = history["loss"], history["validations"]
    figure = Figure((10, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, marks = np.arange(1, len(loss) + 1), [row["step"] for row in rows]
    validation = [np.nan if row["validation_loss"] is None else row["validation_loss"] for row in rows]
    left.plot(steps, loss, color=BLUE, alpha=0.25, linewidth=1, label="training, each step")
    left.plot(steps, running_mean(loss), color=BLUE, label="training, mean of 10 steps")
    left.plot(marks, validation, label="validation", **LINES[1])
    left.set(xlabel="optimizer step", ylabel="cross-entropy (nats)", ylim=(0, None))
    left.legend()
    right.plot(marks, [row["macro_f1"] for row in rows], **LINES[0])
    right.set(xlabel="optimizer step", ylabel="macro-F1 on validation", xlim=left.get_xlim(), ylim=(0, 1))
    words = f"learning curves: training loss from {loss[0]:.2f} to {running_mean(loss)[-1]:.2f} in {len(loss):,} steps"
    best = next((row for row in rows if row["step"] == history["best_step"]), None)
    if best:
        right.axvline(best["step"], color="black", linestyle=":", label=f"best: step {best['step']:,}")
        early = best["step"] <= len(loss) / 2  # the legend stands on the other side
        right.legend(loc="lower right" if early else "upper left")
        words += f", macro-F1 on validation at best {best['macro_f1']:.2f}"
    return figure, words
