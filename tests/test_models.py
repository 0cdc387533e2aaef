"""Lesson 1: the embedded GPT; any decoder loaded as a language model or as a classifier; saving and loading again."""

import copy
import hashlib
import json
import re
import shutil
import socket
import sys
import time
import types

import huggingface_hub
import pytest
import torch
from accelerate import DistributedType, PartialState
from huggingface_hub.errors import RepositoryNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    pipeline,
)

import course_utils
from course_utils import models
from course_utils.architecture import add_lora, count_parameters, replace_head, set_dropout
from course_utils.data import read_examples
from course_utils.devices import pick_device
from course_utils.models import (
    DATA,
    hub_answers,
    load_classifier,
    load_fine_tuned,
    load_language_model,
    load_or_explain,
    load_tokenizer,
    locate_model,
    save_classifier,
)

LABELS = ["cat", "dog", "eel"]
MINI = DATA / "gpt2-mini"
TEXT = [17, 400, 33, 90]


@torch.no_grad()
def logits_of(model, rows):
    return model.eval()(input_ids=torch.as_tensor(rows)).logits


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
    assert {tensor.dtype for tensor in load_file(MINI / "model.safetensors").values()} == {torch.float16}


def test_pad_is_a_token_of_its_own(tokenizer):
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.padding_side == "right"


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_unicode_text_survives_the_round_trip(tokenizer, text):
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
    known = set(re.findall(r"[a-z']+", " ".join(read_examples(label="queue")["text"]).lower()))
    torch.manual_seed(0)
    start = tokenizer("I want to book a table for two people.\n", return_tensors="pt").input_ids
    out = load_language_model().generate(
        start, attention_mask=torch.ones_like(start), max_new_tokens=80, do_sample=True, top_k=20
    )
    words = re.findall(r"[a-z']+", tokenizer.decode(out[0, start.shape[1] :]).lower())
    assert len(words) > 20
    assert sum(word in known for word in words) / len(words) > 0.6


def test_the_model_card_tells_what_pretraining_measured():
    card, facts = (MINI / "README.md").read_text(), json.loads((MINI / "pretraining.json").read_text())
    assert f"**{facts['bits_per_byte_overall']:.2f} bits per byte**" in card
    tokens, run = 0, facts
    while run:
        tokens, run = tokens + run["tokens_seen"], run.get("continued_from")
    assert f"**{tokens / 1e6:.1f} million tokens seen**" in card
    for source, bits in facts["bits_per_byte"].items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {source} |"))
        assert f"| {bits:.2f} |" in row


# --- names, good and bad ----------------------------------------------------------------------------------------


def test_smollm2_is_looked_for_only_when_it_is_asked_for(monkeypatch):
    stand_in = types.ModuleType("course_utils.smollm2")
    stand_in.locate = lambda: "/where/it/is"
    monkeypatch.setitem(sys.modules, "course_utils.smollm2", stand_in)
    monkeypatch.setattr(course_utils, "smollm2", stand_in, raising=False)
    assert [locate_model(name) for name in ("smollm2", "gpt2", "gpt2-mini")] == ["/where/it/is", "gpt2", str(MINI)]


def test_an_unknown_model_is_refused_in_one_sentence_and_at_once():
    start = time.monotonic()
    with pytest.raises(OSError, match=r"No model 'gpt2-maxi'.*hub gave no answer.*folder of a") as error:
        load_language_model("gpt2-maxi")
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < 10


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(monkeypatch):
    monkeypatch.setattr(models, "hub_answers", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(OSError, match=r"No model './my-gpt2'.*no name of the hub either; check the path"):
        load_language_model("./my-gpt2")


def test_a_folder_without_a_model_is_refused_with_the_cause(tmp_path):
    with pytest.raises(OSError, match=r"The folder .* holds nothing that transformers can load \(\w+: \w+") as error:
        load_language_model(str(tmp_path))
    assert "\n" not in str(error.value)


def test_what_the_hub_answers_is_passed_on(monkeypatch):
    def refuse(place, local_files_only, trust_remote_code):
        assert not local_files_only
        response = types.SimpleNamespace(headers={}, request=None)
        raise OSError("a page\nof advice") from RepositoryNotFoundError("404", response=response)

    def break_off(place, local_files_only, trust_remote_code):
        raise OSError("a page\nof advice") from ConnectionError("the line broke\nagain")

    monkeypatch.setattr(models, "hub_answers", lambda: True)
    with pytest.raises(OSError, match=r"failed \(the hub knows no such model\); check the spelling"):
        load_or_explain(refuse, "gpt2-maxi")
    with pytest.raises(OSError, match=r"failed \(ConnectionError: the line broke\); check"):
        load_or_explain(break_off, "gpt2-maxi")


@pytest.fixture
def hub(monkeypatch):
    """A function that puts the hub at another address, as if this machine were on line without a proxy."""
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    models.try_to_connect.cache_clear()
    yield lambda address: monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    models.try_to_connect.cache_clear()


def test_the_hub_answers_when_it_listens(hub):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        hub(f"http://127.0.0.1:{port}")
        assert hub_answers()
    hub(f"http://127.0.0.1:{port}/mirror")  # nobody listens there any more
    assert not hub_answers()


def test_a_load_tries_to_connect_once_and_waits_no_longer_than_it_says(hub, monkeypatch):
    tries = []

    def hang(address, timeout):
        tries.append(address)
        time.sleep(3)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", hang)
    hub("https://hub.example")
    start = time.monotonic()
    assert not hub_answers(seconds=0.2)
    assert time.monotonic() - start < 2
    monkeypatch.setattr(models, "hub_answers", lambda: hub_answers(seconds=0.2))
    monkeypatch.setattr("time.monotonic", lambda: start)  # the minute does not end during this test
    for load in (load_tokenizer, load_language_model, lambda name: load_classifier(LABELS, name)):
        with pytest.raises(OSError, match="hub gave no answer"):
            load("owner/model")
    assert 1 <= len(tries) <= 2
    assert tries[0] == ("hub.example", 443)


def test_an_encoder_is_refused_before_its_weights_are_read(tmp_path, tokenizer):
    BertForMaskedLM(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    tokenizer.save_pretrained(tmp_path)
    for load in (load_language_model, lambda name: load_classifier(LABELS, name), load_fine_tuned):
        with pytest.raises(ValueError, match="BertModel is not a decoder laid out like GPT-2 or Llama") as error:
            load(str(tmp_path))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("labels", [[], ["one"], ["same", "same"]])
def test_a_single_label_is_refused(labels):
    with pytest.raises(ValueError, match="at least two different labels"):
        load_classifier(labels)


def test_a_repeated_label_is_refused():
    with pytest.raises(ValueError, match="only once"):
        load_classifier(["a", "b", "a"])


# --- tokenizers and vocabularies as the hub has them --------------------------------------------------------------


def strip_pad_token(folder, pad):
    """Make a folder as the hub has many: the tokenizer's pad is `pad`, and the model has no row for another."""
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace("<|pad|>", "<|other|>"))
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"pad_token": pad}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = json.loads((folder / "config.json").read_text()) | {"pad_token_id": None if pad is None else 0}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(params=[None, "<|endoftext|>"], ids=["no pad", "pad is end of text"])
def without_pad(request, any_tiny, tmp_path):
    folder = tmp_path / "without_pad"
    shutil.copytree(any_tiny, folder)
    strip_pad_token(folder, request.param)
    return str(folder)


def test_a_tokenizer_without_a_pad_token_of_its_own_gets_one(without_pad):
    assert AutoTokenizer.from_pretrained(without_pad).pad_token in (None, "<|endoftext|>")
    tokenizer = load_tokenizer(without_pad)
    assert tokenizer.pad_token_id == 8192
    assert tokenizer.eos_token_id == 0
    assert tokenizer.padding_side == "right"


@pytest.mark.parametrize("random_weights", [False, True])
def test_the_models_get_a_row_for_the_new_pad_token(without_pad, random_weights):
    classifier = load_classifier(LABELS, without_pad, random_weights=random_weights)
    for model in (load_language_model(without_pad), classifier):
        assert model.config.pad_token_id == 8192
        rows = model.get_input_embeddings().weight
        assert len(rows) == 8193
        torch.testing.assert_close(rows[8192], rows[:8192].mean(dim=0))
    padded = logits_of(classifier, [[*TEXT, 8192, 8192], [*TEXT, 0, 5]])
    alone = logits_of(classifier, [TEXT])[0]
    torch.testing.assert_close(padded[0], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(padded[1], alone, atol=1e-4)  # a real end of text is text


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_classifier_with_a_new_pad_token_comes_back_too(without_pad, pooling, tmp_path):
    model = load_classifier(LABELS, without_pad, pooling=pooling)
    save_classifier(model, load_tokenizer(without_pad), tmp_path / "mine")
    again, tokenizer = load_fine_tuned(tmp_path / "mine")
    assert tokenizer.pad_token_id == again.config.pad_token_id == 8192
    rows = [TEXT, [*TEXT[:2], 8192, 8192]]
    torch.testing.assert_close(logits_of(again, rows), logits_of(model, rows))


def test_a_model_that_padded_with_end_of_text_learns_what_that_means(without_pad):
    """PyTorch's embedding gives its padding row no gradient, so that row must not be a real token's."""
    model = load_classifier(LABELS, without_pad)
    model(torch.tensor([[*TEXT, 0, 5]]), labels=torch.tensor([0])).loss.backward()
    assert model.get_input_embeddings().weight.grad[0].abs().sum() > 0


# --- the language model -----------------------------------------------------------------------------------------


def test_a_language_model_is_what_transformers_loads(any_tiny):
    ours, theirs = load_language_model(any_tiny), AutoModelForCausalLM.from_pretrained(any_tiny)
    assert type(ours) is type(theirs)
    torch.testing.assert_close(logits_of(ours, [TEXT]), logits_of(theirs, [TEXT]))
    assert {p.dtype for p in load_language_model().parameters()} == {torch.float32}  # stored as fp16


def test_a_language_model_generates_with_a_cache_and_without_warnings(any_tiny, capfd):
    model = load_language_model(any_tiny)
    assert model.config.use_cache
    assert model.generation_config.use_cache
    out = model.generate(torch.tensor([TEXT]), max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
    assert out.past_key_values is not None
    ids = torch.tensor([TEXT])
    for _ in range(5):
        ids = torch.cat([ids, logits_of(model, ids)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(out.sequences, ids)
    assert capfd.readouterr().err == ""


def test_the_fused_activation_computes_the_same_function(tmp_path, tokenizer):
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    theirs = GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ours = load_language_model(str(tmp_path))
    assert (ours.config.activation_function, theirs.config.activation_function) == ("gelu_pytorch_tanh", "gelu_new")
    torch.testing.assert_close(logits_of(ours, [TEXT]), logits_of(theirs, [TEXT]))


@pytest.mark.parametrize("load", [load_language_model, lambda folder: load_classifier(["a", "b"], folder)])
@pytest.mark.parametrize("name", ["vocab_size", "intermediate_size"])
def test_weights_of_another_size_than_the_config_says_are_not_replaced_by_random_ones(tiny_llama, tmp_path, load, name):
    shutil.copytree(tiny_llama, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config[name] += 8
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(OSError, match="have other sizes than its config"):
        load(str(tmp_path))


def test_a_config_with_a_wrong_entry_is_refused_with_the_cause(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"n_layer": 2', '"n_layer": "two"'))
    with pytest.raises(OSError, match=r"holds nothing that transformers can load .*n_layer"):
        load_language_model(str(tmp_path))


def test_a_classifiers_folder_gives_no_language_model_with_random_parts(tiny_llama, tokenizer, tmp_path):
    save_classifier(load_classifier(LABELS, tiny_llama), tokenizer, tmp_path)
    with pytest.raises(OSError, match=r"is no LlamaForCausalLM, its weights lack lm_head.weight: choose one") as error:
        load_language_model(str(tmp_path))
    assert "\n" not in str(error.value)


# --- the classifier ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_classifier_keeps_the_pretrained_body_and_names_its_labels(any_tiny, pooling):
    classifier, language_model = load_classifier(LABELS, any_tiny, pooling=pooling), load_language_model(any_tiny)
    body = dict(classifier.base_model.named_parameters())
    for name, parameter in language_model.base_model.named_parameters():
        assert torch.equal(body.pop(name), parameter), name
    assert not body
    assert classifier.config.id2label == {0: "cat", 1: "dog", 2: "eel"}
    assert classifier.config.label2id == {"cat": 0, "dog": 1, "eel": 2}
    assert classifier.score.weight.shape == (3, classifier.config.hidden_size)
    assert classifier.training
    assert classifier.config.use_cache is False
    assert classifier(torch.tensor([TEXT])).past_key_values is None


def test_random_weights_share_the_architecture_and_the_head_only():
    pretrained, random = load_classifier(LABELS), load_classifier(LABELS, random_weights=True)
    assert count_parameters(pretrained) == count_parameters(random)
    assert {p.dtype for p in random.parameters()} == {torch.float32}
    assert torch.equal(pretrained.score.weight, random.score.weight)
    rows = random.get_input_embeddings().weight
    assert not torch.equal(pretrained.get_input_embeddings().weight, rows)
    assert rows.std().item() == pytest.approx(random.config.initializer_range, rel=0.05)
    assert not torch.isin(random.score.weight, rows).all()  # drawn after the head, not from the same numbers


@pytest.mark.parametrize("random_weights", [False, True])
def test_the_seed_fixes_head_and_random_body(any_tiny, random_weights):
    first, again, other = (load_classifier(LABELS, any_tiny, None, random_weights, seed) for seed in (1, 1, 2))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.score.weight, other.score.weight)
    assert first.score.weight.std().item() == pytest.approx(first.config.initializer_range, rel=0.3)
    same_body = torch.equal(first.get_input_embeddings().weight, other.get_input_embeddings().weight)
    assert same_body is not random_weights


def test_random_weights_are_fp32_even_if_the_saved_ones_are_not(any_tiny, tmp_path):
    shutil.copytree(any_tiny, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text()) | {"dtype": "float16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load_classifier(LABELS, str(tmp_path), random_weights=True)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_another_dropout_leaves_the_weights_alone(any_tiny):
    plain, dropping = load_classifier(LABELS, any_tiny), load_classifier(LABELS, any_tiny, dropout=0.3)
    assert torch.equal(logits_of(plain, [TEXT]), logits_of(dropping, [TEXT]))


def test_a_real_end_of_text_token_counts_as_text(any_tiny):
    """If pad and end-of-text were one token, these two inputs would get the same logits."""
    model = load_classifier(LABELS, any_tiny)
    eos = load_tokenizer(any_tiny).eos_token_id
    assert not torch.allclose(logits_of(model, [TEXT]), logits_of(model, [[*TEXT, eos]]), atol=1e-3)


@pytest.mark.parametrize("change", [lambda model: model, lambda model: replace_head(model, 16)])
def test_a_fine_tuned_classifier_takes_other_labels_with_a_fresh_head(any_tiny, change, tokenizer, tmp_path):
    first = change(load_classifier(LABELS, any_tiny, pooling="mean"))
    with torch.no_grad():
        first.get_input_embeddings().weight.mul_(2)
    save_classifier(first, tokenizer, tmp_path)
    model = load_classifier(["yes", "no"], str(tmp_path))
    assert torch.equal(model.get_input_embeddings().weight, first.get_input_embeddings().weight)
    assert torch.equal(model.score.weight, load_classifier(["yes", "no"], any_tiny).score.weight)
    assert model.config.id2label == {0: "yes", 1: "no"}


# --- saving and loading again -----------------------------------------------------------------------------------


def train_a_step(model):
    """Move every trainable parameter a little, so that nothing saved is at its first value."""
    model.train()(input_ids=torch.tensor([TEXT, TEXT[::-1]]), labels=torch.tensor([0, 2])).loss.backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5).step()
    return model.eval()


CHANGES = {
    "plain": lambda model: model,
    "task layer": lambda model: replace_head(model, 16),
    "LoRA": add_lora,
    "LoRA and task layer": lambda model: add_lora(replace_head(model, 16)),
}


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_saved_classifier_comes_back_the_same(any_tiny, change, pooling, tokenizer, tmp_path):
    model = train_a_step(CHANGES[change](load_classifier(LABELS, any_tiny, pooling=pooling)))
    expected = logits_of(model, [TEXT, [*TEXT[:2], 1, 1]])
    before = copy.deepcopy(model.state_dict())
    save_classifier(model, tokenizer, tmp_path)
    again, own_tokenizer = load_fine_tuned(tmp_path)
    torch.testing.assert_close(logits_of(again, [TEXT, [*TEXT[:2], 1, 1]]), expected)
    assert not again.training
    assert again.config.id2label == {0: "cat", 1: "dog", 2: "eel"}
    assert own_tokenizer.pad_token_id == again.config.pad_token_id
    assert own_tokenizer("Where is it?").input_ids == tokenizer("Where is it?").input_ids
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())  # training can go on


def test_dropout_comes_back_too(any_tiny, tokenizer, tmp_path):
    save_classifier(set_dropout(load_classifier(LABELS, any_tiny), 0.3), tokenizer, tmp_path)
    again, _ = load_fine_tuned(tmp_path)
    ids = torch.tensor([TEXT * 8])
    assert not torch.equal(again.train()(ids).logits, again(ids).logits)


@pytest.mark.parametrize("change", ["plain", "LoRA"])
def test_anyone_can_use_a_saved_classifier_with_transformers_alone(any_tiny, change, tokenizer, tmp_path):
    model = train_a_step(CHANGES[change](load_classifier(LABELS, any_tiny)))
    save_classifier(model, tokenizer, tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(theirs, [TEXT]), logits_of(model, [TEXT]))

    texts = ["Where is my parcel?", "Refund!"]
    answers = pipeline("text-classification", model=str(tmp_path), device="cpu")(texts, batch_size=2)
    for text, answer in zip(texts, answers, strict=True):
        probabilities = logits_of(model, [tokenizer(text).input_ids])[0].softmax(-1)
        assert answer["label"] == LABELS[probabilities.argmax()]
        assert answer["score"] == pytest.approx(probabilities.max().item(), abs=1e-5)


def test_a_classifier_that_others_saved_is_made_ready_too(any_tiny, tokenizer, tmp_path):
    theirs = AutoModelForSequenceClassification.from_pretrained(any_tiny, num_labels=2, dtype=torch.float16)
    assert theirs.config.use_cache
    theirs.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ours, _ = load_fine_tuned(tmp_path)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert ours.config.use_cache is False
    torch.testing.assert_close(logits_of(ours, [TEXT]), logits_of(theirs.float(), [TEXT]))


def test_loading_a_classifier_that_was_never_saved_says_so(tmp_path):
    with pytest.raises(OSError, match="No saved classifier"):
        load_fine_tuned(tmp_path / "nothing")


def test_a_language_model_is_no_fine_tuned_classifier(any_tiny):
    with pytest.raises(OSError, match=r"ForSequenceClassification, its weights lack score.weight: .* fresh") as error:
        load_fine_tuned(any_tiny)
    assert "\n" not in str(error.value)


# --- devices ----------------------------------------------------------------------------------------------------


def test_models_come_on_the_cpu_and_the_picked_device_computes(any_tiny):
    model = load_classifier(LABELS, any_tiny)
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    device = pick_device()
    assert isinstance(device, torch.device)
    model.to(device)
    assert model(torch.tensor([TEXT], device=device)).logits.device.type == device.type


def test_a_task_layer_is_made_where_the_model_is(any_tiny):
    """The device "meta" holds no numbers, and stands for any device that is not the CPU."""
    model = replace_head(load_classifier(LABELS, any_tiny).to("meta"), 16)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_processes_of_torchrun_form_a_group(monkeypatch):
    """Without being asked, accelerate lets each process without an accelerator train alone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    of_torchrun = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": port}
    for name, value in {**of_torchrun, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))
    PartialState._reset_state()
    try:
        pick_device()
        assert PartialState().distributed_type != DistributedType.NO
    finally:
        torch.distributed.destroy_process_group()
        PartialState._reset_state()
