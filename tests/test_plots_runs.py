"""Figures of training and of evaluation: drawn from the values given, and their words say the same."""

import numpy as np
import pytest

from course_utils import plots
from course_utils.evaluation import Evaluation, accuracy_interval


@pytest.fixture
def evaluation():
    """Forty answers of two classes: the surer half is right in 18 of 20 cases, the other half in 10 of 20."""
    confidence = np.r_[np.linspace(0.98, 0.8, 20), np.linspace(0.7, 0.52, 20)]
    right = np.r_[np.ones(18), np.zeros(2), np.ones(10), np.zeros(10)].astype(bool)
    predicted = np.arange(40) % 2
    probabilities = np.where(np.arange(2) == predicted[:, None], confidence[:, None], 1 - confidence[:, None])
    return Evaluation(["calm", "angry"], np.where(right, predicted, 1 - predicted), predicted, probabilities)


def written(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


# --- runs -------------------------------------------------------------------------------------------------------


def test_gradient_norms_count_what_the_limit_cuts(capsys):
    figure = plots.plot_gradient_norms([0.5, 2.0, 3.0, 1.0], limit=1.0)
    assert "limit of 1 is exceeded in ≈ 2 of 4 steps; the norms lie between ≈ 0.5 and ≈ 3.0" in capsys.readouterr().out
    everything, clipped, alone, line = figure.axes[0].lines
    assert list(everything.get_ydata()) == [0.5, 2.0, 3.0, 1.0]
    assert list(clipped.get_xdata()) == [2, 3] and list(alone.get_xdata()) == [1, 4]
    assert clipped.get_marker() != alone.get_marker()
    assert set(line.get_ydata()) == {1.0}
    assert legend(figure) == ["clipped: 2 steps", "left alone: 2 steps"]
    assert legend(plots.plot_gradient_norms([2.0, 3.0], limit=1.0)) == ["clipped: 2 steps"]


def test_losses_stand_beside_the_loss_of_guessing(capsys):
    figure = plots.plot_losses({"good": [2.0, 1.0], "burnt": [2.0, 9.0]}, classes=8)
    assert "training loss of good: from ≈ 2.00 to ≈ 1.00; burnt: from ≈ 2.00 to ≈ 9.00" in capsys.readouterr().out
    assert [list(line.get_ydata()) for line in figure.axes[0].lines[:2]] == [[2.0, 1.0], [2.0, 9.0]]
    assert set(figure.axes[0].lines[2].get_ydata()) == {np.log(8)}
    assert written(figure) == ["good", "burnt"] and legend(figure) == ["guessing among 8: 2.08"]
    assert figure.axes[0].get_yscale() == "linear"
    learned = plots.plot_losses({"by heart": [2.0, 0.0]}, classes=8).axes[0]
    assert learned.texts[0].xy[1] >= 0.05 * 2.0  # the name does not lie on the axis
    assert plots.plot_losses({"good": [2.0, 1.0]}, classes=8, log=True).axes[0].get_yscale() == "log"


def test_scores_mark_the_best_step_of_every_run(capsys):
    figure = plots.plot_scores({"pre-trained": {10: 0.4, 20: 0.6, 30: 0.5}, "random": {10: 0.1, 20: 0.2, 30: 0.3}})
    out = capsys.readouterr().out
    assert "pre-trained is best at ≈ 0.60, after ≈ 20 steps; random is best at ≈ 0.30, after ≈ 30 steps" in out
    lines = figure.axes[0].lines
    assert [(list(ring.get_xdata()), list(ring.get_ydata())) for ring in lines[1::2]] == [([20], [0.6]), ([30], [0.3])]
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["pre-trained", "random"]
    right = figure.axes[0].transData.transform([(text.xy) for text in figure.axes[0].texts])
    assert (right[:, 0] < figure.axes[0].bbox.x1).all()  # the names have room beside the lines


def test_step_lengths_are_measured_in_learning_rates(capsys):
    figure = plots.plot_step_lengths({"odd": [0.5, 1.5, 0.1], "clipped": [0.5, 0.8, 0.3]})
    out = capsys.readouterr().out
    assert "odd: longest step 1.50 learning rates, mean of the last hundred 0.70; clipped: longest step 0.80" in out
    assert [list(line.get_ydata()) for line in figure.axes[0].lines[:2]] == [[0.5, 1.5, 0.1], [0.5, 0.8, 0.3]]
    assert set(figure.axes[0].lines[2].get_ydata()) == {1}
    assert legend(figure) == ["odd", "clipped"]


# --- scores -----------------------------------------------------------------------------------------------------


def test_two_sets_are_joined_by_a_line_for_each_name(capsys):
    figure = plots.plot_two_sets({"GPT": (0.5, 0.45), "TF-IDF": (0.6, 0.62)})
    assert "on validation and on test: GPT ≈ 0.50 and ≈ 0.45; TF-IDF ≈ 0.60 and ≈ 0.62" in capsys.readouterr().out
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[0.5, 0.45], [0.6, 0.62]]
    assert [text.get_text().strip() for text in figure.axes[0].texts] == ["GPT", "TF-IDF"]


def test_names_that_would_cover_each_other_are_moved_apart():
    figure = plots.plot_two_sets({"a": (0.5, 0.60), "b": (0.5, 0.601), "c": (0.5, 0.602), "d": (0.5, 0.2)})
    heights = {text.get_text().strip(): text.get_position()[1] for text in figure.axes[0].texts}
    assert heights["a"] < heights["b"] < heights["c"]
    shown = figure.axes[0].transData.transform([(0, height) for height in sorted(heights.values())])[:, 1]
    assert np.diff(shown).min() > 10  # points at 72 dpi, about a line of text


def test_many_winners_have_a_mean_and_the_truth_beside_them(capsys):
    figure = plots.plot_two_sets({str(i): (0.66, 0.6 + 0.01 * i) for i in (-1, 0, 1)}, true=0.6)
    assert "3 winners fall from 0.660 on validation to 0.600 on test, on average" in capsys.readouterr().out
    assert list(figure.axes[0].lines[3].get_ydata()) == pytest.approx([0.66, 0.6])
    assert legend(figure) == ["mean of the winners", "what all of them are worth: 0.6"]


def test_reliability_compares_claim_and_result_in_equal_groups(evaluation, capsys):
    figure = plots.plot_reliability(evaluation, bins=2)
    out = capsys.readouterr().out
    assert f"mean confidence is ≈ {(0.89 + 0.61) / 2:.2f}, accuracy ≈ 0.70; in ≈ 0 of 2 groups" in out
    _, _, low_half, _, high_half = figure.axes[0].lines
    assert (*low_half.get_xdata(), *low_half.get_ydata()) == (pytest.approx(0.61), 0.5)
    assert (*high_half.get_xdata(), *high_half.get_ydata()) == (pytest.approx(0.89), 0.9)
    interval = figure.axes[0].lines[1].get_ydata()
    assert tuple(interval) == accuracy_interval(np.arange(20) < 10, np.ones(20))


def test_groups_below_the_diagonal_are_counted(evaluation, capsys):
    boastful = np.eye(2)[evaluation.predicted]
    boaster = Evaluation(evaluation.labels, evaluation.true, evaluation.predicted, boastful)
    figure = plots.plot_reliability(boaster, bins=2)
    assert "in ≈ 2 of 2 groups the whole interval lies below" in capsys.readouterr().out
    assert figure.axes[0].get_xlim()[1] > 1  # where it is quite sure, the frame does not cut its mark


def test_coverage_runs_from_the_surest_answers_to_all(evaluation, capsys):
    figure = plots.plot_coverage(evaluation, threshold=0.75)
    assert "accuracy is ≈ 0.70 on all tickets and ≈ 0.90 on the surer half" in capsys.readouterr().out
    line, mark = figure.axes[0].lines
    assert list(line.get_xdata()) == [n / 40 for n in range(20, 41)]
    assert line.get_ydata()[0] == 0.9 and line.get_ydata()[-1] == 0.7
    assert set(mark.get_xdata()) == {0.5}
    assert figure.axes[0].texts[0].get_text().strip() == "threshold 0.75"


def test_every_figure_is_sharp_opaque_and_closed(evaluation):
    from matplotlib import pyplot as plt

    for figure in (
        plots.plot_gradient_norms([1.0, 2.0], 1.5),
        plots.plot_losses({"a": [1.0]}, 2),
        plots.plot_scores({"a": {1: 0.5}}),
        plots.plot_two_sets({"a": (0.1, 0.2)}),
        plots.plot_reliability(evaluation),
        plots.plot_coverage(evaluation),
    ):
        assert figure.get_dpi() == 150 and np.allclose(figure.get_facecolor(), 1)
        assert not plt.fignum_exists(figure.number)
