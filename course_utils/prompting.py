"""Lesson 10: let a language model sort texts without training it, by the likelihood of a word for each label."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_utils import QUIET
from course_utils.devices import mixed_precision


def write_prompt(task: str, examples: Sequence[tuple[str, str]] = ()) -> str:
    """Write what stands before every text: the task, and perhaps solved examples (text, word).

    Brown et al. 2020, Language Models are Few-Shot Learners, arXiv:2005.14165.
    """
    return "".join([task + "\n\n", *(f"Message: {text}\nTeam: {word}\n\n" for text, word in examples), "Message: "])


ENDING = "\nTeam:"  # what stands after every text; the word for the label comes next


@torch.no_grad()
def word_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    texts: Sequence[str],
    words: Sequence[str],
    ending: str = ENDING,
) -> np.ndarray:
    """How likely each word is to come next: log-likelihoods in nats, shape (texts, words).

    A word of several tokens has the sum of theirs. The keys and values of `prompt` are computed once and used for all
    texts, those of a text once for all words. Shows a progress bar.
    """
    device = model.device
    before = torch.tensor([tokenizer(prompt).input_ids], device=device)
    word_ids = [tokenizer(f" {word}").input_ids for word in words]
    scores = np.empty((len(texts), len(words)))
    with mixed_precision(model):
        start = model(before, use_cache=True).past_key_values
        for i, text in enumerate(tqdm(texts, unit="text", desc="prompt", disable=QUIET, leave=None)):
            ids = tokenizer(text, split_special_tokens=True).input_ids + tokenizer(ending).input_ids
            output = model(torch.tensor([ids], device=device), past_key_values=copy.deepcopy(start), use_cache=True)
            first = output.logits[0, -1].float().log_softmax(-1)
            for j, (one, *more) in enumerate(word_ids):
                scores[i, j] = first[one].item()
                if more:
                    cache = copy.deepcopy(output.past_key_values)
                    logits = model(torch.tensor([[one, *more[:-1]]], device=device), past_key_values=cache).logits[0]
                    following = torch.tensor(more, device=device)
                    scores[i, j] += logits.float().log_softmax(-1).gather(1, following[:, None]).sum().item()
    return scores


def calibrate(scores: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Subtract what the model says to an empty message: some words are likely whatever the text.

    Zhao et al. 2021, Calibrate Before Use, arXiv:2102.09690. `scores` (texts, words) and `empty` (1, words) are
    log-likelihoods in nats.
    """
    return scores - empty
