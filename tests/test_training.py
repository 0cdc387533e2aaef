"""Lesson 5: the fine-tuning loop."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from course_utils.checkpoints import replace_safely
from course_utils.evaluation import evaluate
from course_utils.models import count_parameters, freeze_below, load_classifier
from course_utils.pipeline import collate, make_loader, make_optimizer, make_scheduler
from course_utils.training import FineTuneSettings, History, fine_tune, train_steps, update_best

SETTINGS = FineTuneSettings(learning_rate=1e-3, epochs=3, batch_size=8, patience=None)


def classifier(data, **options):
    return load_classifier(data["train"].features["label"].names, **options)


@pytest.fixture(scope="module")
def trained(few):
    model = classifier(few)
    return model, fine_tune(model, few["train"], few["validation"], SETTINGS)


def test_the_loss_falls_from_that_of_guessing(trained):
    loss = trained[1].loss
    assert loss[0] == pytest.approx(math.log(8), abs=0.7)
    assert sum(loss[-4:]) / 4 < 0.8 * sum(loss[:4]) / 4


def test_the_loop_written_out_gives_the_same_losses(few, trained):
    """The loop of lesson 5, in its plainest form, against the library's."""
    model = classifier(few)
    loader = make_loader(few["train"], SETTINGS.batch_size, model.config.pad_token_id, SETTINGS.seed)
    optimizer = make_optimizer(model, SETTINGS.learning_rate, SETTINGS.weight_decay)
    scheduler = make_scheduler(optimizer, SETTINGS.epochs * len(loader), SETTINGS.warmup_share)
    torch.manual_seed(SETTINGS.seed)
    losses = []
    for epoch in range(1, SETTINGS.epochs + 1):
        loader.batch_sampler.set_epoch(epoch)
        model.train()
        for batch in loader:
            loss = nn.functional.cross_entropy(model(input_ids=batch["input_ids"]).logits, batch["labels"])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), SETTINGS.clip)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        evaluate(model, few["validation"])
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(trained[1].loss), atol=1e-5, rtol=1e-4)


def test_accumulated_batches_make_the_step_that_one_large_batch_makes(few):
    """Batches of 5, 5 and 2 rows against one of 12; without dropout, whose masks would differ."""
    rows = [few["train"][i] for i in range(12)]
    weights = []
    for cuts in ([0, 5, 10, 12], [0, 12]):
        model = classifier(few, dropout=0.0)
        optimizer = make_optimizer(model, 1e-3)
        batches = [collate(rows[i:j], model.config.pad_token_id) for i, j in pairwise(cuts)]
        settings = replace(SETTINGS, accumulate=3)
        losses = list(train_steps(model, batches, optimizer, make_scheduler(optimizer, 1, 0.0, "constant"), settings))
        assert len(losses) == 1
        weights.append((losses[0], optimizer.state[model.score.weight]["exp_avg"]))
    assert weights[0][0] == pytest.approx(weights[1][0], abs=1e-5)
    torch.testing.assert_close(weights[0][1], weights[1][1], atol=1e-6, rtol=1e-3)


def test_the_last_step_of_an_epoch_may_have_fewer_batches(few):
    history = fine_tune(classifier(few), few["train"], few["validation"], replace(SETTINGS, epochs=1, accumulate=3))
    assert len(history.loss) == 2  # four batches of 8: three, then one


def test_the_best_epoch_is_restored(few):
    """A rate that ruins the model late: the weights at the end must still be those of the best epoch."""
    model = classifier(few)
    settings = replace(SETTINGS, epochs=4, schedule="constant", monitor="validation_loss")
    history = fine_tune(model, few["train"], few["validation"], settings)
    best = history.epochs[history.best_epoch - 1]
    assert best["validation_loss"] == min(row["validation_loss"] for row in history.epochs)
    assert evaluate(model, few["validation"]).loss == pytest.approx(best["validation_loss"], abs=1e-4)


def test_training_stops_when_patience_runs_out():
    history, settings = History(), replace(SETTINGS, patience=2)
    for epoch, score in enumerate([0.3, 0.5, 0.4], start=1):
        history.epochs.append({"epoch": epoch, "macro_f1": score})
        assert update_best(history, settings) == (epoch <= 2)
        assert history.ended == "running"
    history.epochs.append({"epoch": 4, "macro_f1": 0.5})
    assert not update_best(history, settings)
    assert (history.ended, history.best_epoch) == ("stopped early", 2)


def test_early_stopping_ends_a_real_run(few):
    """A rate too small to change any prediction: no epoch can beat the first."""
    history = fine_tune(
        classifier(few), few["train"], few["validation"], replace(SETTINGS, learning_rate=1e-12, epochs=9, patience=2)
    )
    assert history.ended == "stopped early"
    assert (len(history.epochs), history.best_epoch) == (3, 1)


class Crash(Exception):
    pass


def crash_at(step):
    def on_step(history):
        if len(history.loss) == step:
            raise Crash

    return on_step


def test_a_run_that_crashed_goes_on_with_the_same_losses(few, tmp_path):
    """With dropout, so that the random state must have been saved as well."""
    path = tmp_path / "run.safetensors"
    whole = classifier(few, dropout=0.1)
    wanted = fine_tune(whole, few["train"], few["validation"], SETTINGS)
    with pytest.raises(Crash):
        fine_tune(classifier(few, dropout=0.1), few["train"], few["validation"], SETTINGS, path, on_step=crash_at(6))
    model = classifier(few, seed=99, dropout=0.1)  # whatever is in the model, the checkpoint replaces it
    history = fine_tune(model, few["train"], few["validation"], SETTINGS, path)
    torch.testing.assert_close(torch.tensor(history.loss), torch.tensor(wanted.loss), atol=1e-6, rtol=1e-5)
    assert history.best_epoch == wanted.best_epoch
    torch.testing.assert_close(model.score.weight, whole.score.weight, atol=1e-5, rtol=1e-4)


def test_a_finished_run_is_not_trained_again(few, tmp_path):
    path, settings = tmp_path / "run.safetensors", replace(SETTINGS, epochs=1)
    model = classifier(few)
    first = fine_tune(model, few["train"], few["validation"], settings, path)
    again = fine_tune(classifier(few), few["train"], few["validation"], settings, path)
    assert again.loss == first.loss


def test_a_checkpoint_of_other_settings_is_refused(few, tmp_path):
    path = tmp_path / "run.safetensors"
    fine_tune(classifier(few), few["train"], few["validation"], replace(SETTINGS, epochs=1), path)
    with pytest.raises(ValueError, match="another learning_rate and epochs"):
        fine_tune(classifier(few), few["train"], few["validation"], replace(SETTINGS, learning_rate=1e-4), path)


def test_ctrl_c_keeps_the_best_weights(few, tmp_path):
    def interrupt(history):
        if len(history.loss) == 6:
            raise KeyboardInterrupt

    model = classifier(few)
    history = fine_tune(model, few["train"], few["validation"], SETTINGS, on_step=interrupt)
    assert (history.ended, len(history.epochs), history.best_epoch) == ("interrupted", 1, 1)
    assert evaluate(model, few["validation"]).loss == pytest.approx(history.epochs[0]["validation_loss"], abs=1e-4)


def test_divergence_is_said_in_words(few):
    model = classifier(few)
    with torch.no_grad():
        model.score.weight.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match=r"diverged; lower the learning rate of 0\.001"):
        fine_tune(model, few["train"], few["validation"], SETTINGS)


def test_frozen_weights_stay_as_they_were(few):
    model = freeze_below(classifier(few), 6)
    before = {name: p.clone() for name, p in model.named_parameters()}
    fine_tune(model, few["train"], few["validation"], replace(SETTINGS, epochs=1))
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"score.weight"}
    assert count_parameters(model)[0] == model.score.weight.numel()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 0}, "counts from 1 up"),
        ({"accumulate": 0}, "counts from 1 up"),
        ({"monitor": "vibes"}, "monitor is"),
        ({"patience": 0}, "patience counts epochs"),
        ({"batch_size": 0}, "at least one row"),
        ({"learning_rate": 0}, "above 0"),
        ({"schedule": "spiral"}, "choose one of"),
    ],
)
def test_impossible_settings_are_refused(few, change, says):
    with pytest.raises(ValueError, match=says):
        fine_tune(classifier(few), few["train"], few["validation"], replace(SETTINGS, **change))


def test_a_failed_write_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(Crash), replace_safely(path) as temporary:
        temporary.write_text("half of the n")
        raise Crash
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
