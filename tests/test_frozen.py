"""Lesson 10: what frozen blocks make of a text, read once and kept."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers.processors import TemplateProcessing
from torch.nn import functional as F

from course_utils import frozen
from course_utils.architecture import (
    add_lora,
    body_parts,
    context_length,
    freeze_below,
    freeze_body,
    frozen_blocks,
    keep_blocks,
    set_dropout,
)
from course_utils.evaluation import evaluate, evaluate_baseline, predict_logits
from course_utils.frozen import (
    StateReader,
    describe_task,
    frozen_classifier,
    pooled_states,
    remember_states,
    start_head,
    upper_blocks,
)
from course_utils.history import FineTuneSettings
from course_utils.models import load_classifier, load_language_model
from course_utils.training import copy_weights, fine_tune

SETTINGS = FineTuneSettings(learning_rate=1e-2, epochs=2, batch_size=6, patience=None)


def classifier(few, name, pooling="mean"):
    return load_classifier(few["train"].features["label"].names, name, pooling=pooling)


# --- states and probes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_states_after_the_last_block_are_what_the_head_reads(any_tiny, few, pooling):
    model, ids = classifier(few, any_tiny, pooling), few["validation"]["input_ids"]
    top = len(body_parts(model).blocks)
    states = pooled_states(model, ids, [0, top], pooling, batch_size=5)
    assert states.shape == (len(ids), 2, 32)
    read = torch.from_numpy(states[:, 1])
    torch.testing.assert_close(F.linear(read, model.score.weight), predict_logits(model, ids))
    assert model.training  # as it was


def test_a_text_that_is_pooled_in_two_ways_is_read_once(any_tiny, few, monkeypatch):
    model, ids = classifier(few, any_tiny), few["validation"]["input_ids"][:9]
    apart = [pooled_states(model, ids, [0, 1], pooling) for pooling in ("last", "mean")]
    calls = []
    monkeypatch.setattr(frozen, "mixed_precision", lambda model: calls.append(1) or nullcontext())
    np.testing.assert_array_equal(pooled_states(model, ids, [0, 1], ["last", "mean"], batch_size=9), np.stack(apart))
    assert len(calls) == 1


@pytest.mark.parametrize("prompt", [[], [5, 6, 7]])
def test_states_do_not_depend_on_the_batch(any_tiny, few, prompt):
    model, ids = classifier(few, any_tiny), few["validation"]["input_ids"][:9]
    alone, together = (pooled_states(model, ids, [1], prompt=prompt, batch_size=size) for size in (1, 9))
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_the_kept_prompt_gives_the_states_of_prompt_and_text_in_one(any_tiny, few):
    model, text, prompt = classifier(few, any_tiny).eval(), few["validation"]["input_ids"][0], [5, 6, 7]
    with torch.no_grad():
        whole = model.base_model(torch.tensor([[*prompt, *text]]), output_hidden_states=True).hidden_states
    for pooling, expected in (("mean", whole[1][0, 3:].mean(0)), ("last", whole[1][0, -1])):
        states = pooled_states(model, [text, text[:2]], [1], pooling, prompt)
        np.testing.assert_allclose(states[0, 0], expected.numpy(), atol=1e-5)


def test_states_that_do_not_exist_are_refused(any_tiny, few):
    with pytest.raises(ValueError, match=r"no state after 9 of them"):
        pooled_states(classifier(few, any_tiny), [[1, 2]], [1, 9])
    with pytest.raises(ValueError, match="pooling is 'mean' or 'last', not 'max'"):
        pooled_states(classifier(few, any_tiny), [[1, 2]], [1], "max")
    with pytest.raises(ValueError, match="pooling is 'mean' or 'last', not 'first'"):
        pooled_states(classifier(few, any_tiny), [[1, 2]], [1], ["mean", "first"])


def test_a_classifier_on_real_states_beats_guessing(few, tokenizer):
    model = classifier(few, "gpt2-mini")
    reader = StateReader(model, tokenizer)
    assert reader.after == upper_blocks(model) == [2, 3, 4, 5, 6]
    result = evaluate_baseline(frozen_classifier(reader), few["train"], few["test"])
    assert result.accuracy > 1.5 / 8


def test_a_reader_reads_each_text_once(any_tiny, few, tokenizer, counted):
    model = classifier(few, any_tiny)
    reader, work = StateReader(model, tokenizer, "Sort:", [1, 2]), counted(body_parts(model).blocks[0])
    states = reader(["one", "two", "one"])
    assert states.shape == (3, 64) and (states[0] == states[2]).all() and (states[0] != states[1]).any()
    assert sum(work) == 1 + 2  # the prompt and two texts
    reader(["two"])
    assert sum(work) == 3


def test_a_prompt_names_every_label():
    assert describe_task(["a", "b", "c"], "notes") == (
        "Sort the following notes into these groups: a, b or c. Which group is it?\n\n"
    )


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_started_head_already_knows_the_training_texts(any_tiny, few, pooling):
    model = classifier(few, any_tiny, pooling)
    before = evaluate(model, few["train"])
    start_head(model, few["train"], strength=10.0)
    after = evaluate(model, few["train"])
    assert after.loss < 0.8 * before.loss and after.accuracy > before.accuracy + 0.2


def test_a_head_inside_lora_starts_with_the_same_weights(any_tiny, few):
    plain = start_head(classifier(few, any_tiny, "last"), few["train"])
    adapted = start_head(add_lora(classifier(few, any_tiny, "last")), few["train"])
    torch.testing.assert_close(body_parts(adapted).head.weight, body_parts(plain).head.weight)
    expected = predict_logits(plain, few["validation"]["input_ids"])
    torch.testing.assert_close(predict_logits(adapted, few["validation"]["input_ids"]), expected)


def test_a_label_without_a_row_keeps_its_first_weights(any_tiny, few):
    names = few["train"].features["label"].names
    rows = few["train"].filter(lambda row: row["label"] != 2, keep_in_memory=True)
    model = load_classifier(names, any_tiny)
    before = model.score.weight.detach().clone()
    after = start_head(model, rows).score.weight
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [i == 2 for i in range(len(names))]
    right = predict_logits(model, rows["input_ids"]).argmax(dim=1) == torch.tensor(rows["label"])
    assert right.float().mean() > 0.5


def test_a_reader_begins_once(any_tiny, tokenizer):
    begins = copy.deepcopy(tokenizer)
    begins.backend_tokenizer.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[
        ("<|endoftext|>", begins.convert_tokens_to_ids("<|endoftext|>"))
    ])  # fmt: skip
    model = load_language_model(any_tiny)
    reader = StateReader(model, begins, "Which group is it? ", after=[2], pooling="last")
    whole = begins("Which group is it? ").input_ids + tokenizer("My lamp is broken").input_ids
    state = pooled_states(model, [whole], [2], "last").reshape(1, -1)
    np.testing.assert_allclose(reader(["My lamp is broken"]), state, atol=1e-5)


def test_a_head_of_many_rows_starts_with_some_of_each_label(any_tiny, monkeypatch):
    read = []

    def note(model, ids, after, pooling):
        read.extend(ids)
        return pooled_states(model, ids, after, pooling)

    monkeypatch.setattr(frozen, "pooled_states", note)
    rows = Dataset.from_dict({"input_ids": [[2 + i] for i in range(130)], "label": [0] * 100 + [1] * 30})
    start_head(load_classifier(["a", "b"], any_tiny), rows, most=40)
    assert len(read) == 40 and sum(ids[0] < 102 for ids in read) == 20
    assert len(frozen.draw_evenly(rows, most=4)) == 16  # never fewer than 8 of a label


def test_a_started_head_of_two_classes_gives_the_regression_s_probabilities(any_tiny, few):
    from sklearn.linear_model import LogisticRegression

    two = few["train"].filter(lambda row: row["label"] < 2)
    model = load_classifier(["a", "b"], any_tiny, pooling="mean")
    start_head(model, two, strength=1.0)
    top = len(body_parts(model).blocks)
    states = pooled_states(model, two["input_ids"], [top])[:, 0]
    scaled = states / (states.std(axis=0) + 1e-6)
    regression = LogisticRegression(C=1.0, max_iter=1000, fit_intercept=False).fit(scaled, two["label"])
    probabilities = predict_logits(model, two["input_ids"]).softmax(-1).numpy()
    np.testing.assert_allclose(probabilities, regression.predict_proba(scaled), atol=1e-4)


# --- frozen blocks that remember ----------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """A function that counts how many texts have gone through a block's attention."""

    def count(block):
        texts = []
        attention = next(module for name, module in block.named_children() if "attn" in name)
        attention.register_forward_pre_hook(
            lambda _module, inputs, options: texts.append(
                len(options.get("hidden_states", inputs[0] if inputs else 0))
            ),
            with_kwargs=True,
        )
        return texts

    return count


@pytest.mark.parametrize("lora", [False, True])
def test_remembering_changes_nothing_but_the_work(any_tiny, few, counted, lora):
    runs, weights, works = [], [], []
    for remember in (False, True):
        model = freeze_below(classifier(few, any_tiny), 1)
        if lora:
            model = add_lora(model, layers=[1])
        work = counted(body_parts(model).blocks[0])
        if remember:
            with remember_states(model):
                runs.append(fine_tune(model, few["train"], few["validation"], SETTINGS))
        else:
            runs.append(fine_tune(model, few["train"], few["validation"], SETTINGS))
        weights.append(copy_weights(model))
        works.append(sum(work))
    np.testing.assert_allclose(runs[0].loss, runs[1].loss, rtol=1e-4)
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=2e-3, rtol=0)
    texts = len(few["train"]) + len(few["validation"])
    assert works[0] == 2 * texts and texts <= works[1] <= texts + SETTINGS.batch_size


def test_a_memory_can_be_handed_to_the_next_model_and_nothing_is_left_behind(any_tiny, few, counted):
    memory, ids = {}, few["validation"]["input_ids"]
    plain = predict_logits(freeze_below(classifier(few, any_tiny), 1), ids)
    for expected in (len(ids), 0):
        model = freeze_below(classifier(few, any_tiny), 1)
        work = counted(body_parts(model).blocks[0])
        with remember_states(model, memory):
            torch.testing.assert_close(predict_logits(model, ids), plain)
        assert sum(work) == expected
        predict_logits(model, ids[:3])
        assert sum(work) == expected + 3  # the blocks compute again
        assert all("forward" not in vars(block) for block in body_parts(model).blocks)


def test_a_whole_frozen_body_can_remember(any_tiny, few, counted):
    model, ids = freeze_body(classifier(few, any_tiny)), few["validation"]["input_ids"]
    plain, work = predict_logits(model, ids), counted(body_parts(model).blocks[-1])
    with remember_states(model):
        for _ in range(2):
            torch.testing.assert_close(predict_logits(model, ids), plain)
    assert sum(work) == len(ids)  # the second time nothing is computed


def test_nothing_is_remembered_where_all_blocks_learn(any_tiny, few):
    model = classifier(few, any_tiny)
    with remember_states(model) as memory:
        predict_logits(model, few["validation"]["input_ids"][:3])
    assert memory == {}


def test_dropout_in_frozen_blocks_cannot_be_remembered(any_tiny, few):
    model = set_dropout(freeze_below(classifier(few, any_tiny), 1), 0.1)
    with pytest.raises(ValueError, match=r"set_dropout\(model, 0\)"), remember_states(model):
        pass


# --- blocks -----------------------------------------------------------------------------------------------------


def test_dropout_after_the_embeddings_cannot_be_remembered_either(tiny, few):
    model = freeze_below(load_classifier(few["train"].features["label"].names, tiny), 1)
    model.base_model.drop.p = 0.1
    with pytest.raises(ValueError, match="have dropout"), remember_states(model):
        pass


def test_blocks_are_frozen_from_below(any_tiny, few):
    model = classifier(few, any_tiny)
    blocks = list(body_parts(model).blocks)
    assert frozen_blocks(model) == []
    assert frozen_blocks(freeze_below(model, 1)) == blocks[:1]
    assert frozen_blocks(freeze_body(model)) == blocks
    blocks[0].requires_grad_(True)
    assert frozen_blocks(model) == []


def test_a_shortened_model_gives_the_states_of_its_top_block(any_tiny, few, tmp_path):
    model, ids = classifier(few, any_tiny), few["validation"]["input_ids"]
    norm = body_parts(model).norm.eval()
    expected = pooled_states(model, ids[:1], [1], "last")[:, 0]
    keep_blocks(model, 1)
    states = pooled_states(model, ids[:1], [1], "last")[:, 0]
    with torch.no_grad():
        np.testing.assert_allclose(states, norm(torch.from_numpy(expected)).numpy(), atol=1e-5)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(predict_logits(again, ids), predict_logits(model, ids))
    for blocks in (0, 2):
        with pytest.raises(ValueError, match=f"between 1 and 1 can be kept, not {blocks}"):
            keep_blocks(model, blocks)


def test_texts_are_cut_where_prompt_and_context_leave_no_room(any_tiny, tokenizer):
    model = load_language_model(any_tiny)
    limit = context_length(model)
    reader = StateReader(model, tokenizer, "word " * 20, after=[1], max_tokens=10**6)
    assert reader.max_tokens == limit - len(reader.prompt)
    assert reader(["late " * 3 * limit]).shape == (1, model.config.hidden_size)
    with pytest.raises(ValueError, match="no room for a text"):
        StateReader(model, tokenizer, "word " * 2 * limit)
