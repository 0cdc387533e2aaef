"""Measure what the lessons claim, over several seeds: networks against baselines, from few labels to many.

    python -m course_utils.experiments                          the course's tickets -> data/results/tickets.json
    python -m course_utils.experiments --csv mine.csv --text message --label team --out mine.json

Every single measurement is saved as soon as it is made: stop the command at any moment, start it again, and it
goes on with what is missing.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.checkpoints import replace_safely
from course_utils.data import QUEUES, TICKETS, clean, read_examples, split_examples, take_per_label, tokenize
from course_utils.evaluation import evaluate, evaluate_baseline, majority_baseline, tfidf_baseline
from course_utils.models import DATA, load_classifier, load_tokenizer
from course_utils.training import FineTuneSettings, fine_tune

BASELINES = {"majority class": majority_baseline, "TF-IDF": tfidf_baseline}
NETWORKS = {"pre-trained": False, "random weights": True}  # name -> random_weights
RATES = (3e-4, 1e-3, 2e-3)
STEPS = 240  # every network takes about as many steps, however few its labels


def choose_settings(rows: int, learning_rate: float, seed: int) -> FineTuneSettings:
    """The one recipe for all networks: as many epochs as give `STEPS` steps, between 3 and 20; early stopping."""
    epochs = min(20, max(3, round(STEPS * 16 / rows)))
    return FineTuneSettings(learning_rate=learning_rate, epochs=epochs, patience=4, seed=seed)


def measure(name: str, tokenized, learning_rates, seed: int, model: str = "gpt2-mini") -> dict:
    """Train or fit one contestant and score it on the test split.

    A network is trained once with each learning rate; the rate with the best validation macro-F1 is the one
    whose test score counts, so that no network suffers from a rate that suits the other.
    """
    train, test = tokenized["train"], tokenized["test"]
    if name in BASELINES:
        result = evaluate_baseline(BASELINES[name](), train, test)
        return {"macro_f1": result.macro_f1, "accuracy": result.accuracy}
    best = {"validation": -1.0}
    for rate in learning_rates:
        labels = train.features["label"].names
        classifier = load_classifier(labels, model, random_weights=NETWORKS[name], seed=seed)
        settings = choose_settings(len(train), rate, seed)
        history = fine_tune(classifier, train, tokenized["validation"], settings)
        score = max(row["macro_f1"] for row in history.epochs)
        if score > best["validation"]:
            result = evaluate(classifier, test)
            best = {"validation": score, "macro_f1": result.macro_f1, "accuracy": result.accuracy, "rate": rate}
    return best


def plan(sizes, seeds) -> Iterator[tuple[str, int | None, int]]:
    """Yield (contestant, labels per class or None for all, seed), the cheap ones first."""
    for seed in seeds:
        for size in sizes:
            for name in [*BASELINES, *NETWORKS]:
                yield name, size, seed


def run_all(splits, out: Path, sizes, seeds, rates=RATES, model: str = "gpt2-mini") -> dict:
    """Make all measurements that `out` does not hold yet; return the whole table of results."""
    results = {"settings": {}, "runs": {}}
    if out.exists():
        results = json.loads(out.read_text())
    results["settings"] = describe(rates, model, splits)
    tokenizer = load_tokenizer(model)
    jobs = list(plan(sizes, seeds))
    for name, size, seed in tqdm(jobs, desc=out.stem, disable=QUIET):
        key = f"{name}, {size or 'all'}, seed {seed}"
        if key in results["runs"]:
            continue
        few = splits["train"] if size is None else take_per_label(splits["train"], size, seed)
        results["runs"][key] = measure(name, tokenize({**splits, "train": few}, tokenizer), rates, seed, model)
        with replace_safely(out) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")
    return results


def describe(rates, model: str, splits) -> dict:
    """What a reader needs to judge the numbers or to make them again."""
    recipe = asdict(replace(FineTuneSettings(), patience=4))
    return {
        "model": model,
        "learning rates tried": list(rates),
        "recipe": {key: recipe[key] for key in recipe if key not in ("learning_rate", "epochs", "seed")},
        "steps": STEPS,
        "rows": {name: len(table) for name, table in splits.items()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "transformers", "scikit-learn")},
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


def main() -> None:
    """Read the command line, measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.experiments", description=__doc__.split("\n")[0])
    parser.add_argument("--csv", type=Path, help="a CSV of your own (default: the course's tickets)")
    parser.add_argument("--test", type=Path, help="its test set, if that is a file of its own")
    parser.add_argument("--text", default="text", help="name of the text column")
    parser.add_argument("--label", default="label", help="name of the label column")
    parser.add_argument("--out", type=Path, default=DATA / "results" / "tickets.json", help="where results are kept")
    parser.add_argument("--model", default="gpt2-mini")
    parser.add_argument("--sizes", type=int, nargs="*", default=[8, 16, 32, 64, 128, 0], help="labels a class; 0: all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    try:
        splits = read_splits(options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        sizes = [size or None for size in options.sizes]
        results = run_all(splits, options.out, sizes, range(options.seeds), model=options.model)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    for (name, size), (mean, half, seeds) in summarize(results).items():
        print(f"{name:16} {size:>4} labels a class: macro-F1 {mean:.3f} ± {half:.3f} ({seeds} seeds)")


def read_splits(options) -> dict:
    """Read, clean and split the data set that the command line names."""
    if options.csv is None:
        return split_examples(clean(read_examples(TICKETS, label="queue"), QUEUES)[0])
    examples, _ = clean(read_examples(options.csv, options.text, options.label))
    if options.test is None:
        return split_examples(examples)
    splits = split_examples(examples)
    splits["train"] = pd.concat([splits["train"], splits["test"]])  # its place is taken by the file
    splits["test"], _ = clean(read_examples(options.test, options.text, options.label))
    return splits


if __name__ == "__main__":
    main()
