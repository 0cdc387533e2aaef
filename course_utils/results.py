"""Measured results: read, summarize and compare what `studies` has measured.

A file of results holds how it was made and one record for every measurement:

    {"settings": {...}, "runs": [{"contestant": "TF-IDF", "labels": 8, "seed": 0, "macro_f1": 0.34, ...}, ...]}

`labels` is the number of labels a class; null stands for all there are.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from course_utils.checkpoints import replace_safely
from course_utils.models import DATA

RESULTS = DATA / "results"


def read_results(study: str, folder: Path = RESULTS) -> dict:
    """Read the measurements of a study. Raises FileNotFoundError with the command that makes them."""
    path = Path(folder) / f"{study}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"No {path.name} in {path.parent.name}: make it with python -m course_utils.experiments {study}"
        )
    return read_results_file(path)


def read_results_file(path: Path) -> dict:
    """Read any file of results: {"settings": ..., "runs": ...}. Raises ValueError for a file that is none."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        results = None
    if not isinstance(results, dict) or not isinstance(results.get("runs"), list):
        raise ValueError(f"{path.name} is no file of results, or one of an earlier version: name another file.")
    return results


def write_results(results: dict, path: Path) -> None:
    """Write a file of results; whoever is interrupted still has the whole old one."""
    with replace_safely(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def runs_frame(results: dict) -> pd.DataFrame:
    """The runs as a table, in the order of measuring: one row a run, `labels` as text ("all" where it is null)."""
    runs = pd.DataFrame(results["runs"])
    runs["labels"] = ["all" if run["labels"] is None else str(run["labels"]) for run in results["runs"]]
    return runs


def half_width(values: Sequence[float], level: float = 0.95) -> float:
    """Half the width of Student's interval of the mean, 95 % by default; 0 for equal values, and for a single one."""
    if len(set(values)) < 2:
        return 0.0
    low, high = ttest_1samp(values, 0).confidence_interval(level)
    return float(high - low) / 2


def summarize(results: dict, metric: str = "macro_f1") -> pd.DataFrame:
    """Summarize over seeds: one row for each (contestant, labels), in the order of measuring.

    Columns: `mean`, `half` (half the width of Student's 95 % interval of the mean) and `seeds`, their number.
    """
    groups = runs_frame(results).groupby(["contestant", "labels"], sort=False)[metric]
    return groups.agg(mean="mean", half=half_width, seeds="size")


def label_curves(results: dict, classes: int, contestants: Sequence[str] | None = None) -> dict[str, list]:
    """Curves to draw: for each contestant rows of (labels a class, mean macro-F1, half-width), few labels first.

    "all" counts as the mean number of training rows a class. `contestants` picks some, in this order (None: all).
    """
    summary = summarize(results)
    per_class = results["settings"]["rows"]["train"] / classes
    curves: dict[str, list] = {name: [] for name in contestants or summary.index.unique("contestant")}
    for row in summary.reset_index().itertuples():
        if row.contestant in curves:
            labels = per_class if row.labels == "all" else int(row.labels)
            curves[row.contestant].append((labels, row.mean, row.half))
    return {name: sorted(rows) for name, rows in curves.items()}


def differences(results: dict, first: str, second: str, metric: str = "macro_f1", level: float = 0.95) -> pd.DataFrame:
    """How far `first` is ahead of `second`, at each number of labels: mean over seeds, and Student's interval.

    With one seed both learned from the same labels, so the difference is taken seed by seed: the luck of the draw,
    which hits both alike, cancels. Columns: `mean`, `low`, `high`, `seeds`, and what the interval shows (`shown`).
    Seeds that all differ by the same are "one draw", made several times, and show nothing about others. For several
    comparisons at once raise `level`: with n of them, 1 - 0.05 / n (Bonferroni) holds for all together.

    Raises ValueError where fewer than two seeds have both.
    """
    runs = runs_frame(results).set_index("contestant")[["labels", "seed", metric]]
    own, rival = (runs[runs.index == name] for name in (first, second))
    pairs = own.merge(rival, on=["labels", "seed"], suffixes=("", " of the rival"), validate="one_to_one")
    pairs["gap"] = pairs[metric] - pairs[f"{metric} of the rival"]
    table = pairs.groupby("labels", sort=False)["gap"].agg(
        mean="mean", half=lambda gaps: half_width(gaps, level), seeds="size"
    )
    if table.empty or table["seeds"].min() < 2:
        raise ValueError(f"{first!r} and {second!r} need two measured seeds at least to be compared.")
    table["low"], table["high"] = table["mean"] - table["half"], table["mean"] + table["half"]
    table["shown"] = "no difference shown"
    table.loc[table["low"] > 0, "shown"] = "ahead"
    table.loc[table["high"] < 0, "shown"] = "behind"
    same = (table["half"] < 1e-12) & (table["mean"] != 0)
    table.loc[same, "shown"] = "one draw"
    return table[["mean", "low", "high", "seeds", "shown"]].rename_axis(f"{first} - {second}")


# --- on the way: what a network's `curve` tells ---------------------------------------------------------------------


def score_curves(results: dict, labels: int | None, contestants: Sequence[str]) -> dict[str, list]:
    """Curves of training with so many labels a class (None: all): rows of (step, mean macro-F1, half-width).

    Each row sums up one validation over the seeds: the mean validation macro-F1 and half its 95 % interval.
    """
    curves = {}
    for name in contestants:
        runs = [run for run in results["runs"] if (run["contestant"], run["labels"]) == (name, labels)]
        scores = pd.DataFrame([row for run in runs for row in run["curve"]]).groupby("step")["macro_f1"]
        curves[name] = [tuple(row) for row in scores.agg(mean="mean", half=half_width).itertuples()]
    return curves


def score_at_loss(curve: Sequence[dict], loss: float) -> float:
    """The score of a run where its training loss first fell to `loss`, interpolated between two validations.

    NaN where the run never reached that loss, or had passed it before its first validation.
    """
    # Only the validations at which the loss was lower than ever before, in rising order, as np.interp wants them.
    lowest, first = np.unique(np.minimum.accumulate([row["train_loss"] for row in curve]), return_index=True)
    scores = np.array([row["macro_f1"] for row in curve])[first]
    return float(np.interp(loss, lowest, scores, left=np.nan, right=np.nan))


def at_common_loss(results: dict, first: str, second: str) -> dict:
    """Results of two networks at a point where both have learned their training labels equally well.

    With each number of labels and each seed, that is the lowest training loss that both reached. A validation's
    training loss is the mean over the steps since the validation before. The runs returned have this `loss`, and as
    `macro_f1` the *validation* score there; `differences` compares them. A pair without such a point is left out.
    """
    pairs: dict[tuple, list[dict]] = {}
    for run in results["runs"]:
        if run["contestant"] in (first, second):
            pairs.setdefault((run["labels"], run["seed"]), []).append(run)
    runs = []
    for pair in pairs.values():
        loss = max(min(row["train_loss"] for row in run["curve"]) for run in pair)
        scores = [score_at_loss(run["curve"], loss) for run in pair]
        if len(pair) == 2 and not np.isnan(scores).any():
            same = [{key: run[key] for key in ("contestant", "labels", "seed")} for run in pair]
            runs += [{**run, "loss": loss, "macro_f1": score} for run, score in zip(same, scores, strict=True)]
    return {"settings": results["settings"], "runs": runs}


# --- as a table -----------------------------------------------------------------------------------------------------


def results_table(results: dict, metric: str = "macro_f1") -> pd.DataFrame:
    """A study as a table: contestants in rows, labels a class in columns, "mean ± half-width (seeds)" in the cells."""
    summary = summarize(results, metric)
    halves = [f" ± {row.half:.2f}" if row.seeds > 1 else "" for row in summary.itertuples()]  # one seed knows no spread
    cells = [f"{row.mean:.2f}{half} ({row.seeds})" for row, half in zip(summary.itertuples(), halves, strict=True)]
    table = pd.Series(cells, index=summary.index).unstack(sort=False)
    sizes = sorted(table.columns, key=lambda size: float("inf") if size == "all" else int(size))
    return table[sizes].rename_axis(index=metric.replace("_", "-"), columns="labels a class")
