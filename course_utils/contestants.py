"""Who is compared in the studies: baselines, GPTs that stay as they are, and networks that are fine-tuned.

A recipe says how a network is built and trained. Networks are fine-tuned by `training.fine_tune`, the function of
lesson 5, baselines are those of lesson 6, and lesson 10 shows what is done with a GPT that stays as it is.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from course_utils.architecture import add_lora, body_parts, freeze_below, frozen_blocks, keep_blocks, replace_head
from course_utils.data import tokenize
from course_utils.devices import pick_device
from course_utils.evaluation import (
    Evaluation,
    encoder_baseline,
    evaluate,
    evaluate_baseline,
    majority_baseline,
    tfidf_baseline,
)
from course_utils.frozen import StateReader, describe_task, frozen_classifier, remember_states, start_head
from course_utils.history import Diverged, FineTuneSettings, History
from course_utils.models import load_classifier, load_language_model, load_tokenizer
from course_utils.prompting import prompt_probabilities
from course_utils.training import adapt, fine_tune

PIECE, PIECES = 8, 2  # a step takes 16 rows, in two pieces of 8: a lab's Stop button need not wait for all of them
FEW = 32  # labels a class up to which a network takes STEPS steps
STEPS, MORE_STEPS, EPOCHS = 60, 160, 3  # with more labels, it takes MORE_STEPS, or EPOCHS epochs if those are more


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained. All that no field names is the same for all.

    `keep` is the share of the blocks that is kept, counted from below; `freeze` is the number of blocks frozen, counted
    from below, too, or "half" of those kept, or "body" for all of them, whatever the depth. `start` gives the head the
    weights of a logistic regression on the frozen states first. `lora` trains low-rank matrices beside the blocks that
    are not frozen. `adapted` says that the language model first read the training texts without their labels.
    `task_layer` is the width of a layer between body and output units. The steps are `longer` times those that all
    networks take, with so many `validations` on the way; `patience` stops a run early. Of `rates` the one with the best
    validation macro-F1 is taken; without any, the network is scored as it begins.
    """

    random_weights: bool = False
    pooling: str = "mean"
    keep: float = 1.0
    freeze: int | str = 0
    start: bool = False
    lora: bool = False
    adapted: bool = False
    layer_decay: float = 1.0
    dropout: float = 0.0
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    task_layer: int | None = None
    schedule: str = "linear"
    warmup_share: float = 0.1
    longer: int = 1
    validations: int = 4
    patience: int | None = None
    rates: tuple[float, ...] = (3e-4, 1e-3)


# The sentence encoder is in no study, because it must be fetched from the hub: name it with --contestants.
BASELINES = {"majority class": majority_baseline, "TF-IDF": tfidf_baseline, "sentence encoder": encoder_baseline}
UNTRAINED = ("frozen states", "zero-shot", "few-shot", "zero-shot, as a chat", "few-shot, as a chat")
# Who learns from a teacher's labels, too, and what each is without them. The network is the STUDENT's.
TAUGHT = {"taught gpt2-mini": "plain", "taught TF-IDF": "TF-IDF"}
STUDENT = "gpt2-mini"
NETWORKS = {
    "pre-trained": Recipe(rates=(1e-3,)),
    "probe, then all blocks": Recipe(start=True, dropout=0.1, label_smoothing=0.1, longer=2, rates=(1e-3,)),
    "adapted": Recipe(adapted=True, rates=(1e-3,)),
    "frozen body": Recipe(freeze="body", rates=(3e-2, 1e-1)),
    "random weights": Recipe(random_weights=True),
    "last token": Recipe(pooling="last", rates=(3e-3,)),
    "mean block": Recipe(pooling="mean-block", rates=(1e-3,)),
    "3 blocks frozen": Recipe(freeze=3, rates=(3e-3,)),
    "LoRA": Recipe(lora=True, rates=(1e-2,)),
    "lower rates below": Recipe(layer_decay=0.8, rates=(1e-3,)),
    "frozen body, task layer": Recipe(freeze="body", task_layer=64, rates=(3e-3, 1e-2)),
    "plain": Recipe(rates=(1e-3,)),
    "dropout 0.1": Recipe(dropout=0.1, rates=(1e-3,)),
    "dropout 0.3": Recipe(dropout=0.3, rates=(1e-3,)),
    "weight decay 0.1": Recipe(weight_decay=0.1, rates=(1e-3,)),
    "weight decay 1": Recipe(weight_decay=1.0, rates=(1e-3,)),
    "label smoothing 0.1": Recipe(label_smoothing=0.1, rates=(1e-3,)),
    "probe alone": Recipe(keep=0.8, freeze="body", start=True, rates=()),
    "probe, then LoRA": Recipe(keep=0.8, freeze="half", start=True, lora=True, rates=(3e-4, 1e-3)),
    "probe, then top half": Recipe(keep=0.8, freeze="half", start=True, rates=(1e-4,)),
    "probe, then both halves": Recipe(keep=0.8, start=True, rates=(1e-4,)),
    "constant rate": Recipe(schedule="constant", warmup_share=0.0, rates=(1e-3,)),
    "constant, half as high": Recipe(schedule="constant", warmup_share=0.0, rates=(5e-4,)),
    "falling": Recipe(warmup_share=0.0, rates=(1e-3,)),
    "warm-up, then falling": Recipe(rates=(1e-3,)),
    "constant rate, three times as high": Recipe(schedule="constant", warmup_share=0.0, rates=(3e-3,)),
    "warm-up, then falling, three times as high": Recipe(rates=(3e-3,)),
    "to the end": Recipe(longer=3, validations=12, rates=(1e-3,)),
    **{f"patience {n}": Recipe(longer=3, validations=12, patience=n, rates=(1e-3,)) for n in (1, 2, 4)},
    **{f"rate {rate:g}": Recipe(rates=(rate,)) for rate in (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)},
}


# --- a GPT that stays as it is ----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def read_states(model: str, labels: tuple[str, ...]) -> StateReader:
    """Build what reads the states of a GPT, behind a prompt made of the labels. It remembers what it has read."""
    return StateReader(load_language_model(model).to(pick_device()), load_tokenizer(model), describe_task(labels))


@lru_cache(maxsize=1)
def prompt(model: str, texts: tuple[str, ...], labels: tuple[str, ...], examples: tuple, chat: bool) -> np.ndarray:
    """Ask a language model for the labels of texts; the same question is not asked twice."""
    language_model = load_language_model(model).to(pick_device())
    return prompt_probabilities(language_model, load_tokenizer(model), texts, labels, examples, chat)


def evaluate_untrained(name: str, tokenized, model: str) -> Evaluation:
    """Score one of `UNTRAINED` on the test split. No weight of the GPT changes.

    "few-shot" has all training texts in its prompt as solved examples, "zero-shot" none.
    """
    train, test = tokenized["train"], tokenized["test"]
    labels = tuple(train.features["label"].names)
    if name == "frozen states":
        return evaluate_baseline(frozen_classifier(read_states(model, labels)), train, test)
    examples = ()
    if name.startswith("few-shot"):
        mixed = train.shuffle(seed=0)  # not sorted by label: the last examples weigh most
        examples = tuple((row["text"], labels[row["label"]]) for row in mixed)
    probabilities = prompt(model, tuple(test["text"]), labels, examples, chat=name.endswith("as a chat"))
    return Evaluation.from_probabilities(labels, test["label"], probabilities)


def let_label(tokenized, texts: Sequence[str], model: str):
    """Let a logistic regression on frozen states label the texts that have no label; tokenize all for the student.

    It learns from the few labels of `tokenized["train"]`, which stay as they are; validation and test keep theirs.
    Labels that a model gave are called pseudo-labels; to learn from its probabilities is distillation (lesson 10).
    """
    labels = tuple(tokenized["train"].features["label"].names)
    splits = {name: rows.to_pandas()[["text", "label"]] for name, rows in tokenized.items()}
    known = splits["train"]
    teacher = frozen_classifier(read_states(model, labels)).fit(known["text"].tolist(), known["label"])
    new = sorted(set(texts) - set(known["text"]))
    if not new:
        raise ValueError("All training texts have labels already, so there is nothing to teach: leave out size 0.")
    splits["train"] = pd.concat([known, pd.DataFrame({"text": new, "label": teacher.predict(new)})])
    named = {name: table.assign(label=[labels[i] for i in table["label"]]) for name, table in splits.items()}
    return tokenize(named, load_tokenizer(STUDENT))


# --- a network that is trained ----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def share_memory(model: str, frozen: int) -> dict:
    """One memory of states for all networks whose lowest `frozen` blocks stay as the model named has them."""
    return {}


@lru_cache(maxsize=1)
def adapt_body(texts: tuple[str, ...], model: str, seed: int) -> dict:
    """Let the language model read texts without labels; return the weights of its body."""
    language_model = load_language_model(model).to(pick_device())
    adapt(language_model, load_tokenizer(model), list(texts), seed=seed)
    return language_model.base_model.state_dict()


def build_network(recipe: Recipe, train: Dataset, seed: int, model: str = "gpt2-mini", texts: Sequence[str] = ()):
    """Build the classifier of a recipe, on the CPU, for the labels of the tokenized data set `train`.

    `texts` are what an `adapted` language model reads first. Raises ValueError where the recipe freezes more blocks
    than the model has.
    """
    classifier = load_classifier(
        train.features["label"].names, model, recipe.dropout, recipe.random_weights, seed, recipe.pooling
    )
    if recipe.adapted:
        classifier.base_model.load_state_dict(adapt_body(tuple(texts), model, seed))
    blocks = round(recipe.keep * len(body_parts(classifier).blocks))
    frozen = {"body": blocks, "half": blocks // 2}.get(recipe.freeze, recipe.freeze)
    freeze_below(keep_blocks(classifier, blocks), frozen)
    if recipe.task_layer is not None:
        torch.manual_seed(seed)
        replace_head(classifier, recipe.task_layer)
    if recipe.start:
        with remember_frozen(recipe, classifier, model):
            start_head(classifier, train)
    return add_lora(classifier, layers=range(frozen, blocks)) if recipe.lora else classifier


def remember_frozen(recipe: Recipe, network, model: str) -> AbstractContextManager:
    """The context in which a network, and all others with the same frozen blocks, compute them once for each text."""
    as_loaded = not (recipe.random_weights or recipe.adapted or recipe.dropout)
    return remember_states(network, share_memory(model, len(frozen_blocks(network)))) if as_loaded else nullcontext()


def count_steps(rows: int, classes: int) -> int:
    """How many steps a network takes with so many training rows: the same for all recipes that are not `longer`."""
    return STEPS if rows <= FEW * classes else max(MORE_STEPS, EPOCHS * math.ceil(rows / (PIECE * PIECES)))


def describe_rules() -> dict[str, object]:
    """What is the same for all networks, as it stands in a file of results."""
    return {
        "batch size": PIECE * PIECES,
        "steps": f"{STEPS} up to {FEW} labels a class, with more {MORE_STEPS}, or {EPOCHS} epochs if those are more; "
        "the best of 4 validations is kept",
        "learning rate": "for each seed, the best of the recipe's rates on validation",
    }


def recipe_settings(recipe: Recipe, rows: int, classes: int, rate: float, seed: int) -> FineTuneSettings:
    """The settings of one training with a recipe, on `rows` training rows of `classes` labels."""
    steps = recipe.longer * count_steps(rows, classes)
    return FineTuneSettings(
        learning_rate=rate, steps=steps, validate_every=math.ceil(steps / recipe.validations), batch_size=PIECE,
        accumulate=PIECES, weight_decay=recipe.weight_decay, label_smoothing=recipe.label_smoothing, seed=seed,
        layer_decay=recipe.layer_decay, schedule=recipe.schedule, warmup_share=recipe.warmup_share,
        patience=recipe.patience,
    )  # fmt: skip


def train_network(network, tokenized, settings: FineTuneSettings) -> History:
    """Fine-tune in place. A run that diverges counts as far as it came: its best weights are back in the network."""
    try:
        return fine_tune(network, tokenized["train"], tokenized["validation"], settings)
    except Diverged as error:
        return error.history


def measure_contestant(
    name: str, tokenized, seed: int, model: str = "gpt2-mini", texts: Sequence[str] = ()
) -> dict[str, object]:
    """Train or fit one contestant on `tokenized["train"]` and score it on the test split.

    Returns `macro_f1` and `accuracy` on the test split (0 to 1); for a network also what `measure_network` adds.
    """
    if name in TAUGHT:
        tokenized, name, model = let_label(tokenized, texts, model), TAUGHT[name], STUDENT
    if name in NETWORKS:
        return measure_network(NETWORKS[name], tokenized, seed, model, texts)
    if name in BASELINES:
        result = evaluate_baseline(BASELINES[name](), tokenized["train"], tokenized["test"])
    else:
        result = evaluate_untrained(name, tokenized, model)
    return {"macro_f1": result.macro_f1, "accuracy": result.accuracy}


def measure_network(recipe: Recipe, tokenized, seed: int, model: str, texts: Sequence[str] = ()) -> dict[str, object]:
    """Train a network once with each rate of its recipe; the rate with the best validation macro-F1 counts on test.

    So no network suffers from a rate that suits another. A rate that diverged before its first validation scores 0.

    Returns `macro_f1` and `accuracy` on the test split (0 to 1), the `rate` taken, its score on `validation`, and its
    `curve`: step, losses and macro-F1 of each validation. A run that stopped early has a shorter one. Without rates
    there are only the scores.
    """
    train, best = tokenized["train"], {"validation": -1.0}
    if not recipe.rates:
        network = build_network(recipe, train, seed, model, texts).to(pick_device())
        with remember_frozen(recipe, network, model):
            result = evaluate(network, tokenized["test"])
        return {"macro_f1": result.macro_f1, "accuracy": result.accuracy}
    for rate in recipe.rates:
        network = build_network(recipe, train, seed, model, texts).to(pick_device())
        settings = recipe_settings(recipe, len(train), len(train.features["label"].names), rate, seed)
        with remember_frozen(recipe, network, model):
            history = train_network(network, tokenized, settings)
            score = history.best["macro_f1"] if history.best else 0.0
            if score <= best["validation"]:
                continue
            result = evaluate(network, tokenized["test"])
        best = {"macro_f1": result.macro_f1, "accuracy": result.accuracy, "rate": rate, "validation": score}
        best["curve"] = [
            {key: round(row[key], 4) for key in ("step", "train_loss", "validation_loss", "macro_f1")}
            for row in history.validations
        ]
    return best
