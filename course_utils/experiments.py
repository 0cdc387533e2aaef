"""Measure what the lessons claim, over several seeds: networks against baselines, from few labels to many.

    python -m course_utils.experiments                       all studies on the course's tickets -> data/results/
    python -m course_utils.experiments transfer --seeds 3    one of them, with fewer seeds
    python -m course_utils.experiments --csv mine.csv --text message --label team --out mine.json

Every single measurement is saved as soon as it is made: stop the command at any moment, start it again, and it
goes on with what is missing. Contestants, sizes and seeds can be added to a file of results; with another model, other
data or another recipe the command refuses, see --again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from course_utils.contestants import BASELINES, NETWORKS, TAUGHT, UNTRAINED
from course_utils.data import clean, load_ticket_splits, read_examples, split_examples
from course_utils.duplicates import find_leaks
from course_utils.results import RESULTS, summarize
from course_utils.studies import STUDIES, Study, run_study


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.experiments", description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"some of: {', '.join(STUDIES)} (default: all)")
    parser.add_argument("--csv", type=Path, help="a CSV of your own (default: the course's tickets)")
    parser.add_argument(
        "--test", type=Path, help="its test set, if that is a file of its own; near duplicates of it are not trained on"
    )
    parser.add_argument("--test-rows", type=int, help="at most so many rows of the test set, drawn at random")
    parser.add_argument("--text", default="text", help="name of the text column")
    parser.add_argument("--label", default="label", help="name of the label column")
    parser.add_argument("--out", type=Path, help="where results are kept (default: data/results/STUDY.json)")
    parser.add_argument("--model", help="the GPT to measure (default: the study's)")
    parser.add_argument("--contestants", nargs="*", help="only these")
    parser.add_argument("--sizes", type=int, nargs="*", help="labels a class; 0: all (default: the study's)")
    parser.add_argument("--seeds", type=int, help="how many seeds (default: the study's)")
    parser.add_argument(
        "--again", action="store_true",
        help="first forget what the file holds of these contestants (with another model or data set: of all)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        check_counts(options)
        for name in options.studies or (["transfer"] if options.csv else STUDIES):
            run_and_print(name, options)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        same = "The same command without --again" if options.again else "The same command"
        parser.exit(130, f"\nStopped. {same} goes on with what is missing.\n")


def check_counts(options: argparse.Namespace) -> None:
    """Raise ValueError for counts that cannot be."""
    for option, count, least in (
        ("--seeds", options.seeds, 1),
        ("--test-rows", options.test_rows, 1),
        ("--sizes", min(options.sizes or [0]), 0),
    ):
        if count is not None and count < least:
            raise ValueError(f"{option} counts from {least} up, got {count}.")


def run_and_print(name: str, options: argparse.Namespace) -> None:
    """Run one study as the command line asks, and print its table."""
    study, out = choose_study(name, options.contestants), options.out or RESULTS / f"{name}.json"
    if options.csv and not options.out:
        raise ValueError("results of your own data need a file of their own: add --out FILE.json.")
    splits = read_splits(options)
    out.parent.mkdir(parents=True, exist_ok=True)
    sizes = None if options.sizes is None else [size or None for size in options.sizes]
    results = run_study(study, splits, out, sizes, options.seeds, options.model, options.again)
    print(f"{name}: means over seeds, with the half-width of their 95 % interval")
    for metric in ("macro_f1", "accuracy"):
        for (contestant, size), row in summarize(results, metric).iterrows():
            half = f" ± {row['half']:.3f}" if row["seeds"] > 1 else ""
            score = f"{row['mean']:.3f}{half} ({row['seeds']:.0f} seeds)"
            print(f"{metric:8} {contestant:20} {size:>4} labels a class: {score}")


def choose_study(name: str, contestants: Sequence[str] | None = None) -> Study:
    """Find a study by its name, perhaps with other contestants. Raises ValueError for names that do not exist."""
    if name not in STUDIES:
        raise ValueError(f"there is no study {name!r}: choose among {', '.join(STUDIES)}.")
    known = [*BASELINES, *UNTRAINED, *NETWORKS, *TAUGHT]
    unknown = sorted(set(contestants or ()) - set(known))
    if unknown:
        raise ValueError(f"there is no contestant {unknown[0]!r}: choose among {', '.join(known)}.")
    study = STUDIES[name]
    return replace(study, contestants=tuple(contestants)) if contestants else study


def read_splits(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """Read, clean and split the data set that the command line names."""
    if options.csv is None:
        if options.test or options.test_rows is not None:
            raise ValueError("--test and --test-rows belong to data of your own: add --csv FILE.")
        return load_ticket_splits()
    examples, _ = clean(read_examples(options.csv, options.text, options.label))
    if options.test is None:
        splits = split_examples(examples)
    else:
        test, _ = clean(read_examples(options.test, options.text, options.label))
        splits = split_examples(drop_leaks(examples, test))
        splits["train"] = pd.concat([splits["train"], splits["test"]])  # its place is taken by the file
        splits["test"] = test
    if options.test_rows is not None:  # drawn, because a file may be sorted by label
        splits["test"] = splits["test"].sample(min(options.test_rows, len(splits["test"])), random_state=0)
    return splits


def drop_leaks(examples: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Leave out the rows of `examples` that are (near) duplicates of a test row, and say how many there are."""
    own, tested = examples["text"].tolist(), test["text"].tolist()
    leaks = find_leaks(own, tested)
    if not leaks:
        return examples
    # The other way round, each row to train on is named once: a test row can have several twins among them.
    twins = {position for position, *_ in find_leaks(tested, own)}
    print(
        f"{len(leaks)} of {len(test)} test rows have a near duplicate among the rows to train on: {len(twins)} of "
        f"those {len(examples)} rows are left out."
    )
    return examples[[position not in twins for position in range(len(examples))]]


if __name__ == "__main__":
    main()
