"""What the lessons claim, measured over several seeds, from few labels to many.

A study is a list of contestants, sizes and seeds: `contestants` says who they are.
"""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.contestants import NETWORKS, STUDENT, TAUGHT, describe_rules, measure_contestant
from course_utils.data import take_per_label, tokenize
from course_utils.evaluation import ENCODER
from course_utils.models import load_tokenizer
from course_utils.provenance import continue_results, fingerprint_data, fingerprint_model
from course_utils.results import read_results_file, write_results

VALIDATION_ROWS = 200  # who has few labels to train on has not many to validate on


@dataclass(frozen=True)
class Study:
    """Contestants that are compared, at each number of labels a class (None: all), with seeds 0, 1, ...

    `only` has the sizes of contestants that are too slow for all of them.
    """

    contestants: tuple[str, ...]
    sizes: tuple[int | None, ...]
    seeds: int = 5
    model: str = "gpt2-mini"
    only: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)


STUDIES = {
    "transfer": Study(
        ("majority class", "TF-IDF", "pre-trained", "frozen body", "random weights", "probe, then all blocks"),
        (8, 16, 32, 64, 128, None),
    ),
    "methods": Study(
        (
            "pre-trained",
            "last token",
            "mean block",
            "3 blocks frozen",
            "LoRA",
            "lower rates below",
            "adapted",
            "frozen body",
            "frozen body, task layer",
        ),
        (32,),
    ),
    "pooling": Study(("last token", "pre-trained", "mean block"), (16, None)),
    "regularization": Study(
        ("plain", "dropout 0.1", "dropout 0.3", "weight decay 0.1", "weight decay 1", "label smoothing 0.1"), (16,), 10
    ),
    "learning_rates": Study(tuple(name for name in NETWORKS if name.startswith("rate ")), (32,), seeds=3),
    "schedules": Study(
        (
            "constant rate",
            "constant, half as high",
            "falling",
            "warm-up, then falling",
            "constant rate, three times as high",
            "warm-up, then falling, three times as high",
        ),
        (32,),
        seeds=8,
    ),
    "early_stopping": Study(("to the end", "patience 1", "patience 2", "patience 4"), (16,)),
    "ladder": Study(("majority class", "TF-IDF", "frozen states"), (8, 16, 32, 64, 128, None), model="smollm2"),
    "ways": Study(
        ("frozen states", "probe alone", "probe, then LoRA", "probe, then top half", "probe, then both halves"),
        (8, 16, 32, 64, 128, None),
        seeds=3,
        model="smollm2",
        only={"probe, then LoRA": (8, 16, 32), "probe, then both halves": (16,)},
    ),
    "taught": Study(tuple(TAUGHT), (8, 16, 32, 64), 3, "smollm2"),
    "prompting": Study(
        ("zero-shot", "few-shot", "zero-shot, as a chat", "few-shot, as a chat"), (1, 2, 4), seeds=3, model="smollm2"
    ),
}


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
                if sizes or size in study.only.get(name, study.sizes):
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
    seeds: int | None = None, model: str | None = None, again: bool = False,
) -> dict:  # fmt: skip
    """Make all measurements of a study that `out` does not hold yet, saving each at once; return all results.

    A file holds measurements of one model and one data set, each contestant's of one recipe: contestants, sizes and
    seeds can be added, but not to measurements that were made otherwise. `again` first forgets those of the study's
    contestants, and all others too where model, data or rules have changed.

    Raises ValueError, before anything is measured, where the file's measurements were made otherwise.
    """
    model = model or study.model
    new = describe_settings(study, splits, model)
    results = {"settings": new, "runs": []}
    if out.exists():
        results = continue_results(read_results_file(out), new, study.contestants, out.name, again)
    tokenizer, texts = load_tokenizer(model), splits["train"]["text"].tolist()
    measured = {(run["contestant"], run["labels"], run["seed"]) for run in results["runs"]}
    jobs = [job for job in dict.fromkeys(list_jobs(study, sizes, seeds)) if job not in measured]
    for name, size, seed in tqdm(jobs, desc=out.stem, disable=QUIET):
        tokenized = tokenize(draw_few(splits, size, seed), tokenizer)
        scores = measure_contestant(name, tokenized, seed, model, texts)
        results["runs"].append({"contestant": name, "labels": size, "seed": seed, **scores})
        write_results(results, out)
    return results


def describe_settings(study: Study, splits: dict[str, pd.DataFrame], model: str) -> dict:
    """What a reader needs to judge the numbers or to make them again, as it stands in a file of results."""
    known = {name: TAUGHT.get(name, name) for name in study.contestants}
    recipes = {name: asdict(NETWORKS[recipe]) for name, recipe in known.items() if recipe in NETWORKS}
    student = {"student": fingerprint_model(STUDENT)} if set(TAUGHT) & set(study.contestants) else {}
    return {
        **student,
        "model": model,
        "weights": fingerprint_model(model),
        "data": fingerprint_data(splits),
        "sentence encoder": ENCODER,
        "recipes": json.loads(json.dumps(recipes)),  # as they will be read again, with lists for tuples
        **describe_rules(),
        "validation": f"on at most {VALIDATION_ROWS} rows; with all labels, on the whole split",
        "rows": {name: len(table) for name, table in splits.items()},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "transformers", "peft", "scikit-learn")},
    }
