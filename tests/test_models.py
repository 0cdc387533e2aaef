"""Lessons 1 and 2: the embedded GPT, the classification head, freezing, LoRA."""

import hashlib
import json
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from course_utils.models import (
    DATA,
    add_lora,
    count_parameters,
    freeze_below,
    load_classifier,
    load_fine_tuned,
    load_language_model,
    load_tokenizer,
    match_vocabulary,
    parameter_table,
    replace_head,
    save_classifier,
    set_dropout,
)

LABELS = ["cat", "dog", "eel"]
MINI = DATA / "gpt2-mini"


def logits_of(model, batch):
    with torch.no_grad():
        return model.eval()(input_ids=torch.as_tensor(batch)).logits


# --- the embedded GPT -------------------------------------------------------------------------------------------


def test_transformers_loads_the_embedded_folder_without_custom_code():
    model = AutoModelForCausalLM.from_pretrained(MINI)
    assert type(model) is GPT2LMHeadModel
    assert len(AutoTokenizer.from_pretrained(MINI)) == model.config.vocab_size
    assert "auto_map" not in json.loads((MINI / "config.json").read_text())


def test_the_weights_are_the_ones_of_the_model_card():
    weights = MINI / "model.safetensors"
    assert weights.stat().st_size <= 20 * 2**20
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in (MINI / "README.md").read_text()


def test_weights_are_stored_as_fp16():
    from safetensors.torch import load_file

    assert {tensor.dtype for tensor in load_file(MINI / "model.safetensors").values()} == {torch.float16}


def test_pad_is_a_token_of_its_own(tokenizer):
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.padding_side == "right"


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_unicode_text_survives_the_round_trip(text):
    tokenizer = load_tokenizer()
    ids = tokenizer(text, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


ENGLISH = (
    "The parcel was on the step when I came home from work. My neighbour had seen the van stop in the rain, and she "
    "had put a bucket over the box so that it would stay dry. I took it into the kitchen and opened it at the table. "
    "Inside there was a lamp, a letter, and a small book about the history of the town."
)


def test_english_costs_far_fewer_bits_than_the_same_words_shuffled(tokenizer):
    """Word order carries information only to a model that has really learned from text."""
    model = load_language_model()
    shuffled = " ".join(sorted(ENGLISH.split(), key=lambda word: hashlib.sha256(word.encode()).hexdigest()))

    def bits_per_byte(text):
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text).input_ids]])
        with torch.no_grad():
            loss = model(input_ids=ids, labels=ids).loss.item()
        return loss * (ids.shape[1] - 1) / torch.log(torch.tensor(2.0)).item() / len(text.encode())

    plain, mixed = bits_per_byte(ENGLISH), bits_per_byte(shuffled)
    assert plain < 1.9
    assert mixed > plain + 0.5


def test_generated_text_is_made_of_english_words(tokenizer):
    """Most generated words must occur in text that people wrote: here, the tickets."""
    import re

    from course_utils.data import read_examples

    known = set(re.findall(r"[a-z']+", " ".join(read_examples(label="queue")["text"]).lower()))
    torch.manual_seed(0)
    start = tokenizer("I want to book a table for two people.\n", return_tensors="pt").input_ids
    out = load_language_model().generate(
        start, attention_mask=torch.ones_like(start), max_new_tokens=80, do_sample=True, top_k=20
    )
    words = re.findall(r"[a-z']+", tokenizer.decode(out[0, start.shape[1] :]).lower())
    assert len(words) > 20
    assert sum(word in known for word in words) / len(words) > 0.6


# --- bad names --------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_refused_in_one_sentence_and_at_once():
    start = time.monotonic()
    with pytest.raises(OSError, match=r"No model 'gpt2-maxi'.*hub gave no answer.*folder of a") as error:
        load_language_model("gpt2-maxi")
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < 10


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(OSError, match="holds no GPT-2") as error:
        load_language_model(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_model_of_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    load_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="GPT-2 models only"):
        load_classifier(LABELS, str(tmp_path))


@pytest.mark.parametrize("labels", [[], ["one"], ["same", "same"]])
def test_a_single_label_is_refused(labels):
    with pytest.raises(ValueError, match="at least two different labels"):
        load_classifier(labels)


def test_a_repeated_label_is_refused():
    with pytest.raises(ValueError, match="only once"):
        load_classifier(["a", "b", "a"])


# --- the hub's GPT-2, as a small stand-in of the same make ---------------------------------------------------------


@pytest.fixture(scope="module")
def like_gpt2(tmp_path_factory):
    """A folder made like the hub's gpt2: gelu_new, no pad token, one vocabulary entry fewer than we need."""
    folder = tmp_path_factory.mktemp("like_gpt2")
    tokenizer = AutoTokenizer.from_pretrained(MINI)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


def test_a_model_without_pad_token_gets_one_of_its_own(like_gpt2):
    tokenizer = load_tokenizer(like_gpt2)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    model = load_classifier(LABELS, like_gpt2)
    assert model.get_input_embeddings().num_embeddings == max(len(tokenizer), 8192)
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_the_fused_activation_computes_the_same_function(like_gpt2):
    ours = load_language_model(like_gpt2)
    theirs = GPT2LMHeadModel.from_pretrained(like_gpt2).eval()
    assert (ours.config.activation_function, theirs.config.activation_function) == ("gelu_pytorch_tanh", "gelu_new")
    ids = [[5, 6, 7, 8]]
    torch.testing.assert_close(logits_of(ours, ids), logits_of(theirs, ids)[..., : logits_of(ours, ids).shape[-1]])


# --- the classifier ---------------------------------------------------------------------------------------------


def test_classifier_keeps_the_pretrained_body_and_names_its_labels():
    classifier, language_model = load_classifier(LABELS), load_language_model()
    for (name, a), (_, b) in zip(
        classifier.transformer.named_parameters(), language_model.transformer.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    assert classifier.config.id2label == {0: "cat", 1: "dog", 2: "eel"}
    assert classifier.score.weight.shape == (3, classifier.config.n_embd)
    assert classifier.config.use_cache is False


def test_random_weights_share_the_architecture_only():
    pretrained, random = load_classifier(LABELS), load_classifier(LABELS, random_weights=True)
    assert count_parameters(pretrained) == count_parameters(random)
    assert not torch.equal(pretrained.transformer.wte.weight, random.transformer.wte.weight)


def test_the_seed_fixes_the_head():
    first, again, other = (load_classifier(LABELS, seed=seed).score.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_predictions_do_not_depend_on_padding():
    model = load_classifier(LABELS)
    pad = model.config.pad_token_id
    text = [17, 400, 33, 90]
    alone = logits_of(model, [text])
    padded = logits_of(model, [text + [pad] * 40, list(range(100, 144))])[:1]
    torch.testing.assert_close(alone, padded, atol=1e-4, rtol=1e-4)


def test_dropout_acts_on_a_pretrained_body_too():
    """A config that says 0.1 is not enough: the modules themselves must drop."""
    model = load_classifier(LABELS, dropout=0.25)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.25}
    ids = torch.tensor([[3, 4, 5, 6]])
    assert not torch.equal(model.train()(ids).logits, model(ids).logits)


def test_a_real_end_of_text_token_counts_as_text():
    """If pad and end-of-text were one token, these two inputs would get the same logits."""
    model = load_classifier(LABELS)
    eos = load_tokenizer().eos_token_id
    assert not torch.allclose(logits_of(model, [[17, 400, 33]]), logits_of(model, [[17, 400, 33, eos]]), atol=1e-3)


def test_dropout_is_set_everywhere():
    model = set_dropout(load_classifier(LABELS), 0.3)
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.3}
    assert load_classifier(LABELS, dropout=0.2).config.attn_pdrop == 0.2
    with pytest.raises(ValueError, match="probability"):
        set_dropout(model, 1.0)


@pytest.mark.parametrize("blocks", range(7))
def test_freeze_below_freezes_exactly_what_it_says(blocks):
    model = freeze_below(load_classifier(LABELS), blocks)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert "score.weight" in learning
    assert ("transformer.wte.weight" in learning) == (blocks == 0)
    assert ("transformer.ln_f.weight" in learning) == (blocks < 6)
    for i in range(6):
        assert (f"transformer.h.{i}.attn.c_attn.weight" in learning) == (i >= blocks)


def test_freezing_more_blocks_than_there_are_is_refused():
    with pytest.raises(ValueError, match="between 0 and 6"):
        freeze_below(load_classifier(LABELS), 7)


def test_a_task_layer_stands_between_body_and_output_units():
    model = replace_head(load_classifier(LABELS), hidden=48)
    assert logits_of(model, [[1, 2, 3]]).shape == (1, 3)
    assert sum(p.numel() for p in model.score.parameters()) == 256 * 48 + 48 + 48 * 3


def test_lora_trains_its_small_matrices_and_the_head_only():
    model = add_lora(load_classifier(LABELS), rank=4)
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning
    assert all("lora_" in name or "score" in name for name in learning)
    assert count_parameters(model)[0] == 6 * 4 * (256 + 768) + 3 * 256


def test_lora_starts_as_the_model_it_adapts():
    plain = logits_of(load_classifier(LABELS), [[9, 8, 7]])
    torch.testing.assert_close(logits_of(add_lora(load_classifier(LABELS)), [[9, 8, 7]]), plain)


def test_tied_weights_count_once():
    model = load_language_model()
    assert model.lm_head.weight is model.transformer.wte.weight
    assert count_parameters(model)[1] == parameter_table(model)["parameters"].sum()


def test_a_saved_classifier_comes_back_the_same(tmp_path):
    model = load_classifier(LABELS).eval()
    save_classifier(model, load_tokenizer(), tmp_path / "mine")
    again, tokenizer = load_fine_tuned(tmp_path / "mine")
    torch.testing.assert_close(logits_of(again, [[3, 4, 5]]), logits_of(model, [[3, 4, 5]]))
    assert again.config.id2label == model.config.id2label
    assert tokenizer.pad_token_id == model.config.pad_token_id


def test_mean_pooling_reads_all_real_tokens_and_no_padding():
    model = load_classifier(LABELS, pooling="mean").eval()
    one, padded = [[3, 4, 5]], [[3, 4, 5, model.config.pad_token_id]]
    torch.testing.assert_close(logits_of(model, padded), logits_of(model, one))
    states = model.transformer(torch.tensor(one)).last_hidden_state
    torch.testing.assert_close(logits_of(model, one), model.score(states.mean(dim=1)))
    assert not torch.allclose(logits_of(load_classifier(LABELS), one), logits_of(model, one), atol=1e-3)
    with pytest.raises(ValueError, match="'last' or 'mean'"):
        load_classifier(LABELS, pooling="max")


def test_a_saved_classifier_remembers_its_pooling(tmp_path):
    model = load_classifier(LABELS, pooling="mean").eval()
    save_classifier(model, load_tokenizer(), tmp_path)
    again, _ = load_fine_tuned(tmp_path)
    torch.testing.assert_close(logits_of(again, [[3, 4, 5]]), logits_of(model, [[3, 4, 5]]))


def test_loading_a_classifier_that_was_never_saved_says_so(tmp_path):
    with pytest.raises(OSError, match="No saved classifier"):
        load_fine_tuned(tmp_path / "nothing")


def test_a_saved_task_layer_comes_back_too(tmp_path):
    model = replace_head(load_classifier(LABELS), hidden=16).eval()
    save_classifier(model, load_tokenizer(), tmp_path)
    again, _ = load_fine_tuned(tmp_path)
    torch.testing.assert_close(logits_of(again, [[3, 4, 5]]), logits_of(model, [[3, 4, 5]]))


def test_a_saved_classifier_of_a_model_without_pad_token_comes_back_too(like_gpt2, tmp_path):
    model = load_classifier(LABELS, like_gpt2).eval()
    save_classifier(model, load_tokenizer(like_gpt2), tmp_path)
    again, tokenizer = load_fine_tuned(tmp_path)
    assert tokenizer.pad_token_id == again.config.pad_token_id
    torch.testing.assert_close(logits_of(again, [[3, 4, 5]]), logits_of(model, [[3, 4, 5]]))


def test_new_tokens_take_no_probability_from_the_others():
    """Real GPT-2's logits lie far below zero: a random new row, near zero, would win every prediction."""
    model = GPT2LMHeadModel(GPT2Config(vocab_size=1000, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    with torch.no_grad():
        model.transformer.ln_f.bias.fill_(5.0)
        model.transformer.wte.weight.sub_(1.0)
    tokenizer = AutoTokenizer.from_pretrained(MINI)
    logits = logits_of(match_vocabulary(model, tokenizer), [[1, 2, 3]])[0, -1]
    assert logits.shape == (len(tokenizer),)
    assert logits.softmax(-1)[1000:].max() <= 1.01 / 1000


def test_the_model_card_tells_what_pretraining_measured():
    card, facts = (MINI / "README.md").read_text(), json.loads((MINI / "pretraining.json").read_text())
    assert f"**{facts['bits_per_byte_overall']:.2f} bits per byte**" in card
    tokens = facts["tokens_seen"] + (facts["continued_from"] or {"tokens_seen": 0})["tokens_seen"]
    assert f"**{tokens / 1e6:.1f} million tokens seen**" in card
    for source, bits in facts["bits_per_byte"].items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {source} |"))
        assert f"| {bits:.2f} |" in row
