"""Lesson 8's lab: few labels, the knobs against over-fitting, early stopping."""

import pytest
import torch

from course_utils.labs import RegularizationLab


@pytest.fixture
def lab(tiny):
    lab = RegularizationLab(tiny, steps=40, validation_rows=2)
    yield lab
    lab.stop()


def test_early_stopping_counts_the_steps_it_saved(lab):
    lab.run(learning_rate=1e-1, patience=1, labels=4)
    run = lab.current
    assert run.state == "stopped early"
    assert f"≈ {40 - len(run.history.loss)} of 40 steps saved" in lab.status.value
    assert f"Back to step ≈ {run.history.best_step}," in lab.status.value
    assert len(run.history.loss) == run.history.best_step + 5


def test_another_seed_draws_other_labels(lab):
    lab.run(steps=1, labels=4, seed=0)
    first = set(lab.current.train["text"])
    lab.run(steps=1, seed=1)
    assert set(lab.current.train["text"]) != first
    lab.words()
    assert [lab.earlier[0].name, lab.current.name] == ["seed 0", "seed 1"]


def test_the_run_with_everything_off_stays_on_the_chart(lab):
    lab.run(steps=1)
    plain = lab.current
    for dropout in (0.1, 0.3, 0.5):
        lab.run(steps=1, dropout=dropout)
    assert lab.earlier[0] is plain and len(lab.earlier) == 3
    lab.words()
    assert [run.name for run in lab.earlier] == ["all off", "dropout 0.1", "dropout 0.3"]
    lab.run(steps=1, dropout=0.0, patience=1)
    lab.run(steps=1, weight_decay=0.1)
    assert lab.earlier[0] is plain
    lab.words()
    assert [run.name for run in lab.earlier] == ["all off", "dropout 0.5", "patience 1"]
    assert lab.current.name == "patience 1, weight decay 0.1"


def test_the_monitored_metric_picks_the_weights_that_are_kept(lab):
    for metric, best in (("validation_loss", "idxmin"), ("macro_f1", "idxmax")):
        rows = lab.run(learning_rate=1e-2, monitor=metric).table()
        assert lab.current.history.best_step == getattr(rows[metric], best)()
    assert "best macro-F1, restored" in [text.get_text() for text in lab.figure().axes[0].get_legend().get_texts()]


def test_the_gap_is_not_told_where_both_losses_are_measured_in_different_ways(lab):
    for knob in ("dropout", "label_smoothing"):
        lab.run(steps=10, **{"dropout": 0.0, "label_smoothing": 0.0} | {knob: 0.1})
        assert "training loss" not in lab.words()
        assert "its gap" not in [text.get_text() for text in lab.figure().axes[0].get_legend().get_texts()]
    lab.run(steps=10, label_smoothing=0.0)
    legend = [text.get_text() for text in lab.figure().axes[0].get_legend().get_texts()]
    assert {"its gap", "guessing: 2.08"} <= set(legend) and "training loss" in lab.words()


def test_the_legend_names_the_monitored_metric_only_where_it_is_unusual(lab):
    lab.run(steps=1)
    lab.run(steps=1, monitor="macro_f1")
    lab.words()
    assert [lab.earlier[0].name, lab.current.name] == ["all off", "monitor macro-F1"]


def test_the_score_quoted_is_the_one_at_the_lowest_validation_loss(lab):
    rows = lab.run().table()
    lowest = rows["validation_loss"].idxmin()
    assert f"≈ {rows['macro_f1'][lowest]:.2f} at the lowest validation loss, step ≈ {lowest}" in lab.words()
    gap = rows["validation_loss"].iloc[-1] - rows["train_loss"].iloc[-1]
    assert f"Validation loss is ≈ {abs(gap):.2f} {'above' if gap >= 0 else 'below'} training loss." in lab.words()


def test_the_controls_reach_the_run(lab):
    lab.run(steps=1, labels=8, dropout=0.3, weight_decay=0.1, label_smoothing=0.2, patience=3, learning_rate=1e-4)
    run = lab.current
    assert len(run.train) == 8 * 8
    assert {module.p for module in run.model.modules() if isinstance(module, torch.nn.Dropout)} == {0.3}
    assert (run.settings.weight_decay, run.settings.label_smoothing, run.settings.patience) == (0.1, 0.2, 3)
    assert (run.settings.batch_size, run.settings.accumulate, run.settings.validate_every) == (8, 2, 5)
    assert run.settings.learning_rate == 1e-4


def test_the_words_are_right_while_the_first_validation_is_being_written_down(lab):
    """The line under the chart may be written between a validation's row and the note that it is the best."""
    lab.run(steps=10)
    lab.current.history.best_step = None
    assert lab.words()
    lab.refresh()


def test_every_control_has_a_name(lab):
    assert all(control.description for control in lab.controls.values())


def test_the_network_is_moved_to_the_device_that_was_picked(tiny, monkeypatch):
    monkeypatch.setattr("course_utils.labs.regularization.pick_device", lambda: torch.device("meta"))
    lab = RegularizationLab(tiny)
    assert {p.device.type for p in lab.model.parameters()} == {"meta"}
