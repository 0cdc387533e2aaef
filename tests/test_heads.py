"""Lesson 2: what the head reads, on a GPT-2 and on a Llama; and the mean in a block of attention, on a GPT-2."""

import pytest
import torch
from test_architecture import LABELS, POOLINGS, TEXT, logits_of
from torch import nn
from transformers import AutoModelForSequenceClassification, pipeline

from course_utils.architecture import LOUD, add_lora, body_parts
from course_utils.evaluation import predict
from course_utils.heads import classifier_class
from course_utils.models import load_classifier, load_fine_tuned, save_classifier


@pytest.mark.parametrize("pooling", POOLINGS)
def test_predictions_do_not_depend_on_padding(any_tiny, pooling):
    model = load_classifier(LABELS, any_tiny, pooling=pooling)
    alone = logits_of(model, [TEXT])
    padded = logits_of(model, [TEXT + [model.config.pad_token_id] * 40, list(range(100, 144))])[:1]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_head_reads_what_pooling_says(any_tiny, pooling):
    model = load_classifier(LABELS, any_tiny, pooling=pooling).eval()
    states = model.base_model(torch.tensor([TEXT])).last_hidden_state[0].detach()
    read = states[-1] if pooling == "last" else states.mean(dim=0)
    torch.testing.assert_close(logits_of(model, [TEXT])[0], model.score(read).detach())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_given_labels_the_model_returns_their_cross_entropy(any_tiny, pooling):
    model = load_classifier(LABELS, any_tiny, pooling=pooling).eval()
    ids, labels = torch.tensor([TEXT, TEXT[::-1]]), torch.tensor([2, 0])
    out = model(input_ids=ids, labels=labels)
    torch.testing.assert_close(out.loss, nn.functional.cross_entropy(out.logits, labels))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_several_labels_a_text_have_the_loss_that_transformers_gives_them(any_tiny, pooling):
    model = load_classifier(LABELS, any_tiny, pooling=pooling).eval()
    model.config.problem_type = "multi_label_classification"
    labels = torch.zeros(1, len(LABELS))
    labels[0, :2] = 1
    out = model(input_ids=torch.tensor([TEXT]), labels=labels)
    torch.testing.assert_close(out.loss, nn.functional.binary_cross_entropy_with_logits(out.logits, labels))


def test_a_saved_classifier_reads_special_tokens_as_text_in_plain_transformers(any_tiny, tokenizer, tmp_path):
    model = load_classifier(LABELS, any_tiny).eval()
    save_classifier(model, tokenizer, tmp_path)
    texts = ["Why is there <|endoftext|> on my invoice?", "<|pad|><|pad|>", "Where is my lamp?"]
    wanted = predict(model, tokenizer, texts)
    for answer, want in zip(
        pipeline("text-classification", model=str(tmp_path), device="cpu")(texts), wanted.itertuples(), strict=True
    ):
        assert (answer["label"], answer["score"]) == (want.label, pytest.approx(want.confidence, abs=1e-5))
    assert tokenizer("<|pad|>").input_ids == [tokenizer.pad_token_id]  # the one in hand stays as it was


def test_pooling_last_is_transformers_own_class_and_no_other_pooling_exists(any_tiny):
    model = load_classifier(LABELS, any_tiny)
    assert type(model).__module__.startswith("transformers.")
    assert classifier_class(model.config, "mean") is classifier_class(model.config, "mean")
    with pytest.raises(ValueError, match="'last', 'mean' or 'mean-block', not 'max'"):
        load_classifier(LABELS, any_tiny, pooling="max")


# --- the mean, in a block of attention --------------------------------------------------------------------------


def states_before(module, model, rows) -> torch.Tensor:
    """What a module of the model is given, for each token of the first row."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach()[0]))
    logits_of(model, rows)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("padding", [0, 3])
def test_the_mean_block_puts_the_mean_of_all_states_into_the_last_token(tiny, padding):
    rows = [TEXT + [1] * padding, list(range(100, 104 + padding))]
    block, mean = (load_classifier(LABELS, tiny, pooling=name).eval() for name in ("mean-block", "mean"))
    last = len(TEXT) - 1
    expected = states_before(mean.transformer.ln_f, mean, rows)[last]
    expected = expected + LOUD * mean.transformer(torch.tensor([TEXT])).last_hidden_state[0].detach().mean(dim=0)
    torch.testing.assert_close(states_before(block.transformer.ln_f, block, rows)[last], expected, atol=1e-4, rtol=1e-4)


def test_the_mean_block_looks_everywhere_evenly_and_stays_so_while_it_learns(tiny):
    model = load_classifier(LABELS, tiny, pooling="mean-block")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    before = body_parts(model).blocks[-1].attn.c_attn.weight.detach().clone()
    for _ in range(3):
        model(input_ids=torch.tensor([TEXT]), labels=torch.tensor([1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.equal(body_parts(model).blocks[-1].attn.c_attn.weight, before)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model.eval()(torch.tensor([TEXT]), output_attentions=True).attentions[-1][0]
    torch.testing.assert_close(weights[:, -1], torch.full((len(weights), 4), 0.25))


@pytest.mark.parametrize("lora", [False, True])
def test_transformers_alone_loads_a_model_with_a_mean_block(tiny, tokenizer, tmp_path, lora):
    model = load_classifier(LABELS, tiny, pooling="mean-block")
    save_classifier(add_lora(model) if lora else model, tokenizer, tmp_path)
    alone = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(alone).__module__.startswith("transformers.") and alone.config.num_hidden_layers == 3
    ours, _ = load_fine_tuned(tmp_path)
    for loaded in (alone, ours):
        torch.testing.assert_close(logits_of(loaded, [TEXT]), logits_of(model, [TEXT]))


def test_a_mean_block_is_for_gpt2_alone(tiny_llama):
    with pytest.raises(ValueError, match="is made for GPT-2, not for 'llama': choose 'last' or 'mean'"):
        load_classifier(LABELS, tiny_llama, pooling="mean-block")
