"""Lesson 5: the fine-tuning loop."""

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Value
from torch import nn

from course_utils.architecture import add_lora, count_parameters, freeze_below
from course_utils.evaluation import evaluate
from course_utils.history import update_best
from course_utils.models import load_classifier, load_language_model, load_tokenizer
from course_utils.pipeline import collate, make_loader, make_optimizer, make_scheduler
from course_utils.training import (
    Diverged,
    FineTuneSettings,
    History,
    adapt,
    add_gradients,
    fine_tune,
    train_and_validate,
)

SETTINGS = FineTuneSettings(learning_rate=1e-3, epochs=3, batch_size=8, patience=None, precision="fp32")


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
    made = []
    for cuts in ([0, 5, 10, 12], [0, 12]):
        model = classifier(few, dropout=0.0)
        batches = [collate(rows[i:j], model.config.pad_token_id) for i, j in pairwise(cuts)]
        made.append((add_gradients(model, batches, precision="fp32"), model.score.weight.grad))
    assert made[0][0] == pytest.approx(made[1][0], abs=1e-5)
    torch.testing.assert_close(made[0][1], made[1][1], atol=1e-6, rtol=1e-3)


def test_the_last_step_of_an_epoch_may_have_fewer_batches(few, tiny):
    settings = replace(SETTINGS, epochs=1, accumulate=3)
    history = fine_tune(classifier(few, name=tiny), few["train"], few["validation"], settings)
    assert len(history.loss) == 2  # four batches of 8: three, then one


def test_the_best_epoch_is_restored(few, tiny):
    """A rate that ruins the model late: the weights at the end must still be those of the best epoch."""
    model = classifier(few, name=tiny)
    settings = replace(SETTINGS, learning_rate=1e-2, epochs=4, schedule="constant", monitor="validation_loss")
    history = fine_tune(model, few["train"], few["validation"], settings)
    assert history.best_epoch < 4  # or nothing would have to be restored
    lowest = min(row["validation_loss"] for row in history.validations)
    assert history.best["validation_loss"] == lowest
    assert evaluate(model, few["validation"]).loss == pytest.approx(lowest, abs=1e-4)


def test_training_stops_when_patience_runs_out():
    history, settings = History(), replace(SETTINGS, patience=2)
    for epoch, score in enumerate([0.3, 0.5, 0.4], start=1):
        history.validations.append({"step": 4 * epoch, "epoch": epoch, "macro_f1": score})
        assert update_best(history, settings) == (epoch <= 2)
        assert history.ended == "running"
    history.validations.append({"step": 16, "epoch": 4, "macro_f1": 0.5})
    assert not update_best(history, settings)
    assert (history.ended, history.best_epoch, history.best_step) == ("stopped early", 2, 8)


def test_early_stopping_ends_a_real_run(few, tiny):
    """A rate too small to change any prediction: no epoch can beat the first."""
    settings = replace(SETTINGS, learning_rate=1e-12, epochs=9, patience=2)
    history = fine_tune(classifier(few, name=tiny), few["train"], few["validation"], settings)
    assert history.ended == "stopped early"
    assert (len(history.validations), history.best_epoch) == (3, 1)


def test_ctrl_c_keeps_the_best_weights(few, tiny):
    def interrupt(history):
        if len(history.loss) == 6:
            raise KeyboardInterrupt

    model = classifier(few, name=tiny)
    history = fine_tune(model, few["train"], few["validation"], SETTINGS, on_step=interrupt)
    assert (history.ended, len(history.validations), history.best_epoch) == ("interrupted", 1, 1)
    assert evaluate(model, few["validation"]).loss == pytest.approx(history.best["validation_loss"], abs=1e-4)


def test_divergence_is_said_in_words(few, tiny):
    model = classifier(few, name=tiny)
    with torch.no_grad():
        model.score.weight.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match=r"diverged; lower the learning rate of 0\.001"):
        fine_tune(model, few["train"], few["validation"], SETTINGS)


def test_a_run_that_diverges_late_keeps_its_history_and_its_best_weights(few, tiny):
    model = classifier(few, name=tiny)
    settings = replace(SETTINGS, learning_rate=1e19, clip=math.inf, steps=30, validate_every=1, warmup_share=0.1)
    with pytest.raises(Diverged) as error:
        fine_tune(model, few["train"], few["validation"], settings)
    assert 0 < len(error.value.history.loss) < 30
    assert all(p.isfinite().all() for p in model.parameters())
    assert evaluate(model, few["validation"]).macro_f1 == pytest.approx(error.value.history.best["macro_f1"])


def test_frozen_weights_stay_as_they_were(few, tiny):
    model = freeze_below(classifier(few, name=tiny), 2)
    before = {name: p.clone() for name, p in model.named_parameters()}
    fine_tune(model, few["train"], few["validation"], replace(SETTINGS, epochs=1))
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"score.weight"}
    assert count_parameters(model)[0] == model.score.weight.numel()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 0}, "epochs counts from 1 up"),
        ({"steps": 0}, "steps counts from 1 up"),
        ({"validate_every": -1}, "validate_every counts from 1 up"),
        ({"accumulate": 0}, "accumulate counts from 1 up"),
        ({"patience": 0}, "patience counts from 1 up"),
        ({"monitor": "vibes"}, "monitor is one of macro_f1"),
        ({"clip": 0}, "clip is the largest norm"),
        ({"clip": -1.0}, "clip is the largest norm"),
        ({"batch_size": 0}, "batch_size counts from 1 up"),
        ({"epochs": 1.5}, "in whole numbers"),
        ({"steps": np.int64(3)}, "in whole numbers"),
        ({"label_smoothing": 1.5}, "label_smoothing is a share"),
        ({"seed": -1}, "seed is 0 or above"),
        ({"learning_rate": 0}, "above 0"),
        ({"schedule": "spiral"}, "choose one of"),
    ],
)
def test_impossible_settings_are_refused(few, tiny, change, says):
    with pytest.raises(ValueError, match=says):
        fine_tune(classifier(few, name=tiny), few["train"], few["validation"], replace(SETTINGS, **change))


def test_validation_rows_that_cannot_be_scored_are_refused_before_anything_is_trained(few, tiny):
    model = classifier(few, name=tiny)
    before = model.score.weight.clone()
    nameless = few["validation"].cast_column("label", Value("int64"))
    for rows, says in ((few["validation"].select([]), "no rows to validate on"), (nameless, "have no names")):
        with pytest.raises(ValueError, match=says):
            fine_tune(model, few["train"], rows, SETTINGS)
    assert torch.equal(model.score.weight, before)


def test_a_divergence_that_only_the_last_validation_sees_is_no_end(few, tiny, monkeypatch):
    nothing = SimpleNamespace(loss=float("nan"))
    monkeypatch.setattr("course_utils.training.validate", lambda *_: nothing)
    with pytest.raises(Diverged) as error:
        fine_tune(classifier(few, name=tiny), few["train"], few["validation"], replace(SETTINGS, steps=2))
    assert error.value.history.ended == "running" and len(error.value.history.loss) == 2


def test_labels_in_another_order_are_refused_before_anything_is_trained(few, tiny):
    """All numbers would fit: accuracy could be 1.0, and every name that predict gives would be wrong."""
    names = few["train"].features["label"].names
    for labels in (names[::-1], names[:-1], [*names, "other"]):
        model = load_classifier(labels, tiny)
        before = model.score.weight.clone()
        for use in (lambda m: fine_tune(m, few["train"], few["validation"]), lambda m: evaluate(m, few["validation"])):
            with pytest.raises(ValueError, match="the same names in the same order"):
                use(model)
        assert torch.equal(model.score.weight, before)


def test_a_run_counted_in_steps_validates_on_the_way_and_at_its_end(few, tiny):
    settings = replace(SETTINGS, steps=10, validate_every=4)
    history = fine_tune(classifier(few, name=tiny), few["train"], few["validation"], settings)
    assert [row["step"] for row in history.validations] == [4, 8, 10]
    assert [row["epoch"] for row in history.validations] == [1, 2, 2.5]
    assert (len(history.loss), history.ended) == (10, "finished")
    assert list(history.table().index) == [4, 8, 10]
    for row, start in zip(history.validations, (0, 4, 8), strict=True):
        assert row["train_loss"] == pytest.approx(sum(history.loss[start : row["step"]]) / (row["step"] - start))


def test_without_a_validation_on_the_way_the_last_weights_are_kept(few, tiny):
    model = classifier(few, name=tiny)
    before = model.score.weight.clone()
    history = fine_tune(model, few["train"], few["validation"], replace(SETTINGS, steps=3, validate_every=100))
    assert history.best_step == 3
    assert not torch.equal(model.score.weight, before)


def test_a_trained_model_predicts_without_dropout(few, tiny):
    model = classifier(few, name=tiny, dropout=0.5)
    fine_tune(model, few["train"], few["validation"], replace(SETTINGS, epochs=1))
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_a_step_that_was_cut_off_leaves_no_gradient_behind(few, tiny):
    """The second batch of a step fails; the next run must not begin with the first one's gradient."""
    model, calls = classifier(few, name=tiny), []

    def fail_in_the_second_batch():
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("cut off")

    loop = train_and_validate(
        model, few["train"], few["validation"], replace(SETTINGS, accumulate=2), before_batch=fail_in_the_second_batch
    )
    with pytest.raises(RuntimeError, match="cut off"):
        list(loop)
    assert all(p.grad is None for p in model.parameters())


def test_batches_go_where_the_model_is(few, tiny):
    """On PyTorch's meta device, which computes shapes only: as far as one comes without a second device."""
    model = classifier(few, name=tiny).to("meta")
    seen = []

    def look(model, batch, label_smoothing):
        seen.extend(tensor.device.type for tensor in batch.values())
        raise StopIteration

    batch = collate([few["train"][i] for i in range(3)], model.config.pad_token_id)
    with pytest.raises(StopIteration):
        add_gradients(model, [batch], look)
    assert seen == ["meta", "meta"]


def test_fine_tuning_does_not_move_a_model(few, tiny, monkeypatch):
    model = classifier(few, name=tiny)
    monkeypatch.setattr(model, "to", lambda *_: pytest.fail("the model was moved"))
    fine_tune(model, few["train"], few["validation"], replace(SETTINGS, steps=1))


@pytest.mark.parametrize("kind", ["tiny", "tiny_llama"])
def test_every_way_to_train_works_on_every_decoder(few, kind, request):
    folder = request.getfixturevalue(kind)
    for prepare in (lambda m: m, lambda m: freeze_below(m, 1), add_lora):
        for options in ({}, {"pooling": "mean"}):
            model = prepare(classifier(few, name=folder, **options))
            learning = {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
            history = fine_tune(
                model, few["train"], few["validation"], replace(SETTINGS, steps=4, layer_decay=0.9, warmup_share=0.0)
            )
            assert all(math.isfinite(loss) for loss in history.loss)
            assert any(not torch.equal(p, learning[n]) for n, p in model.named_parameters() if n in learning)


@pytest.mark.parametrize("kind", ["tiny", "tiny_llama"])
def test_adapting_to_texts_lowers_the_loss_on_them(splits, kind, request):
    folder = request.getfixturevalue(kind)
    model, tokenizer = load_language_model(folder), load_tokenizer(folder)
    losses = adapt(model, tokenizer, splits["train"]["text"][:60].tolist(), epochs=3, batch_size=4, context=64)
    assert sum(losses[-5:]) < 0.97 * sum(losses[:5])
    assert not model.training


def test_adapting_never_takes_rows_longer_than_asked(tiny, monkeypatch):
    """A context of 8,192 tokens, as today's models have it, would fill the memory of a laptop."""
    widths = []

    def look(model, data, *_, **__):
        widths.extend(map(len, data["input_ids"]))
        yield History()

    monkeypatch.setattr("course_utils.training.train_and_validate", look)
    adapt(load_language_model(tiny), load_tokenizer(tiny), ["one two three"] * 40, context=16)
    assert max(widths) == min(widths) == 16  # what is left at the end would weigh more than its tokens
    widths.clear()
    adapt(load_language_model(tiny), load_tokenizer(tiny), ["one two three"], context=16)
    assert len(widths) == 1
