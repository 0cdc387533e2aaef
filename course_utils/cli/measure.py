"""What the one look at the test says: scores with intervals, baselines on the same rows, and a verdict in words."""

import math
import re
import time
from collections.abc import Iterable

import numpy as np
from datasets import DatasetDict
from sklearn.pipeline import Pipeline

from course_utils.evaluation import (
    Evaluation,
    accuracy_interval,
    bootstrap_interval,
    difference_interval,
    evaluate_baseline,
    majority_baseline,
    tfidf_baseline,
)

BINS = 10
BASELINE_ROWS = 50_000  # training rows at most: the memory of TF-IDF grows with the words that it meets
LONGEST_TEXT = 500  # characters of a text that a report shows


def plain(number: float) -> float | None:
    """A number as JSON can hold it: one that is not finite becomes None."""
    return float(number) if math.isfinite(number) else None


def score(value: float, interval: tuple[float, float]) -> dict:
    """A score with its 95 % interval. Where the bootstrap finds none (all redraws alike), it is the value itself."""
    low, high = (value if math.isnan(end) else end for end in interval)
    return {"value": float(value), "low": float(low), "high": float(high)}


def main_scores(result: Evaluation) -> dict:
    """Accuracy and macro-F1 with intervals."""
    return {
        "accuracy": score(result.accuracy, accuracy_interval(result.true, result.predicted)),
        "macro_f1": score(result.macro_f1, bootstrap_interval(result.true, result.predicted)),
    }


def class_scores(result: Evaluation) -> list[dict]:
    """Precision, recall, F1 with an interval, and support of each class."""
    rows = []
    for i, (label, row) in enumerate(result.class_table().iterrows()):
        f1 = score(row["f1"], bootstrap_interval(result.true == i, result.predicted == i, f1_of_true))
        recall = row["recall"]
        if row["support"] == 0:  # of a label that never occurs, recall and F1 are not 0: there are none
            recall, f1 = None, {"value": None, "low": None, "high": None}
        rows.append({"label": label, "precision": row["precision"], "recall": recall, "f1": f1})
        rows[-1]["support"] = int(row["support"])
    return rows


def f1_of_true(true: np.ndarray, predicted: np.ndarray) -> float:
    """F1 of one class, from two arrays that say of each row whether it is of the class; 0 where there is none."""
    return float(2 * (true & predicted).sum() / max(1, true.sum() + predicted.sum()))


def reliability(result: Evaluation) -> list[dict]:
    """Ten bins of confidence: how sure the model was in each on average, and how often it was right."""
    sure, right = result.probabilities.max(axis=1), result.true == result.predicted
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = []
    for i in range(BINS):
        inside = places == i
        means = (float(sure[inside].mean()), float(right[inside].mean())) if inside.any() else (None, None)
        bins.append({"low": i / BINS, "high": (i + 1) / BINS, "rows": int(inside.sum())})
        bins[-1] |= {"confidence": means[0], "accuracy": means[1]}
    return bins


def test_facts(result: Evaluation, texts: list[str]) -> dict:
    """All that a report says about a classifier's predictions on the test."""
    bins = reliability(result)
    gaps = [b["rows"] * abs(b["confidence"] - b["accuracy"]) for b in bins if b["rows"]]
    worst = result.worst_errors(texts, 10).to_dict("records")
    return {
        "rows": len(result.true),
        "loss": plain(result.loss),
        **main_scores(result),
        "ece": sum(gaps) / len(result.true),  # Naeini et al. 2015, expected calibration error
        "classes": class_scores(result),
        "confusion": result.confusion_table().to_numpy().tolist(),
        "reliability": bins,
        "worst_errors": [row | {"text": row["text"][:LONGEST_TEXT]} for row in worst],
    }


def measure_baselines(data: DatasetDict) -> tuple[dict, Evaluation]:
    """Fit and evaluate both baselines on the same splits; return their facts and TF-IDF's predictions."""
    train = data["train"]
    if len(train) > BASELINE_ROWS:
        train = train.shuffle(seed=0).select(range(BASELINE_ROWS))
    facts = {}
    for name, pipeline in (("majority", majority_baseline()), ("tfidf", fitting_tfidf(train["text"]))):
        start = time.perf_counter()
        result = evaluate_baseline(pipeline, train, data["test"])
        facts[name] = {**main_scores(result), "seconds": time.perf_counter() - start, "rows": len(train)}
    texts = list(data["test"]["text"])
    start = time.perf_counter()
    pipeline.predict(texts)
    facts["tfidf"]["ms_per_text"] = 1000 * (time.perf_counter() - start) / len(texts)
    return facts, result


def fitting_tfidf(texts: Iterable[str]) -> Pipeline:
    """TF-IDF of words; of characters where no text has a word of two letters, such as emoji or formulas."""
    pipeline = tfidf_baseline()
    words = pipeline.named_steps["tfidfvectorizer"]
    if not any(re.search(words.token_pattern, text) for text in texts):
        words.set_params(analyzer="char")
    return pipeline


def compare(result: Evaluation, tfidf: Evaluation, baselines: dict, seconds: float) -> dict:
    """Set a model beside TF-IDF: the difference, what each costs, and a verdict. `seconds`: of evaluating the model."""
    value = result.macro_f1 - tfidf.macro_f1
    difference = score(value, difference_interval(result.true, result.predicted, tfidf.predicted))
    own, other = 1000 * seconds / len(result.true), baselines["tfidf"]["ms_per_text"]
    cost = {"ms_per_text": own, "tfidf_ms_per_text": other, "times": own / max(other, 1e-6)}
    verdict = judge(result, baselines, difference, cost["times"])
    if (rows := baselines["tfidf"]["rows"]) == BASELINE_ROWS:
        verdict["sentence"] += f" (TF-IDF learned from {rows:,} training rows only, to save memory.)"
    return {"comparison": {"difference": difference}, "cost": cost, "verdict": verdict}


def judge(result: Evaluation, baselines: dict, difference: dict, times: float) -> dict:
    """A plain verdict; where intervals overlap zero, no difference was shown."""
    majority, tfidf = baselines["majority"]["macro_f1"]["value"], baselines["tfidf"]["macro_f1"]["value"]
    scores = f"macro-F1 {result.macro_f1:.3f} against {tfidf:.3f}"
    cheaper = f"{times:,.0f} times cheaper to run" if times >= 2 else "no dearer to run"
    if times < 1:
        cheaper = f"takes {1 / max(times, 1e-6):,.1f} times as long for a text"
    low, _ = bootstrap_interval(result.true, result.predicted)
    if not low > majority:
        kind = "no better than majority"
        said = (
            f"The model has learned nothing that shows (macro-F1 {result.macro_f1:.3f}; always answering with the "
            f"commonest label gives {majority:.3f}): look at data, learning rate and epochs before you use it."
        )
    elif difference["low"] > 0:
        kind = "model better"
        said = f"The model is better than TF-IDF ({scores}, on the same {len(result.true):,} rows): use it."
    elif difference["high"] < 0:
        kind = "tfidf better"
        said = (
            f"TF-IDF with logistic regression is better (macro-F1 {tfidf:.3f} against {result.macro_f1:.3f}) and "
            f"{cheaper}: use it instead."
        )
    else:
        kind = "tfidf as good"
        said = (
            f"TF-IDF with logistic regression is as good as this test can tell (macro-F1 {tfidf:.3f} against "
            f"{result.macro_f1:.3f}) and {cheaper}: use it, unless a larger test shows a difference."
        )
    return {"kind": kind, "sentence": said}
