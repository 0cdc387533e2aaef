"""Measure what the lessons claim, over several seeds: networks against baselines, from few labels to many.

    python -m course_utils.experiments                       all studies on the course's tickets -> data/results/
    python -m course_utils.experiments transfer --seeds 3    one of them, with fewer seeds
    python -m course_utils.experiments --csv mine.csv --text message --label team --out mine.json

Every single measurement is saved as soon as it is made: stop the command at any moment, start it again, and it
goes on with what is missing.
"""

import argparse
import json
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.checkpoints import replace_safely
from course_utils.data import QUEUES, TICKETS, clean, read_examples, split_examples, take_per_label, tokenize
from course_utils.evaluation import (
    ENCODER,
    encoder_baseline,
    evaluate,
    evaluate_baseline,
    majority_baseline,
    tfidf_baseline,
)
from course_utils.live import LiveTraining
from course_utils.models import (
    DATA,
    add_lora,
    freeze_below,
    load_classifier,
    load_language_model,
    load_tokenizer,
    set_dropout,
)
from course_utils.pretrain import adapt
from course_utils.training import FineTuneSettings

RESULTS = DATA / "results"
BATCH_SIZE = 16
FEW = 32  # labels a class up to which a network takes STEPS steps
STEPS, MORE_STEPS, EPOCHS = 60, 160, 3  # with more labels, it takes MORE_STEPS, or EPOCHS epochs if those are more
VALIDATION_ROWS = 200  # who has few labels to train on has not many to validate on


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained. All that no field names is the same for all.

    `blocks_frozen` counts from below; `adapted` says that the language model first read the training texts without
    their labels; of `rates` the one with the best validation macro-F1 is taken.
    """

    random_weights: bool = False
    pooling: str = "mean"
    blocks_frozen: int = 0
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
    "frozen body": Recipe(blocks_frozen=6, rates=(1e-2, 3e-2, 1e-1)),
    "random weights": Recipe(random_weights=True),
    "last token": Recipe(pooling="last"),
    "3 blocks frozen": Recipe(blocks_frozen=3, rates=(1e-3, 3e-3, 1e-2)),
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
        ("plain", "dropout 0.1", "dropout 0.3", "weight decay 0.1", "weight decay 1", "label smoothing 0.1"),
        (16,),
    ),
    "learning_rates": Study(tuple(name for name in NETWORKS if name.startswith("rate ")), (32,), seeds=3),
}


@lru_cache(maxsize=1)
def adapt_body(texts: tuple[str, ...], model: str, seed: int) -> dict:
    """Let the language model read texts without labels; return the weights of its body."""
    language_model = load_language_model(model).train()
    language_model.config.use_cache = False
    adapt(language_model, load_tokenizer(model), list(texts), seed=seed)
    return language_model.transformer.state_dict()


def build(recipe: Recipe, labels: Sequence[str], seed: int, model: str = "gpt2-mini", texts: Sequence[str] = ()):
    """Build the classifier of a recipe; `texts` are for adapting the language model, where the recipe asks for it."""
    classifier = load_classifier(labels, model, recipe.dropout, recipe.random_weights, seed, recipe.pooling)
    if recipe.adapted:
        classifier.transformer.load_state_dict(adapt_body(tuple(texts), model, seed))
        set_dropout(classifier, recipe.dropout)
    if recipe.lora:
        return add_lora(classifier)
    return freeze_below(classifier, min(recipe.blocks_frozen, classifier.config.n_layer))


def count_steps(rows: int, classes: int) -> int:
    """How many steps a network takes with so many training rows: the same for all recipes, so that none is favoured."""
    return STEPS if rows <= FEW * classes else max(MORE_STEPS, EPOCHS * math.ceil(rows / BATCH_SIZE))


def prepare_run(recipe: Recipe, classifier, tokenized, rate: float, seed: int, **options) -> LiveTraining:
    """Prepare one training with the settings that all measurements share."""
    steps = count_steps(len(tokenized["train"]), classifier.config.num_labels)
    settings = FineTuneSettings(
        learning_rate=rate, batch_size=BATCH_SIZE, weight_decay=recipe.weight_decay, patience=None, seed=seed,
        label_smoothing=recipe.label_smoothing, layer_decay=recipe.layer_decay,
    )  # fmt: skip
    return LiveTraining(
        classifier, tokenized["train"], tokenized["validation"], settings, steps, validate_every=steps // 4, **options
    )


def measure(name: str, tokenized, seed: int, model: str = "gpt2-mini", texts: Sequence[str] = ()) -> dict:
    """Train or fit one contestant and score it on the test split.

    A network is trained once with each rate of its recipe; the rate with the best validation macro-F1 is the one
    whose test score counts, so that no network suffers from a rate that suits another.
    """
    if name in BASELINES:
        result = evaluate_baseline(BASELINES[name](), tokenized["train"], tokenized["test"])
        return {"macro_f1": result.macro_f1, "accuracy": result.accuracy}
    best = {"validation": -1.0}
    for rate in NETWORKS[name].rates:
        labels = tokenized["train"].features["label"].names
        run = prepare_run(NETWORKS[name], build(NETWORKS[name], labels, seed, model, texts), tokenized, rate, seed)
        history = run.run()
        if run.state == "failed":
            raise RuntimeError(f"{name}: {run.message}")
        score = max((row["macro_f1"] for row in history.epochs), default=0.0)
        if score > best["validation"]:
            result = evaluate(run.model, tokenized["test"])
            best = {"macro_f1": result.macro_f1, "accuracy": result.accuracy, "rate": rate, "validation": score}
            best["curve"] = [
                {key: round(row[key], 4) for key in ("step", "train_loss", "validation_loss", "macro_f1")}
                for row in history.epochs
            ]
    return best


def plan(study: Study, sizes, seeds) -> Iterator[tuple[str, int | None, int]]:
    """Yield (contestant, labels a class or None for all, seed), whole seeds one after the other."""
    for seed in range(seeds):
        for size in sizes:
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


def run_study(study: Study, splits, out: Path, sizes=None, seeds: int | None = None, model: str = "gpt2-mini") -> dict:
    """Make all measurements of a study that `out` does not hold yet; return the whole table of results."""
    results = {"settings": {}, "runs": {}}
    if out.exists():
        results = json.loads(out.read_text())
    recipes = results["settings"].get("recipes", {})
    results["settings"] = describe(study, model, splits)
    results["settings"]["recipes"] = recipes | results["settings"]["recipes"]  # other contestants may be there already
    tokenizer = load_tokenizer(model)
    texts = splits["train"]["text"].tolist()
    jobs = list(plan(study, sizes or study.sizes, seeds or study.seeds))
    for name, size, seed in tqdm(jobs, desc=out.stem, disable=QUIET):
        key = f"{name}, {size or 'all'}, seed {seed}"
        if key in results["runs"]:
            continue
        tokenized = tokenize(draw_few(splits, size, seed), tokenizer)
        results["runs"][key] = measure(name, tokenized, seed, model, texts)
        with replace_safely(out) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")
    return results


def describe(study: Study, model: str, splits) -> dict:
    """What a reader needs to judge the numbers or to make them again."""
    return {
        "model": model,
        "sentence encoder": ENCODER,
        "recipes": {name: asdict(NETWORKS[name]) for name in study.contestants if name in NETWORKS},
        "batch size": BATCH_SIZE,
        "steps": f"{STEPS} up to {FEW} labels a class, with more {MORE_STEPS}, or {EPOCHS} epochs if those are more; "
        "the best of 4 validations is kept",
        "validation": f"on at most {VALIDATION_ROWS} rows; with all labels, on the whole split",
        "learning rate": "for each seed, the best of the recipe's rates on validation",
        "rows": {name: len(table) for name, table in splits.items()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "transformers", "peft", "scikit-learn")},
    }


def summarize(results: dict, metric: str = "macro_f1") -> dict[tuple[str, str], tuple[float, float, int]]:
    """Mean, half-width of Student's 95 % interval of the mean, and number of seeds, for each (contestant, labels)."""
    groups: dict[tuple[str, str], list[float]] = {}
    for key, run in results["runs"].items():
        name, size, _ = key.split(", ")
        groups.setdefault((name, size), []).append(run[metric])
    summary = {}
    for key, values in groups.items():
        half = 0.0
        if len(values) > 1:
            half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
        summary[key] = (float(np.mean(values)), half, len(values))
    return summary


def differences(results: dict, first: str, second: str, metric: str = "macro_f1") -> pd.DataFrame:
    """How far `first` is ahead of `second`, at each number of labels: mean over seeds, and Student's 95 % interval.

    With one seed both learned from the same labels, so the difference is taken seed by seed: the luck of the draw,
    which hits both alike, cancels. `shown` says what the interval shows.

    Raises ValueError where fewer than two seeds have both.
    """
    runs, rows = results["runs"], {}
    for key, run in runs.items():
        name, size, seed = key.split(", ")
        rival = runs.get(f"{second}, {size}, {seed}")
        if name == first and rival is not None:
            rows.setdefault(size, []).append(run[metric] - rival[metric])
    if not rows or min(map(len, rows.values())) < 2:
        raise ValueError(f"{first!r} and {second!r} need two measured seeds at least to be compared.")
    table = {}
    for size, values in rows.items():
        half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
        low, high = np.mean(values) - half, np.mean(values) + half
        shown = "ahead" if low > 0 else "behind" if high < 0 else "no difference shown"
        table[size] = {"mean": np.mean(values), "low": low, "high": high, "seeds": len(values), "shown": shown}
    return pd.DataFrame(table).T.rename_axis(f"{first} - {second}")


def read_results(study: str, folder: Path = RESULTS) -> dict:
    """Read the measurements of a study. Raises FileNotFoundError with the command that makes them."""
    path = folder / f"{study}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"No {path.name} in {folder.name}: make it with python -m course_utils.experiments {study}"
        )
    return json.loads(path.read_text())


def results_table(results: dict, metric: str = "macro_f1") -> pd.DataFrame:
    """A study as a table: contestants in rows, labels a class in columns, "mean ± half-width (seeds)" in the cells."""
    cells: dict[str, dict[str, str]] = {}
    for (name, size), (mean, half, seeds) in summarize(results, metric).items():
        cells.setdefault(size, {})[name] = f"{mean:.2f} ± {half:.2f} ({seeds})"
    return pd.DataFrame(cells).rename_axis(index=metric.replace("_", "-"), columns="labels a class")


def main() -> None:
    """Read the command line, measure, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.experiments", description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"some of: {', '.join(STUDIES)} (default: all)")
    parser.add_argument("--csv", type=Path, help="a CSV of your own (default: the course's tickets)")
    parser.add_argument("--test", type=Path, help="its test set, if that is a file of its own")
    parser.add_argument("--test-rows", type=int, help="at most so many rows of the test set, drawn at random")
    parser.add_argument("--text", default="text", help="name of the text column")
    parser.add_argument("--label", default="label", help="name of the label column")
    parser.add_argument("--out", type=Path, help="where results are kept (default: data/results/STUDY.json)")
    parser.add_argument("--model", default="gpt2-mini")
    parser.add_argument("--contestants", nargs="*", help="only these")
    parser.add_argument("--sizes", type=int, nargs="*", help="labels a class; 0: all (default: the study's)")
    parser.add_argument("--seeds", type=int, help="how many seeds (default: the study's)")
    options = parser.parse_args()
    try:
        for name in options.studies or (["transfer"] if options.csv else STUDIES):
            run_and_print(name, options)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\nStopped. The same command goes on with what is missing.\n")


def run_and_print(name: str, options) -> None:
    """Run one study as the command line asks, and print its table."""
    if name not in STUDIES:
        raise ValueError(f"there is no study {name!r}: choose among {', '.join(STUDIES)}.")
    study, out = STUDIES[name], options.out or RESULTS / f"{name}.json"
    if options.csv and not options.out:
        raise ValueError("results of your own data need a file of their own: add --out FILE.json.")
    unknown = set(options.contestants or ()) - {*BASELINES, *NETWORKS}
    if unknown:
        known = ", ".join([*BASELINES, *NETWORKS])
        raise ValueError(f"there is no contestant {sorted(unknown)[0]!r}: choose among {known}.")
    if options.contestants:
        study = Study(tuple(options.contestants), study.sizes, study.seeds)
    out.parent.mkdir(parents=True, exist_ok=True)
    sizes = None if options.sizes is None else [size or None for size in options.sizes]
    results = run_study(study, read_splits(options), out, sizes, options.seeds, options.model)
    print(f"{name}: means over seeds, with the half-width of their 95 % interval")
    for metric in ("macro_f1", "accuracy"):
        for (contestant, size), (mean, half, seeds) in summarize(results, metric).items():
            print(f"{metric:8} {contestant:20} {size:>4} labels a class: {mean:.3f} ± {half:.3f} ({seeds} seeds)")


def read_splits(options) -> dict:
    """Read, clean and split the data set that the command line names."""
    if options.csv is None:
        return split_examples(clean(read_examples(TICKETS, label="queue"), QUEUES)[0])
    splits = split_examples(clean(read_examples(options.csv, options.text, options.label))[0])
    if options.test is not None:
        splits["train"] = pd.concat([splits["train"], splits["test"]])  # its place is taken by the file
        splits["test"], _ = clean(read_examples(options.test, options.text, options.label))
    if options.test_rows is not None:  # drawn, because a file may be sorted by label
        splits["test"] = splits["test"].sample(min(options.test_rows, len(splits["test"])), random_state=0)
    return splits


if __name__ == "__main__":
    main()
