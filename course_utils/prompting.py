"""Lesson 10: let a language model sort texts without training it, by the likelihood of a word for each label."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import softmax
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_utils import QUIET
from course_utils.architecture import context_length
from course_utils.devices import mixed_precision
from course_utils.frozen import describe_task

ENDING = "\nGroup:"  # what stands after every text; the word for the label comes next
SLOT = "\0"  # stands for a text while a chat template is filled in; no cleaned text holds it


def write_prompt(task: str, examples: Sequence[tuple[str, str]] = ()) -> str:
    """Write what stands before every text: the task, and perhaps solved examples (text, word).

    Brown et al. 2020, Language Models are Few-Shot Learners, arXiv:2005.14165.
    """
    return "".join([task + "\n\n", *(f"Text: {text}\nGroup: {word}\n\n" for text, word in examples), "Text: "])


def write_chat(
    tokenizer: PreTrainedTokenizerBase, task: str, examples: Sequence[tuple[str, str]] = ()
) -> tuple[list[int], list[int]]:
    """Write the task and solved examples (text, word) as a chat; the token ids before every text, and after it.

    The user gives a text, the assistant its word. The tokenizer's chat template marks the turns with special tokens,
    as in the conversations that the model was tuned on; special tokens in the texts themselves stay text.

    Raises ValueError for a tokenizer without a chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError("The tokenizer has no chat template: take a model that was tuned on chats, or `write_prompt`.")
    turns = [{"role": "user", "content": f"{SLOT}\n\n{SLOT}"}]  # the first text comes after the task
    for _ in examples:
        turns += [{"role": "assistant", "content": SLOT}, {"role": "user", "content": SLOT}]
    written = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    *marks, between, after = [tokenizer(part, add_special_tokens=False).input_ids for part in written.split(SLOT)]
    texts = [task, *(said for example in examples for said in example)]
    before = []
    for mark, text in zip(marks, texts, strict=True):
        before += mark + tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    return before + between, after


@torch.no_grad()
def word_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str | Sequence[int],
    texts: Sequence[str],
    words: Sequence[str],
    ending: str | Sequence[int] = ENDING,
) -> np.ndarray:
    """How likely each word is to come next: log-likelihoods in nats, shape (texts, words).

    What stands before and after every text, `prompt` and `ending`, is written out, or token ids, as from `write_chat`.
    A word of several tokens has the sum of theirs. The keys and values of `prompt` are computed once and used for all
    texts, those of a text once for all words. Shows a progress bar.

    Raises ValueError where prompt and text are longer than the model's context.
    """
    inside = {"add_special_tokens": False, "split_special_tokens": True}  # only the prompt begins what is read
    before = tokenizer(prompt, split_special_tokens=True).input_ids if isinstance(prompt, str) else prompt
    written = isinstance(ending, str)
    end, blank = (tokenizer(ending, **inside).input_ids, " ") if written else (ending, "")  # a turn begins without one
    after = [ids + end for ids in tokenizer(list(texts), **inside).input_ids]
    choices = [tokenizer(blank + word, **inside).input_ids for word in words]
    needed = len(before) + max(map(len, after)) + max(map(len, choices))
    if needed > context_length(model):
        raise ValueError(
            f"Prompt and text take up to {needed} tokens, the model's context ends after {context_length(model)}: "
            "give fewer examples, or shorten the texts."
        )
    scores = np.empty((len(texts), len(words)))
    with mixed_precision(model):
        start = model(torch.tensor([before], device=model.device), use_cache=True).past_key_values
        for i, ids in enumerate(tqdm(after, unit="text", desc="prompt", disable=QUIET, leave=None)):
            row = torch.tensor([ids], device=model.device)
            output = model(row, past_key_values=copy.deepcopy(start), use_cache=True)
            scores[i] = [choice_log_likelihood(model, output, choice) for choice in choices]
    return scores


def choice_log_likelihood(model: PreTrainedModel, output, choice: Sequence[int]) -> float:
    """How likely the token ids of `choice` come next, in nats; `output` is what the model made of all before them."""
    logits = output.logits[0, -1:]
    if len(choice) > 1:  # each token is read in order to predict the one behind it
        row = torch.tensor([choice[:-1]], device=model.device)
        more = model(row, past_key_values=copy.deepcopy(output.past_key_values)).logits[0]
        logits = torch.cat([logits, more])
    each = logits.float().log_softmax(-1)
    return sum(each[place, token].item() for place, token in enumerate(choice))


def calibrate(scores: np.ndarray) -> np.ndarray:
    """Subtract from the score of each word its mean over all texts: some words are likely whatever the text.

    `scores` are log-likelihoods in nats, shape (texts, words). Many texts are needed, but no labels. Zhou et al. 2023,
    Batch Calibration, arXiv:2309.17249.
    """
    return scores - scores.mean(axis=0)


def prompt_probabilities(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], labels: Sequence[str],
    examples: Sequence[tuple[str, str]] = (), chat: bool = False,
) -> np.ndarray:  # fmt: skip
    """Ask a language model which label each text has: calibrated probabilities, shape (texts, labels).

    The prompt names the labels; `examples` (text, label) stand in it solved, texts as they are. With `chat` it is
    written as turns of a chat (see `write_chat`).
    """
    task = describe_task(labels).strip()
    prompt, ending = write_chat(tokenizer, task, examples) if chat else (write_prompt(task, examples), ENDING)
    return softmax(calibrate(word_log_likelihoods(model, tokenizer, prompt, texts, labels, ending)), axis=1)
