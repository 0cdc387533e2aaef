"""Prompting: likelihoods of words, computed with shared keys and values, equal those of the whole text."""

import copy
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from course_utils import prompting
from course_utils.models import load_language_model

TEXTS, WORDS = ["My parcel is late.", "Where is <|endoftext|> my money?"], ["delivery", "refund please", "x"]


@pytest.fixture(params=["tiny", "tiny_llama"])
def model(request):
    return load_language_model(request.getfixturevalue(request.param)).eval()


@torch.no_grad()
def whole(model, tokenizer, prompt: str, text: str, word: str, begin: Sequence[int] = ()) -> float:
    """The log-likelihood of a word by one pass over everything."""
    before = [*begin, *tokenizer(prompt).input_ids, *tokenizer(text, split_special_tokens=True).input_ids]
    before += tokenizer(prompting.ENDING).input_ids
    ids = tokenizer(f" {word}").input_ids
    logits = model(torch.tensor([before + ids])).logits[0].log_softmax(-1)
    return sum(logits[len(before) - 1 + i, token].item() for i, token in enumerate(ids))


def test_likelihoods_with_shared_keys_are_those_of_the_whole_text(model, tokenizer):
    scores = prompting.word_log_likelihoods(model, tokenizer, "Sort:\n\n", TEXTS, WORDS)
    expected = [[whole(model, tokenizer, "Sort:\n\n", text, word) for word in WORDS] for text in TEXTS]
    assert np.allclose(scores, expected, atol=1e-4)
    assert len(tokenizer(" refund please").input_ids) > 1  # a word of several tokens was among them


def test_a_token_in_front_of_every_text_stands_once_in_front_of_all(model, tokenizer):
    """As Llama's and Mistral's tokenizers put one."""
    begins = copy.deepcopy(tokenizer)
    backend = begins.backend_tokenizer
    backend.post_processor = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    assert begins("a").input_ids == [0, *tokenizer("a").input_ids]
    scores = prompting.word_log_likelihoods(model, begins, "Sort:\n\n", TEXTS, WORDS)
    expected = [[whole(model, tokenizer, "Sort:\n\n", text, word, [0]) for word in WORDS] for text in TEXTS]
    assert np.allclose(scores, expected, atol=1e-4)


def test_special_tokens_in_an_example_stay_text(model, tokenizer):
    seen = []
    model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(args[0]), with_kwargs=True)
    prompt = prompting.write_prompt("Sort.", [("<|endoftext|>", "delivery")])
    prompting.word_log_likelihoods(model, tokenizer, prompt, TEXTS[:1], WORDS[:1])
    assert tokenizer.eos_token_id not in seen[0]


def test_a_prompt_holds_the_task_then_the_examples_then_room_for_the_text():
    prompt = prompting.write_prompt("Sort.", [("Late!", "delivery"), ("Broken.", "returns")])
    assert prompt == "Sort.\n\nText: Late!\nGroup: delivery\n\nText: Broken.\nGroup: returns\n\nText: "
    assert prompting.write_prompt("Sort.") == "Sort.\n\nText: "


def test_a_chat_holds_the_task_and_the_examples_as_turns(chatty):
    before, after = prompting.write_chat(chatty, "Sort.", [("Late!", "delivery")])
    assert chatty.decode(before) == (
        "<|pad|>user\nSort.\n\nLate!<|endoftext|>\n<|pad|>assistant\ndelivery<|endoftext|>\n<|pad|>user\n"
    )
    assert chatty.decode(after) == "<|endoftext|>\n<|pad|>assistant\n"
    assert (before.count(chatty.eos_token_id), after[0]) == (2, chatty.eos_token_id)  # the marks are special tokens
    before, _ = prompting.write_chat(chatty, "Sort.")
    assert chatty.decode(before) == "<|pad|>user\nSort.\n\n"


def test_special_tokens_in_a_chats_texts_stay_text(chatty):
    plain, _ = prompting.write_chat(chatty, "Sort.", [("Late!", "delivery")])
    given, _ = prompting.write_chat(chatty, "Sort.", [("<|endoftext|> Late!", "delivery")])
    assert given.count(chatty.eos_token_id) == plain.count(chatty.eos_token_id)
    assert "<|endoftext|> Late!" in chatty.decode(given)


@torch.no_grad()
def test_likelihoods_in_a_chat_are_those_of_the_whole_chat(model, chatty):
    before, after = prompting.write_chat(chatty, "Sort.", [("Late!", "delivery")])
    scores = prompting.word_log_likelihoods(model, chatty, before, TEXTS, WORDS, after)
    for (i, text), (j, word) in itertools.product(enumerate(TEXTS), enumerate(WORDS)):
        known = [*before, *chatty(text, split_special_tokens=True).input_ids, *after]
        ids = chatty(word).input_ids  # no blank: the word begins a turn
        logits = model(torch.tensor([known + ids])).logits[0].log_softmax(-1)
        expected = sum(logits[len(known) - 1 + k, token].item() for k, token in enumerate(ids))
        assert scores[i, j] == pytest.approx(expected, abs=1e-3)


def test_a_model_without_a_chat_template_says_so(model, tokenizer):
    with pytest.raises(ValueError, match="no chat template"):
        prompting.prompt_probabilities(model, tokenizer, TEXTS, ["a", "b"], chat=True)


def test_a_probability_from_a_chat_is_another(model, chatty):
    labels = ["billing", "delivery"]
    asked, chatted = (prompting.prompt_probabilities(model, chatty, TEXTS, labels, chat=chat) for chat in (False, True))
    assert chatted.shape == (2, 2) and np.allclose(chatted.sum(1), 1) and not np.allclose(asked, chatted)


def test_calibration_takes_away_what_a_word_has_whatever_the_text():
    scores = np.array([[-1.0, -9.0], [-2.0, -7.0]])
    assert prompting.calibrate(scores).argmax(1).tolist() == [0, 1]
    assert scores.argmax(1).tolist() == [0, 0]
    assert np.allclose(prompting.calibrate(scores).mean(0), 0)


def test_probabilities_name_every_label_once_a_text(model, tokenizer):
    labels = ["billing", "delivery"]
    plain = prompting.prompt_probabilities(model, tokenizer, TEXTS, labels)
    taught = prompting.prompt_probabilities(model, tokenizer, TEXTS, labels, [("Late!", "delivery")])
    assert plain.shape == (2, 2) and np.allclose(plain.sum(1), 1)
    assert not np.allclose(plain, taught)


def test_a_prompt_beyond_the_context_is_refused_in_one_sentence(model, tokenizer):
    with pytest.raises(ValueError, match="fewer examples"):
        prompting.word_log_likelihoods(model, tokenizer, "word " * 5000, TEXTS, WORDS)
