"""Every figure of the lessons. Each function draws one figure and prints the same facts as a line of text.

Figures can be read without colour: lines differ in dash and marker, bars in hatching, cells hold their numbers. In a
summary, ≈ stands before a number that was measured on a trained model. Texts and labels are shown as they are: a dollar
sign begins no formula. A figure that is given more series than can be told apart raises ValueError.
"""

from course_utils.plots.architecture import (
    plot_attention,
    plot_lora,
    plot_reading,
    plot_shapes,
    plot_trainable,
    plot_trained_parts,
)
from course_utils.plots.bigger import plot_depths, plot_label_curves
from course_utils.plots.evidence import plot_courses, plot_forest, plot_hill, plot_presets, plot_stops
from course_utils.plots.journey import plot_journey
from course_utils.plots.labs import LOSS_SHOWN, draw_gap, draw_label_curves, draw_range_test, draw_runs
from course_utils.plots.runs import (
    plot_gradient_norms,
    plot_history,
    plot_learning_rates,
    plot_losses,
    plot_scores,
    plot_step_lengths,
)
from course_utils.plots.scores import plot_comparison, plot_confusion, plot_coverage, plot_reliability, plot_two_sets
from course_utils.plots.speed import plot_growth, plot_means
from course_utils.plots.style import LINES
from course_utils.plots.texts import (
    plot_batches,
    plot_label_shares,
    plot_lengths,
    plot_next_tokens,
    plot_padding,
    plot_similarities,
    plot_surprise,
    plot_temperatures,
    plot_tokens,
)
from course_utils.plots.transfer import plot_labels_saved, plot_layer_moves, plot_steps_saved

__all__ = [
    "LINES", "LOSS_SHOWN", "draw_gap", "draw_label_curves", "draw_range_test", "draw_runs", "plot_attention",
    "plot_batches", "plot_comparison", "plot_confusion", "plot_courses", "plot_coverage", "plot_depths",
    "plot_forest", "plot_gradient_norms", "plot_growth", "plot_hill", "plot_history", "plot_journey",
    "plot_label_curves", "plot_label_shares", "plot_labels_saved", "plot_layer_moves", "plot_learning_rates",
    "plot_lengths", "plot_lora", "plot_losses", "plot_means", "plot_next_tokens", "plot_padding", "plot_presets",
    "plot_reading", "plot_reliability", "plot_scores", "plot_shapes", "plot_similarities", "plot_step_lengths",
    "plot_steps_saved", "plot_stops", "plot_surprise", "plot_temperatures", "plot_tokens", "plot_trainable",
    "plot_trained_parts", "plot_two_sets",
]  # fmt: skip
