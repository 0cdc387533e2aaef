"""The labs, driven as a hand would drive them, but without a browser: values set, buttons clicked."""

import json
import random
import time

import psutil
import pytest

from course_utils import experiments, labs
from course_utils.experiments import Recipe
from tests.test_live import wait_for


@pytest.fixture
def lab(tiny):
    lab = labs.LearningRateLab(tiny, steps=60, validation_rows=2)
    yield lab
    lab.stop()


@pytest.fixture
def regularization(tiny):
    lab = labs.RegularizationLab(tiny, steps=40, validation_rows=2)
    yield lab
    lab.stop()


def click(lab, name):
    lab.buttons[name].click()


def test_run_draws_a_point_within_a_second_and_reaches_the_end(lab):
    empty = lab.chart.value
    start = time.monotonic()
    click(lab, "Run")
    wait_for(lambda: lab.current.history.loss and lab.chart.value != empty)
    assert time.monotonic() - start < 1
    assert lab.current.wait(30)
    assert "Finished after 60 of 60 steps" in lab.status.value
    assert bytes(lab.chart.value).startswith(b"\x89PNG")


def test_the_chart_is_redrawn_two_to_four_times_a_second(lab):
    lab.steps = 100_000
    pictures = []
    lab.chart.observe(lambda change: pictures.append(time.monotonic()), "value")
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) > 3)
    counts = []
    for _ in range(3):  # other tests share the machine, so the best of three spans counts for "often enough"
        pictures.clear()
        time.sleep(3)
        counts.append(len(pictures))
    click(lab, "Stop")
    assert max(counts) >= 2 * 3 - 1, counts
    assert max(counts) <= 4 * 3, counts


def test_moving_the_slider_changes_the_rate_of_the_run_and_is_marked(lab):
    lab.steps = 100_000
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) > 5)
    lab.controls["learning_rate"].value = 1e-2
    wait_for(lambda: lab.current.history.learning_rate[-1] == pytest.approx(1e-2))
    click(lab, "Stop")
    assert lab.current.changes[0][1] == pytest.approx(1e-2)
    assert "learning rate 0.01" in lab.status.value


def test_pause_resume_stop_reset(lab):
    lab.steps = 100_000
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) > 2)
    click(lab, "Pause")
    wait_for(lambda: lab.buttons["Pause"].description == "Resume")
    assert "Paused" in lab.status.value
    click(lab, "Pause")
    wait_for(lambda: lab.current.state == "running")
    click(lab, "Stop")
    assert lab.current.state == "stopped"
    click(lab, "Reset")
    assert lab.current is None and not lab.earlier
    assert "Press Run" in lab.status.value


def test_stop_is_obeyed_within_half_a_second(lab):
    lab.steps, taken = 100_000, []
    for _ in range(3):  # the best of three counts, as other tests share the machine
        click(lab, "Run")
        wait_for(lambda: len(lab.current.history.loss) > 2)
        start = time.monotonic()
        click(lab, "Stop")
        taken.append(time.monotonic() - start)
        assert lab.current.state == "stopped"
    assert min(taken) < 0.5, taken


def test_a_second_run_is_refused_with_a_sentence(lab):
    lab.steps = 100_000
    click(lab, "Run")
    first = lab.current
    click(lab, "Run")
    assert lab.current is first
    time.sleep(1)  # the sentence outlasts the next pictures
    assert "A run is going on: press Stop first." in lab.status.value
    with pytest.raises(RuntimeError, match="press Pause or Stop"):
        lab.figure()
    with pytest.raises(RuntimeError, match="press Stop"):
        lab.run(steps=1)
    click(lab, "Range test")
    assert lab.current is first


def test_with_and_without_widgets_the_numbers_are_the_same(lab):
    history = lab.run(steps=20, learning_rate=3e-3, batch_size=8)
    click(lab, "Run")
    wait_for(lambda: len(lab.current.history.loss) >= 20)
    assert lab.current.history.loss[:20] == history.loss


def test_earlier_runs_stay_for_comparison_without_their_networks(lab):
    for rate in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e-3):
        lab.run(steps=2, learning_rate=rate)
    assert [run.name for run in lab.earlier] == [f"{rate:.1e}, constant" for rate in (1e-3, 1e-2, 1e-1)]
    assert all(run.model is None for run in lab.earlier)


def test_presets_set_the_rate(lab):
    lab.preset.value = "too high"
    assert lab.controls["learning_rate"].value == pytest.approx(lab.presets["too high"])


def test_unknown_controls_and_values_are_named(lab):
    with pytest.raises(ValueError, match="no control 'rate'"):
        lab.run(rate=1)
    with pytest.raises(ValueError, match="'batch_size' does not take 7"):
        lab.run(batch_size=7)


def test_an_error_in_the_thread_is_shown_as_text_not_as_html(lab, monkeypatch):
    def break_down(*_):
        raise OSError("<b>disk</b> full")

    monkeypatch.setattr(labs.LiveTraining, "_validate", break_down)
    click(lab, "Run")
    lab.current.wait(30)
    assert "The run failed. OSError: &lt;b&gt;disk&lt;/b&gt; full" in lab.status.value
    with pytest.raises(RuntimeError, match="disk"):
        lab.run()


def test_a_picture_that_fails_does_not_end_the_training(lab, monkeypatch):
    monkeypatch.setattr(lab, "draw", lambda figure: 1 / 0)
    click(lab, "Run")
    assert lab.current.wait(30)
    assert lab.current.state == "finished"
    assert "could not be drawn. ZeroDivisionError" in lab.status.value


def test_the_range_test_says_what_it_found_and_is_not_compared_with_runs(lab):
    steepest, blow_up = lab.run_range_test()
    assert 1e-6 < steepest < 1 and (blow_up is None or blow_up > steepest)
    assert "falls most steeply at a rate of" in lab.status.value
    lab.run(steps=2)
    assert not lab.earlier


def test_every_control_has_a_name_and_the_fallback_is_a_sentence(lab, regularization):
    for each in (lab, regularization):
        assert all(control.description for control in each.controls.values())
        assert all(button.tooltip for button in each.buttons.values())
        assert each._repr_mimebundle_()["text/plain"].endswith("run this cell in JupyterLab to use it.")


def test_the_static_figure_says_the_same_as_the_live_text(lab, capsys):
    lab.run(steps=12)
    figure = lab.figure()
    assert len(figure.axes) == 3
    assert lab.words() in capsys.readouterr().out


def test_early_stopping_counts_the_steps_it_saved(regularization):
    regularization.run(learning_rate=1e-1, patience=1, labels=4)
    assert "patience 1" in regularization.current.name
    run = regularization.current
    assert run.state == "stopped early"
    assert f"≈ {40 - len(run.history.loss)} of 40 steps saved" in regularization.status.value
    assert f"Back to step ≈ {run.history.epochs[run.history.best_epoch - 1]['step']}" in regularization.status.value


def test_another_seed_draws_other_labels(regularization):
    regularization.run(steps=1, labels=4, seed=0)
    first = set(regularization.current.train["text"])
    regularization.run(steps=1, seed=1)
    assert set(regularization.current.train["text"]) != first
    assert "seed 1" in regularization.current.name


def test_the_score_quoted_is_the_one_at_the_lowest_validation_loss(regularization):
    regularization.run(steps=20)
    epochs = regularization.current.history.epochs
    lowest = min(epochs, key=lambda row: row["validation_loss"])
    quoted = f"≈ {lowest['macro_f1']:.2f} at the lowest validation loss, step ≈ {lowest['step']}"
    assert quoted in regularization.words()


def test_regularization_controls_reach_the_run(regularization):
    regularization.run(
        steps=1, labels=8, dropout=0.3, weight_decay=0.1, label_smoothing=0.2, patience=3, learning_rate=1e-4
    )
    run = regularization.current
    assert len(run.train) == 8 * 8
    assert run.model.transformer.drop.p == 0.3
    assert (run.settings.weight_decay, run.settings.label_smoothing, run.settings.patience) == (0.1, 0.2, 3)
    assert run.settings.learning_rate == pytest.approx(1e-4)


@pytest.fixture
def transfer(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "STEPS", 5)
    monkeypatch.setitem(experiments.NETWORKS, "pre-trained", Recipe(rates=(1e-3, 1e-2)))
    study = experiments.Study(("TF-IDF", "pre-trained"), (8,), 2)
    experiments.run_study(study, labs.load_splits(), tmp_path / "transfer.json", model=tiny)
    lab = labs.TransferLab(tmp_path / "transfer.json")
    yield lab
    lab.stop()


def test_the_words_under_the_measured_curves_give_their_ends(transfer):
    mean = experiments.summarize(transfer.measured)[("TF-IDF", "8")][0]
    assert f"TF-IDF {mean:.2f} and {mean:.2f}" in transfer.status.value


def test_a_live_point_repeats_the_measurement_of_its_seed(transfer):
    measured = json.loads(json.dumps(transfer.measured["runs"]))
    click_and_wait = [("pre-trained", 0), ("TF-IDF", 1), ("pre-trained", 1)]
    for name, seed in click_and_wait:
        transfer.set(contestant=name, labels=8, seed=seed)
        count = len(transfer.points)
        click(transfer, "Run")
        wait_for(lambda count=count: len(transfer.points) > count, 60)
        assert transfer.points[-1] == (name, 8, pytest.approx(measured[f"{name}, 8, seed {seed}"]["macro_f1"]))
        wait_for(lambda: "Point" in transfer.status.value)
        assert "Measured over several seeds" in transfer.status.value
    click(transfer, "Reset")
    assert not transfer.points


def test_a_method_takes_the_rate_that_was_best_when_it_was_measured(transfer):
    measured = experiments.read_results("methods")["runs"]["LoRA, 32, seed 0"]["rate"]
    assert measured != experiments.NETWORKS["LoRA"].rates[0]
    transfer.set(contestant="LoRA", labels=16)
    assert transfer.make_run().settings.learning_rate == measured


def test_twenty_runs_stopped_at_random_leave_no_memory_behind(lab):
    lab.steps = 100_000
    rng, process = random.Random(0), psutil.Process()
    sizes = []
    for _ in range(20):
        click(lab, "Run")
        wait_for(lambda: lab.current.history.loss)
        time.sleep(rng.random() / 2)
        click(lab, "Stop")
        assert lab.current.state == "stopped"
        sizes.append(process.memory_info().rss)
    assert sizes[-1] < 1.1 * sizes[0]
