"""Lesson 6: how good is it? Metrics with intervals, baselines to beat, predictions to look at.

Metrics are scikit-learn's, intervals scipy's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from datasets import ClassLabel, Dataset
from scipy.stats import binomtest, bootstrap
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from course_utils.architecture import context_length
from course_utils.devices import mixed_precision
from course_utils.models import load_or_explain
from course_utils.pipeline import collate

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DRAWN_ROWS = 1_000_000  # of redrawn test sets at a time: more would take memory, and change nothing
MANY_ROWS, FEW_RESAMPLES = 20_000, 200  # more rows than this are redrawn less often, but so many times at least


@dataclass(frozen=True)
class Evaluation:
    """Predictions beside the truth. `true`, `predicted`: class ids, shape (n,); `probabilities`: (n, classes)."""

    labels: list[str]
    true: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def from_logits(cls, labels: list[str], true: Sequence[int], logits: torch.Tensor) -> "Evaluation":
        """Build it from a classifier's logits, shape (n, classes)."""
        return cls.from_probabilities(labels, true, F.softmax(logits.double(), dim=-1).numpy())

    @classmethod
    def from_probabilities(cls, labels: Sequence[str], true: Sequence[int], probabilities: np.ndarray) -> "Evaluation":
        """Build it from probabilities, shape (n, classes): the likeliest class is the prediction."""
        return cls(list(labels), np.array(true), probabilities.argmax(axis=1), probabilities)

    @property
    def accuracy(self) -> float:
        """The share of right predictions."""
        return float(accuracy_score(self.true, self.predicted))

    @property
    def macro_f1(self) -> float:
        """The plain mean of the F1 of all classes that occur: every one counts the same, however rare."""
        return macro_f1(self.true, self.predicted)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats: minus the log of the probability of the true class; nan after divergence.

        scikit-learn takes probabilities below 2e-16 for that, so no text counts with more than 36 nats.
        """
        if not np.isfinite(self.probabilities).all():
            return float("nan")
        return float(log_loss(self.true, self.probabilities, labels=range(len(self.labels))))

    def commonest(self) -> tuple[str, float]:
        """The label that was predicted most, and its share of all predictions: near 1, the model is stuck."""
        counts = np.bincount(self.predicted, minlength=len(self.labels))
        return self.labels[counts.argmax()], float(counts.max() / counts.sum())

    def class_table(self) -> pd.DataFrame:
        """Precision, recall, F1 and number of true examples (support), one row a class."""
        scores = precision_recall_fscore_support(
            self.true, self.predicted, labels=range(len(self.labels)), zero_division=0
        )
        return pd.DataFrame(dict(zip(["precision", "recall", "f1", "support"], scores, strict=True)), index=self.labels)

    def confusion_table(self) -> pd.DataFrame:
        """Counts of (true class, predicted class): true classes in rows, predictions in columns."""
        counts = confusion_matrix(self.true, self.predicted, labels=range(len(self.labels)))
        return pd.DataFrame(
            counts, index=pd.Index(self.labels, name="true"), columns=pd.Index(self.labels, name="predicted")
        )

    def worst_errors(self, texts: Sequence[str], count: int = 5) -> pd.DataFrame:
        """The wrong predictions that the model was surest of, surest first."""
        texts, sure = list(texts), self.probabilities.max(axis=1)  # of a Series, [i] would look in the index
        wrong = np.flatnonzero(self.true != self.predicted)
        worst = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
        return pd.DataFrame(
            {
                "text": [texts[i] for i in worst],
                "true": [self.labels[self.true[i]] for i in worst],
                "predicted": [self.labels[self.predicted[i]] for i in worst],
                "confidence": sure[worst],
            }
        )


def macro_f1(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that occur in `true`; a class that is never predicted right counts 0.

    The same number as scikit-learn's f1_score with labels=np.unique(true), from three counts: a bootstrap asks for it
    thousands of times, and f1_score spends nearly all of its time on checking its input.
    """
    classes = max(true.max(), predicted.max()) + 1
    right = np.bincount(true[true == predicted], minlength=classes)
    there, answered = np.bincount(true, minlength=classes), np.bincount(predicted, minlength=classes)
    occurs = there > 0
    return float((2 * right[occurs] / (there[occurs] + answered[occurs])).mean())


# --- predictions ------------------------------------------------------------------------------------------------


def check_labels(model, dataset: Dataset | None) -> None:
    """Raise ValueError when a data set names its classes otherwise, or in another order, than the classifier does.

    The numbers would still fit, so nothing else would notice: accuracy could be 1.0 and every name wrong.
    """
    if dataset is None or not isinstance(dataset.features["label"], ClassLabel):
        return
    names, own = dataset.features["label"].names, list(model.config.id2label.values())
    if names != own:
        raise ValueError(
            f"The data set's classes are {shorten(names)}, the model's {shorten(own)}: load the classifier with "
            "labels=dataset.features['label'].names, the same names in the same order."
        )


def check_rows(dataset: Dataset, purpose: str) -> None:
    """Raise ValueError for a tokenized data set without rows, or one whose labels have no names."""
    if len(dataset) == 0:
        raise ValueError(f"There are no rows to {purpose} on.")
    if not isinstance(dataset.features["label"], ClassLabel):
        raise ValueError(
            "The data set's labels have no names: write dataset.cast_column('label', ClassLabel(names=labels)) first."
        )


def shorten(names: Sequence[str], count: int = 8) -> str:
    """A list of names for a message, cut off after `count` of them."""
    return str(list(names[:count])) + (f" and {len(names) - count} more" if len(names) > count else "")


@torch.no_grad()
def predict_logits(
    model, sequences: Sequence[Sequence[int]], batch_size: int = 64, before_batch: Callable[[], None] = lambda: None
) -> torch.Tensor:
    """Run a classifier over token-id lists: logits, shape (n, classes), in the order given, on the CPU.

    Rows are batched by length for speed; dropout is off meanwhile. In fp32 the result depends neither on `batch_size`
    nor on what else is in the batch; in bf16 (`devices.mixed_precision`) a probability's third digit may.
    `before_batch` is called before each.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    logits = torch.empty(len(sequences), model.config.num_labels)
    try:
        for start in range(0, len(order), batch_size):
            before_batch()
            chosen = order[start : start + batch_size]
            rows = [{"input_ids": sequences[i], "label": 0} for i in chosen]
            batch = collate(rows, model.config.pad_token_id)
            with mixed_precision(model):
                logits[chosen] = model(input_ids=batch["input_ids"].to(device)).logits.float().cpu()
    finally:  # whoever stops this goes on with the model as it was
        model.train(was_training)
    return logits


def evaluate(model, dataset: Dataset, batch_size: int = 64) -> Evaluation:
    """Compare a classifier's predictions with the labels of a tokenized data set.

    Raises ValueError if it is empty, if its labels have no names, or others than the model's.
    """
    check_rows(dataset, "evaluate")
    check_labels(model, dataset)
    logits = predict_logits(model, dataset["input_ids"], batch_size)
    return Evaluation.from_logits(dataset.features["label"].names, dataset["label"], logits)


def predict(model, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int = 128) -> pd.DataFrame:
    """Label new texts: a table with text, label and confidence (the probability of that label, 0 to 1).

    Texts are cut off after `max_tokens` tokens, or where the model's context ends. Raises ValueError for a single
    string, for no texts, and for one that is empty or missing.
    """
    if isinstance(texts, str):
        raise ValueError("predict takes a list of texts: write predict(model, tokenizer, [text]).")
    if len(texts) == 0:
        raise ValueError("There are no texts to label: give one at least.")
    empty = [i for i, text in enumerate(texts) if not (isinstance(text, str) and text.strip())]
    if empty:
        raise ValueError(f"Text number {empty[0]} is empty or no text: there is nothing to label.")
    limit = min(max_tokens, context_length(model))
    ids = tokenizer(list(texts), truncation=True, max_length=limit, split_special_tokens=True).input_ids
    confidence, label_ids = F.softmax(predict_logits(model, ids), dim=-1).max(dim=-1)
    labels = [model.config.id2label[i] for i in label_ids.tolist()]
    return pd.DataFrame({"text": list(texts), "label": labels, "confidence": confidence.numpy()})


# --- how sure can we be? ----------------------------------------------------------------------------------------


def accuracy_interval(true: np.ndarray, predicted: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for accuracy (Wilson 1927): where it may lie on all such texts, given this sample."""
    right = int((np.asarray(true) == np.asarray(predicted)).sum())
    interval = binomtest(right, len(true)).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    true, predicted, metric=macro_f1, level: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """Percentile bootstrap interval for any metric(true, predicted): evaluate it on redrawn test sets (Efron 1979)."""
    return redraw((true, predicted), metric, level, resamples)


def difference_interval(
    true, first, second, metric=macro_f1, level: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """Bootstrap interval for metric(first) - metric(second) on the same test rows. Zero inside: no difference shown."""
    return redraw((true, first, second), lambda t, a, b: metric(t, a) - metric(t, b), level, resamples)


def redraw(columns: Sequence, statistic: Callable[..., float], level: float, resamples: int) -> tuple[float, float]:
    """Draw the rows of `columns` anew, with replacement, `resamples` times: the middle `level` of the statistics.

    All columns are drawn together, so what stands in one row stays in one row. Of many rows fewer resamples are
    drawn: their interval is narrow, and its ends need not be known to a tenth of it.
    """
    rows = len(columns[0])
    resamples = min(resamples, max(FEW_RESAMPLES, resamples * MANY_ROWS // rows))
    result = bootstrap(
        [np.asarray(column) for column in columns], statistic, paired=True, vectorized=False, n_resamples=resamples,
        batch=max(1, DRAWN_ROWS // rows), confidence_level=level, method="percentile", rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


# --- baselines --------------------------------------------------------------------------------------------------


def majority_baseline() -> DummyClassifier:
    """The baseline that always answers with the commonest training label."""
    return DummyClassifier(strategy="most_frequent")


def tfidf_baseline() -> Pipeline:
    """TF-IDF word and word-pair weights into a logistic regression: quick, strong, and nearly blind to word order."""
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000, class_weight="balanced"),
    )


@torch.no_grad()
def encode_sentences(texts: Sequence[str], name: str | None = None, batch_size: int = 64) -> np.ndarray:
    """Turn texts into the vectors of a sentence encoder, shape (n, width): the mean of a text's states, at length 1.

    `name` is a model of the hub or a folder (None: `ENCODER`). Reimers and Gurevych 2019, arXiv:1908.10084. Raises
    OSError where it cannot be found.
    """
    tokenizer = load_or_explain(AutoTokenizer.from_pretrained, name or ENCODER)
    model = load_or_explain(AutoModel.from_pretrained, name or ENCODER, use_safetensors=True).eval()
    vectors = []
    for start in range(0, len(texts), batch_size):
        rows = list(texts[start : start + batch_size])
        batch = tokenizer(rows, padding=True, truncation=True, max_length=128, return_tensors="pt")
        real = batch["attention_mask"].unsqueeze(-1)
        states = model(**batch).last_hidden_state
        vectors.append(F.normalize((states * real).sum(dim=1) / real.sum(dim=1), dim=-1))
    return torch.cat(vectors).numpy()


def encoder_baseline() -> Pipeline:
    """A frozen sentence encoder's vectors into a logistic regression. The encoder comes from the hub, about 90 MB."""
    return make_pipeline(
        FunctionTransformer(encode_sentences), LogisticRegression(C=10, max_iter=3000, class_weight="balanced")
    )


def evaluate_baseline(pipeline, train: Dataset, test: Dataset) -> Evaluation:
    """Fit a scikit-learn text classifier on the texts of one tokenized data set, evaluate it on another."""
    pipeline.fit(list(train["text"]), np.array(train["label"]))
    names, texts = train.features["label"].names, list(test["text"])
    probabilities = np.zeros((len(test), len(names)))
    probabilities[:, pipeline.classes_] = pipeline.predict_proba(texts)
    return Evaluation(names, np.array(test["label"]), np.asarray(pipeline.predict(texts)), probabilities)
