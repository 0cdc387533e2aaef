"""What the lessons claim, measured over several seeds: networks against baselines, from few labels to many.

A study is a list of contestants, sizes and seeds; a recipe says how a network is built and trained. Networks are
fine-tuned by `training.fine_tune`, the function of lesson 5, and baselines are those of lesson 6.
"""

import json
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.architecture import add_lora, freeze_below, freeze_body
from course_utils.data import take_per_label, tokenize
from course_utils.devices import pick_device
from course_utils.evaluation import (
    ENCODER,
    encoder_baseline,
    evaluate,
    evaluate_baseline,
    majority_baseline,
    tfidf_baseline,
)
from course_utils.history import Diverged, FineTuneSettings, History
from course_utils.models import load_classifier, load_language_model, load_tokenizer
from course_utils.provenance import continue_results, fingerprint_data, fingerprint_model
from course_utils.results import read_results_file, write_results
from course_utils.training import adapt, fine_tune

PIECE, PIECES = 8, 2  # a step takes 16 rows, in two pieces of 8: a lab's Stop button need not wait for all of them
FEW = 32  # labels a class up to which a network takes STEPS steps
STEPS, MORE_STEPS, EPOCHS = 60, 160, 3  # with more labels, it takes MORE_STEPS, or EPOCHS epochs if those are more
VALIDATION_ROWS = 200  # who has few labels to train on has not many to validate on


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained. All that no field names is the same for all.

    `freeze` is the number of blocks frozen, counted from below, or "body" for all of them, whatever the depth;
    `adapted` says that the language model first read the training texts without their labels; of `rates` the one with
    the best validation macro-F1 is taken.
    """

    random_weights: bool = False
    pooling: str = "mean"
    freeze: int | str = 0
    lora: bool = False
    adapted: bool = False
    layer_decay: float = 1.0
    dropout: float = 0.0
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Study:
    """Contestants that are compared, at each number of labels a class (None: all), with seeds 0, 1, ..."""

    contestants: tuple[str, ...]
    sizes: tuple[int | None, ...]
    seeds: int = 5


# The sentence encoder is in no study, because it must be fetched from the hub: name it with --contestants.
BASELINES = {"majority class": majority_baseline, "TF-IDF": tfidf_baseline, "sentence encoder": encoder_baseline}
NETWORKS = {
    "pre-trained": Recipe(),
    "adapted": Recipe(adapted=True),
    "frozen body": Recipe(freeze="body", rates=(1e-2, 3e-2, 1e-1)),
    "random weights": Recipe(random_weights=True),
    "last token": Recipe(pooling="last"),
    "3 blocks frozen": Recipe(freeze=3, rates=(1e-3, 3e-3, 1e-2)),
    "LoRA": Recipe(lora=True, rates=(3e-3, 1e-2, 3e-2)),
    "lower rates below": Recipe(layer_decay=0.8, rates=(1e-3, 3e-3, 1e-2)),
    "plain": Recipe(rates=(1e-3,)),
    "dropout 0.1": Recipe(dropout=0.1, rates=(1e-3,)),
    "dropout 0.3": Recipe(dropout=0.3, rates=(1e-3,)),
    "weight decay 0.1": Recipe(weight_decay=0.1, rates=(1e-3,)),
    "weight decay 1": Recipe(weight_decay=1.0, rates=(1e-3,)),
    "label smoothing 0.1": Recipe(label_smoothing=0.1, rates=(1e-3,)),
    **{f"rate {rate:g}": Recipe(rates=(rate,)) for rate in (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)},
}
STUDIES = {
    "transfer": Study(
        ("majority class", "TF-IDF", "pre-trained", "frozen body", "random weights"), (8, 16, 32, 64, 128, None)
    ),
    "methods": Study(("pre-trained", "last token", "3 blocks frozen", "LoRA", "lower rates below", "adapted"), (32,)),
    "regularization": Study(
        ("plain", "dropout 0.1", "dropout 0.3", "weight decay 0.1", "weight decay 1", "label smoothing 0.1"), (16,)
    ),
    "learning_rates": Study(tuple(name for name in NETWORKS if name.startswith("rate ")), (32,), seeds=3),
}


# --- one contestant ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def adapt_body(texts: tuple[str, ...], model: str, seed: int) -> dict:
    """Let the language model read texts without labels; return the weights of its body."""
    language_model = load_language_model(model).to(pick_device())
    adapt(language_model, load_tokenizer(model), list(texts), seed=seed)
    return language_model.base_model.state_dict()


def build_network(
    recipe: Recipe, labels: Sequence[str], seed: int, model: str = "gpt2-mini", texts: Sequence[str] = ()
):
    """Build the classifier of a recipe, on the CPU; `texts` are what an `adapted` language model reads first.

    Raises ValueError where the recipe freezes more blocks than the model has.
    """
    classifier = load_classifier(labels, model, recipe.dropout, recipe.random_weights, seed, recipe.pooling)
    if recipe.adapted:
        classifier.base_model.load_state_dict(adapt_body(tuple(texts), model, seed))
    if recipe.lora:
        return add_lora(classifier)
    return freeze_body(classifier) if recipe.freeze == "body" else freeze_below(classifier, recipe.freeze)


def count_steps(rows: int, classes: int) -> int:
    """How many steps a network takes with so many training rows: the same for all recipes, so that none is favoured."""
    return STEPS if rows <= FEW * classes else max(MORE_STEPS, EPOCHS * math.ceil(rows / (PIECE * PIECES)))


def recipe_settings(recipe: Recipe, rows: int, classes: int, rate: float, seed: int) -> FineTuneSettings:
    """The settings of one training with a recipe, on `rows` training rows of `classes` labels."""
    steps = count_steps(rows, classes)
    return FineTuneSettings(
        learning_rate=rate, steps=steps, validate_every=math.ceil(steps / 4), batch_size=PIECE, accumulate=PIECES,
        weight_decay=recipe.weight_decay, label_smoothing=recipe.label_smoothing, patience=None, seed=seed,
        layer_decay=recipe.layer_decay,
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

    A network is trained once with each rate of its recipe; the rate with the best validation macro-F1 is the one
    whose test score counts, so that no network suffers from a rate that suits another. A rate that diverged before
    its first validation scores 0 there.

    Returns `macro_f1` and `accuracy` on the test split (0 to 1); for a network also the `rate` taken, its score on
    `validation`, and its `curve`: step, losses and macro-F1 of each validation.
    """
    if name in BASELINES:
        result = evaluate_baseline(BASELINES[name](), tokenized["train"], tokenized["test"])
        return {"macro_f1": result.macro_f1, "accuracy": result.accuracy}
    recipe, labels, best = NETWORKS[name], tokenized["train"].features["label"].names, {"validation": -1.0}
    for rate in recipe.rates:
        network = build_network(recipe, labels, seed, model, texts).to(pick_device())
        settings = recipe_settings(recipe, len(tokenized["train"]), len(labels), rate, seed)
        history = train_network(network, tokenized, settings)
        score = history.best["macro_f1"] if history.best else 0.0
        if score > best["validation"]:
            result = evaluate(network, tokenized["test"])
            best = {"macro_f1": result.macro_f1, "accuracy": result.accuracy, "rate": rate, "validation": score}
            best["curve"] = [
                {key: round(row[key], 4) for key in ("step", "train_loss", "validation_loss", "macro_f1")}
                for row in history.validations
            ]
    return best


# --- a study ----------------------------------------------------------------------------------------------------


def list_jobs(
    study: Study, sizes: Sequence[int | None] | None = None, seeds: int | None = None
) -> Iterator[tuple[str, int | None, int]]:
    """Yield (contestant, labels a class or None for all, seed), whole seeds one after the other.

    `sizes` and `seeds` replace the study's own.
    """
    for seed in range(seeds or study.seeds):
        for size in sizes or study.sizes:
            for name in study.contestants:
                yield name, size, seed


def draw_few(splits: dict[str, pd.DataFrame], size: int | None, seed: int) -> dict[str, pd.DataFrame]:
    """Draw `size` training rows of each label and `VALIDATION_ROWS` to validate on; the test split stays whole.

    With `size` None nothing is drawn: all rows train, all of the validation split validates.
    """
    if size is None:
        return splits
    validation = splits["validation"]
    return {
        "train": take_per_label(splits["train"], size, seed),
        "validation": validation.sample(min(VALIDATION_ROWS, len(validation)), random_state=0),
        "test": splits["test"],
    }


def run_study(
    study: Study, splits: dict[str, pd.DataFrame], out: Path, sizes: Sequence[int | None] | None = None,
    seeds: int | None = None, model: str = "gpt2-mini", again: bool = False,
) -> dict:  # fmt: skip
    """Make all measurements of a study that `out` does not hold yet, saving each at once; return all results.

    A file holds measurements of one model and one data set, each contestant's of one recipe: contestants, sizes and
    seeds can be added, but not to measurements that were made otherwise. `again` first forgets those of the study's
    contestants, and all others too where model, data or rules have changed.

    Raises ValueError, before anything is measured, where the file's measurements were made otherwise.
    """
    new = describe_settings(study, splits, model)
    results = {"settings": new, "runs": []}
    if out.exists():
        results = continue_results(read_results_file(out), new, study.contestants, out.name, again)
    tokenizer, texts = load_tokenizer(model), splits["train"]["text"].tolist()
    measured = {(run["contestant"], run["labels"], run["seed"]) for run in results["runs"]}
    jobs = [job for job in list_jobs(study, sizes, seeds) if job not in measured]
    for name, size, seed in tqdm(jobs, desc=out.stem, disable=QUIET):
        tokenized = tokenize(draw_few(splits, size, seed), tokenizer)
        scores = measure_contestant(name, tokenized, seed, model, texts)
        results["runs"].append({"contestant": name, "labels": size, "seed": seed, **scores})
        write_results(results, out)
    return results


def describe_settings(study: Study, splits: dict[str, pd.DataFrame], model: str) -> dict:
    """What a reader needs to judge the numbers or to make them again, as it stands in a file of results."""
    recipes = {name: asdict(NETWORKS[name]) for name in study.contestants if name in NETWORKS}
    return {
        "model": model,
        "weights": fingerprint_model(model),
        "data": fingerprint_data(splits),
        "sentence encoder": ENCODER,
        "recipes": json.loads(json.dumps(recipes)),  # as they will be read again, with lists for tuples
        "batch size": PIECE * PIECES,
        "steps": f"{STEPS} up to {FEW} labels a class, with more {MORE_STEPS}, or {EPOCHS} epochs if those are more; "
        "the best of 4 validations is kept",
        "validation": f"on at most {VALIDATION_ROWS} rows; with all labels, on the whole split",
        "learning rate": "for each seed, the best of the recipe's rates on validation",
        "rows": {name: len(table) for name, table in splits.items()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "transformers", "peft", "scikit-learn")},
    }
