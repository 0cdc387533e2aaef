"""Lesson 10: learn from a GPT whose lower blocks, or all of them, stay as they are.

What a frozen block makes of a text never changes. So it can be computed once and kept: read by a logistic regression
(`StateReader`, `frozen_classifier`, `start_head`), or handed to the trainable blocks above (`remember_states`).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from peft import PeftModel
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.architecture import NUMBERS, body_parts, context_length, frozen_blocks
from course_utils.devices import mixed_precision
from course_utils.pipeline import collate

TUPLES = ("gpt_neo", "gptj")  # their blocks return the states as the first of two
DEPTHS = (0.27, 0.4, 0.53, 0.67, 0.8, 0.93)  # where `upper_blocks` reads, as shares of all blocks: tuned on validation


# --- a logistic regression on frozen states ---------------------------------------------------------------------


@torch.no_grad()
def pooled_states(
    model, sequences: Sequence[Sequence[int]], after: Sequence[int], pooling: str | Sequence[str] = "mean",
    prompt: Sequence[int] = (), batch_size: int = 32,
) -> np.ndarray:  # fmt: skip
    """Read the states of a frozen GPT after each number of blocks in `after`: shape (texts, len(after), width), fp32.

    `sequences` are lists of token ids; after 0 blocks come the embeddings, after the last one the final norm, too, as
    a head would read it. `pooling` is "mean", over the tokens of a text, or "last", its last one; given as a list of
    both, each text is read once, and they lie along a new first axis. `prompt`, token ids too, stands in front of every
    text: it steers what the model looks for, and only the text behind it is pooled. Its keys and values are computed
    once. Dropout is off meanwhile. Shows a progress bar.

    Raises ValueError for another pooling, or more blocks than the model has.
    """
    total, device, was_training = len(body_parts(model).blocks), next(model.parameters()).device, model.training
    poolings = [pooling] if isinstance(pooling, str) else list(pooling)
    if unknown := [name for name in poolings if name not in ("mean", "last")]:
        raise ValueError(f"pooling is 'mean' or 'last', not {unknown[0]!r}.")
    if wrong := [blocks for blocks in after if not 0 <= blocks <= total]:
        raise ValueError(f"This model has {total} blocks, there is no state after {wrong[0]} of them.")
    model.eval()
    body, options = model.base_model, {}
    if len(prompt):
        with mixed_precision(model):
            cache = body(input_ids=torch.tensor([list(prompt)], device=device), use_cache=True).past_key_values
    pooled = np.empty((len(poolings), len(sequences), len(after), model.config.hidden_size), np.float32)
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))  # batches with little padding
    with tqdm(total=len(order), unit="text", desc="read states", disable=QUIET, leave=None) as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            ids = collate([{"input_ids": sequences[i], "label": 0} for i in chosen], model.config.pad_token_id)
            if len(prompt):
                options = {"past_key_values": copy.deepcopy(cache), "use_cache": True}
                options["past_key_values"].batch_repeat_interleave(len(chosen))
            with mixed_precision(model):
                states = body(input_ids=ids["input_ids"].to(device), output_hidden_states=True, **options).hidden_states
            lengths = torch.tensor([len(sequences[i]) for i in chosen], device=device)[:, None]
            places = torch.arange(ids["input_ids"].shape[1], device=device)
            read = torch.stack([states[blocks].float() for blocks in after], dim=1)
            for i, name in enumerate(poolings):
                weights = (places < lengths) / lengths if name == "mean" else (places == lengths - 1).float()
                pooled[i, chosen] = torch.einsum("nblw,nl->nbw", read, weights).cpu().numpy()
            bar.update(len(chosen))
    model.train(was_training)
    return pooled[0] if isinstance(pooling, str) else pooled


def upper_blocks(model: nn.Module) -> list[int]:
    """Six depths from a quarter of a model's blocks up: after them, states say most about a whole text."""
    total = len(body_parts(model).blocks)
    return sorted({round(total * share) for share in DEPTHS})


class StateReader:
    """Turns texts into the pooled states of a frozen GPT, side by side for all depths: (texts, depths x width), fp32.

    Each text is read once and remembered. `prompt` stands in front of every text, `after` are the depths to read
    (None: `upper_blocks`); texts are cut off after `max_tokens`, or where the context ends.

    Raises ValueError for a prompt that fills the context.
    """

    def __init__(
        self, model, tokenizer, prompt: str = "", after: Sequence[int] | None = None, pooling: str = "mean",
        max_tokens: int = 128,
    ):  # fmt: skip
        self.model, self.tokenizer, self.pooling = model, tokenizer, pooling
        self.after = upper_blocks(model) if after is None else list(after)
        self.prompt = tokenizer(prompt).input_ids if prompt else []
        room = context_length(model) - len(self.prompt)
        if room < 1:
            raise ValueError(f"The prompt of {len(self.prompt)} tokens leaves no room for a text: shorten it.")
        self.max_tokens = min(max_tokens, room)
        self.memory: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Read texts, those that are new by the model."""
        new = [text for text in dict.fromkeys(texts) if text not in self.memory]
        if new:
            ids = self.tokenizer(
                new, truncation=True, max_length=self.max_tokens, split_special_tokens=True,
                add_special_tokens=not self.prompt,  # only what comes first begins what is read
            ).input_ids  # fmt: skip
            states = pooled_states(self.model, ids, self.after, self.pooling, self.prompt)
            self.memory.update(zip(new, states.reshape(len(new), -1), strict=True))
        return np.stack([self.memory[text] for text in texts])


def describe_task(labels: Sequence[str], texts: str = "texts") -> str:
    """Write a prompt from the names of the labels, for `StateReader` to put in front of every text."""
    *most, last = labels
    return f"Sort the following {texts} into these groups: {', '.join(most)} or {last}. Which group is it?\n\n"


def frozen_classifier(reader: Callable[[Sequence[str]], np.ndarray], strength: float = 0.01) -> Pipeline:
    """Build a pipeline from texts to labels: states of a frozen GPT, scaled, then logistic regression.

    `reader` is a `StateReader`; `strength` is scikit-learn's C: less of it means more regularization. Alain and Bengio
    2016, arXiv:1610.01644, call a linear classifier on frozen states a probe.
    """
    return make_pipeline(FunctionTransformer(reader), StandardScaler(), LogisticRegression(C=strength, max_iter=1000))


def start_head(model, train: Dataset, strength: float = 0.01, most: int | None = None):
    """Give a classifier's head the weights of a logistic regression on what it reads; in place, returns the model.

    The first half of "linear probing, then fine-tuning" (Kumar et al. 2022, arXiv:2202.10054): with a random head the
    first steps of training push the body's states about before the head knows what to ask of them. `train` is a
    tokenized data set with labels in the order of the model's; where it has more than `most` rows, about so many are
    read, drawn evenly over the labels. A head has no bias, so the regression has none either. A label without a row
    keeps its first weights. LoRA must be fresh: then the states are still those of the GPT.
    """
    if most is not None and len(train) > most:
        train = draw_evenly(train, most)
    pooling, parts = getattr(model.config, "pooling", "last"), body_parts(model)
    network = model.get_base_model() if isinstance(model, PeftModel) else model
    states = pooled_states(network, train["input_ids"], [len(parts.blocks)], pooling)[:, 0]
    scale = states.std(axis=0) + 1e-6
    regression = LogisticRegression(C=strength, max_iter=1000, fit_intercept=False).fit(states / scale, train["label"])
    weights = torch.from_numpy(regression.coef_ / scale).to(parts.head.weight)
    if len(weights) == 1:  # of two classes scikit-learn keeps the difference only
        weights = torch.cat([-weights / 2, weights / 2])
    with torch.no_grad():
        parts.head.weight[torch.from_numpy(regression.classes_)] = weights
    return model


def draw_evenly(rows: Dataset, most: int, least: int = 8) -> Dataset:
    """Draw about `most` rows, equally many of each label where it has so many, and at least `least` of each."""
    labels = pd.Series(rows["label"]).sample(frac=1, random_state=0)
    return rows.select(labels.groupby(labels).head(max(least, most // labels.nunique())).index)


# --- frozen lower blocks below trainable ones ---------------------------------------------------------------------


@contextmanager
def remember_states(model: nn.Module, memory: dict[tuple[int, ...], torch.Tensor] | None = None) -> Iterator[dict]:
    """While this context is open, the frozen lowest blocks of a model compute each text only once.

    Nothing else changes: training and evaluation give the same numbers, sooner. `memory` maps the token ids of a text
    to the states (tokens, width) after the frozen blocks; hand the same one to another model only if its frozen
    blocks are the same. It takes 4 bytes x width for each token. Texts must be padded on the right.

    Raises ValueError if dropout is on in the frozen blocks: what is random cannot be remembered.
    """
    parts, memory = body_parts(model), {} if memory is None else memory
    frozen = frozen_blocks(model)
    if not frozen:
        yield memory
        return
    others = {module for block in parts.blocks[len(frozen) :] for module in block.modules()}
    others |= set() if parts.head is None else set(parts.head.modules())
    inside = [module for module in model.modules() if module not in others]  # dropout after the embeddings, too
    active = [module.p for module in inside if isinstance(module, nn.Dropout)]
    active += [vars(module).get(name, 0) for module in inside for name in NUMBERS]
    if any(active):
        raise ValueError("The frozen blocks have dropout: set it to 0 to let them remember, set_dropout(model, 0).")
    in_tuple = model.config.model_type in TUPLES
    texts: list[tuple[int, ...]] = []

    def note_texts(_module, inputs: tuple) -> None:
        pad = model.config.pad_token_id
        texts[:] = [tuple(row[row != pad].tolist()) for row in inputs[0]]

    def known() -> bool:
        return all(text in memory for text in texts)

    def recall(block: nn.Module, compute: Callable, is_first: bool, is_last: bool) -> Callable:
        def forward(states: torch.Tensor, *arguments, **options) -> torch.Tensor:
            if known():
                states = pad_states([memory[text] for text in texts], states) if is_first else states
                return (states, None) if in_tuple else states
            computed = compute(states, *arguments, **options)
            if is_last:
                for text, row in zip(texts, computed[0] if in_tuple else computed, strict=True):
                    memory[text] = row[: len(text)].detach().clone()
            return computed

        return forward

    handle = parts.embeddings[0].register_forward_pre_hook(note_texts)
    for block in frozen:
        block.forward = recall(block, block.forward, block is frozen[0], block is frozen[-1])
    try:
        yield memory
    finally:
        handle.remove()
        for block in frozen:
            del block.forward  # the class's own shows again


def pad_states(rows: Sequence[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """Put remembered states into one tensor of the shape and device of `like`; where a text has ended, zeros."""
    padded = torch.zeros_like(like, requires_grad=False)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded
