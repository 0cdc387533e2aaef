"""Figures: each is drawn from real values, and its printed summary says the same as the picture."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from course_utils import plots
from course_utils.evaluation import Evaluation
from course_utils.training import History


@pytest.fixture
def history():
    epochs = [
        {"epoch": e, "step": 4 * e, "train_loss": 1.0, "validation_loss": 2 - 0.1 * e, "accuracy": 0.5, "macro_f1": f}
        for e, f in ((1, 0.3), (2, 0.62), (3, 0.5))
    ]
    return History(loss=list(np.linspace(2, 1, 12)), learning_rate=[0.1] * 12, epochs=epochs, best_epoch=2)


def test_history_shows_losses_and_the_best_epoch(history, capsys):
    figure = plots.plot_history(history)
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == history.loss
    assert right.lines[0].get_ydata().tolist() == [0.3, 0.62, 0.5]
    assert right.lines[1].get_xdata()[0] == 2
    assert "from ≈ 2.00" in capsys.readouterr().out


def test_confusion_writes_every_count_and_names_the_commonest_mix_up(capsys):
    true, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 0, 1])
    figure = plots.plot_confusion(Evaluation(["cat", "dog"], true, predicted, np.eye(2)[predicted]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "1", "2", "1"]
    assert "≈ 2 of 5 on the diagonal; the commonest mix-up is 'dog' taken for 'cat'" in capsys.readouterr().out


def test_comparison_draws_an_interval_for_each(capsys):
    figure = plots.plot_comparison({"a": (0.5, 0.4, 0.6), "b": (0.7, 0.65, 0.75)})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]
    assert "a ≈ 0.50 (≈ 0.40 to ≈ 0.60); b ≈ 0.70 (≈ 0.65 to ≈ 0.75)" in capsys.readouterr().out


def test_the_other_figures_say_what_they_show(capsys):
    import pandas as pd

    plots.plot_learning_rates({"linear": [0.0, 1.0, 0.5], "constant": [1.0, 1.0, 1.0]})
    assert "linear peaks at 1 at step 2, ends at 0.5" in capsys.readouterr().out
    plots.plot_next_tokens([" the", " a"], [0.5, 0.2], "on")
    assert "' the'" in capsys.readouterr().out
    lengths = plots.plot_lengths({"all": [1, 2, 9]}, limit=12)
    assert "median length all 2 tokens" in capsys.readouterr().out
    assert lengths.axes[0].get_legend().get_texts()[1].get_text() == "limit: 12"
    shares = plots.plot_label_shares({"train": pd.Series(list("xxxy")), "test": pd.Series(list("xy"))})
    assert (
        "largest label is 'x', the smallest 'y'; no label's share differs by more than 25.0%" in capsys.readouterr().out
    )
    assert [[bar.get_height() for bar in bars] for bars in shares.axes[0].containers] == [[0.75, 0.25], [0.5, 0.5]]


def test_smoothing_is_a_mean_of_the_last_values():
    assert plots.smooth([1, 2, 3, 6], window=2).tolist() == [1, 1.5, 2.5, 4.5]


def test_figures_are_closed_so_that_memory_does_not_grow(history):
    for _ in range(3):
        assert isinstance(plots.plot_history(history), Figure)
    assert plt.get_fignums() == []


def test_labels_are_counted_whole_and_a_diverged_run_leaves_the_chart():
    figure = Figure()
    plots.draw_label_curves(figure, {"TF-IDF": [(8, 0.3, 0.1), (203.75, 0.7, 0.0)]})
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["8", "204"]
    run = SimpleNamespace(history=History(loss=[2.0, 36.0], learning_rate=[0.1, 0.1]), steps=2, changes=[])
    figure = Figure()
    plots.draw_runs(figure, run)
    assert figure.axes[0].get_ylim() == (0, plots.LOSS_SHOWN)
