"""Figures of lesson 10: scores against depth, and against the number of labels."""

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_utils.plots.labs import draw_label_curves
from course_utils.plots.style import close, plain, styles


def plot_depths(curves: dict[str, dict[int, float]], metric: str = "validation macro-F1") -> Figure:
    """A score against the number of blocks that a text has gone through: one line for each named {blocks: score}."""
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    words, height = [], -1.0
    lines = sorted(
        zip(styles(len(curves)), curves.items(), strict=True), key=lambda line: list(line[1][1].values())[-1]
    )
    for style, (name, curve) in lines:
        blocks, scores = list(curve), list(curve.values())
        axes.plot(blocks, scores, **style)
        height = max(scores[-1], height + 0.07)  # names do not stand on one another
        axes.annotate(plain(name), (blocks[-1] + 0.6, height), va="center", color=style["color"])
        words.append(f"{name}: best ≈ {max(scores):.2f}, last ≈ {scores[-1]:.2f}")
    axes.set(title="What frozen states tell, from the embeddings to the last block", ylabel=metric)
    axes.set(xlabel="blocks that the text has gone through", ylim=(0, 1), xlim=(-0.5, 1.35 * blocks[-1]), xticks=blocks)
    axes.grid(alpha=0.3)
    return close(figure, "; ".join(words))


def plot_label_curves(curves: dict[str, list[tuple[float, float, float]]]) -> Figure:
    """Test macro-F1 against labels a class, as `results.label_curves` gives it, with 95 % bands."""
    figure = plt.figure(figsize=(8, 4.4))
    draw_label_curves(figure, curves)
    ends = [f"{name} {rows[0][1]:.2f} to {rows[-1][1]:.2f}" for name, rows in curves.items()]
    return close(figure, f"test macro-F1 from the fewest labels to the most: {'; '.join(ends)}")
