"""Lessons 4 to 6 with every solution filled in, and the sentences that rest on measured results or on arithmetic.

Each solution goes to work in the cell after it. The long runs before those cells are left out, for nbval runs them;
where such a cell reads their results, it is given small ones.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from solved_lessons import play
from test_notebooks import LESSONS, read
from test_notebooks import run as execute

from course_utils.data import QUEUES
from course_utils.evaluation import Evaluation
from course_utils.models import load_classifier
from course_utils.pipeline import make_optimizer
from course_utils.results import read_results, summarize


def test_what_is_written_in_lesson_4_works_on_the_real_classifier(monkeypatch):
    ids = "code-04 code-06 code-17 use-cosine code-27 code-29 use-accumulate code-37 use-training-megabytes"
    said = play(4, ids, monkeypatch)
    assert "transformers' cosine schedule at all 90 steps: True" in said["use-cosine_factor"]
    assert "yours: off by ≈ 0%" in said["use-accumulate"]
    counted, none, half, everything = said["use-training_megabytes"].splitlines()
    assert none.split()[-2:] == counted.split()[-2:]
    assert float(none.split()[-2]) > float(half.split()[-2]) > float(everything.split()[-2])


def test_what_is_written_in_lesson_5_works_on_the_real_classifier(monkeypatch):
    scores = [{"macro_f1": score} for score in (0.3, 0.5, 0.45, 0.48)]
    history = SimpleNamespace(validations=scores, best_epoch=2)
    said = play(5, "code-04 code-06 use-cross-entropy use-train-on use-stop-early", monkeypatch, history=history)
    small, large = (line.split("PyTorch ≈ ")[1] for line in said["use-cross_entropy"].splitlines())
    assert small.split(", yours: ≈ ")[0] == small.split(", yours: ≈ ")[1]
    assert large.split(", yours: ≈ ")[0] == large.split(", yours: ≈ ")[1]
    losses = [float(loss.strip("≈, \n")) for loss in said["use-train_on"].split(":")[1].split(",")]
    assert len(losses) == 5 and losses[-1] < losses[0]
    assert "the same as fine_tune: True" in said["use-stop_early"]


def test_a_loop_of_lesson_5_may_call_what_every_model_has():
    """model.train() and model.zero_grad() are right in a loop, and the check says so; the next cell must bear them."""

    def train_on(model, batches, optimizer):
        model.train()
        losses = []
        for x, y in batches:
            model.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    batch = {"input_ids": torch.arange(40).view(8, 5), "labels": torch.arange(8)}
    scope = {"train_on": train_on, "batch": batch, "device": "cpu", "QUEUES": QUEUES}
    scope |= {"load_classifier": load_classifier, "make_optimizer": make_optimizer}
    source = next(cell.source for cell in read(LESSONS[4]).cells if cell.id == "use-train-on")
    assert "losses of the classifier in your loop: " in execute(source, scope)
    assert "logits" in scope["model"](batch["input_ids"])  # the hook is gone


def test_what_is_written_in_lesson_6_works_on_an_evaluation(monkeypatch):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(8, 0.3), size=400)
    true = np.array([rng.choice(8, p=row) for row in probabilities])
    report = Evaluation.from_probabilities(QUEUES, true, probabilities)
    known = {"report": report, "confidence": probabilities.max(axis=1), "p": 0.5}
    known |= {"true": true, "predicted": report.predicted, "matrix": report.confusion_table().to_numpy()}
    said = play(6, "use-precision-recall cell-30 use-tickets-needed", monkeypatch, **known)
    assert "those of the table: True" in said["use-precision_recall"]
    for line in said["use-accuracy_on_surest"].splitlines():
        assert line.split("accuracy ≈ ")[1].split("; ")[0] == line.split("yours: ≈ ")[1]
    assert "± 0.04: ≈ 601 test tickets" in said["use-tickets_needed"]


def test_the_temperature_of_lesson_6_undoes_too_large_logits():
    rng = np.random.default_rng(0)
    honest = rng.dirichlet(np.full(8, 0.3), size=2000)
    true = np.array([rng.choice(8, p=row) for row in honest])
    boastful = honest**2 / (honest**2).sum(axis=1, keepdims=True)  # the logits are doubled
    report = Evaluation.from_probabilities(QUEUES, true, boastful)
    (cell,) = (cell for cell in read(LESSONS[5]).cells if cell.id == "code-temperature")
    scope = {"np": np, "report": report, "true": true, "predicted": report.predicted}
    before, after = execute(cell.source, scope).splitlines()
    assert before.startswith("logits divided by ≈ 1.00") and scope["temperature"] == pytest.approx(2, abs=0.15)
    claimed, held = (float(number.strip(" ,")) for number in after.replace("accuracy", "").split("≈")[2:])
    assert claimed == pytest.approx(held, abs=0.03)


# --- what the lessons say ---------------------------------------------------------------------------------------


def test_pre_trained_runs_are_further_after_80_steps_than_random_ones_after_160():
    runs = [run for run in read_results("transfer")["runs"] if run["labels"] == 64]

    def scores(name, step):
        return [
            row["macro_f1"] for run in runs if run["contestant"] == name for row in run["curve"] if row["step"] == step
        ]

    assert len(scores("pre-trained", 80)) == len(scores("random weights", 160)) == 5
    assert min(scores("pre-trained", 80)) > max(scores("random weights", 160))


def test_a_rate_of_0_001_is_the_best_of_the_seven_that_were_measured():
    means = {}
    for run in read_results("learning_rates")["runs"]:
        means.setdefault(run["contestant"], []).append(run["macro_f1"])
    assert len(means) == 7
    assert max(means, key=lambda name: np.mean(means[name])) == "rate 0.001"


def test_with_all_labels_the_small_gpt_passes_tf_idf_and_is_near_the_larger_one():
    """The last figure of lesson 6, on the right; what the seeds show of each pair is in test_results."""
    small, large = (summarize(read_results(name))["mean"] for name in ("transfer", "ladder"))
    ours, counted = small["probe, then all blocks", "all"], small["TF-IDF", "all"]
    assert (round(ours, 2), round(counted, 2), round(large["frozen states", "all"], 2)) == (0.79, 0.75, 0.80)


def test_an_odd_gradient_makes_adamw_leap_and_then_crawl():
    """Both harms that lesson 4 names: longer steps than the rate, then short ones for hundreds of steps."""

    def step_lengths(gradients):
        weight = torch.nn.Parameter(torch.zeros(()))
        optimizer, lengths = torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.0), []
        for gradient in gradients:
            before, weight.grad = weight.item(), gradient.clone()
            optimizer.step()
            lengths.append(abs(weight.item() - before) / 1e-3)
        return lengths

    for seed in range(3):
        odd = torch.randn(600, generator=torch.Generator().manual_seed(seed))
        odd[299] = 100
        wild, tame = step_lengths(odd), step_lengths(odd.clamp(-3, 3))
        assert sum(length > 1 for length in wild[299:]) >= 3 and max(tame[299:]) < 1
        assert np.mean(wild[-100:]) < 0.5 * np.mean(tame[-100:])


def test_the_answers_to_the_questions_of_lesson_6_are_right():
    frauds, alarms, payments, found = 100, 390, 10_000, 90
    right = found + payments - frauds - (alarms - found)
    text = "\n".join(cell.source for cell in read(LESSONS[5]).cells)
    for said in (
        f"finds {found} of {frauds} frauds among {payments:,} payments, and raises {alarms - found} false alarms",
        f"{right:,} of {payments:,} answers are right, accuracy {right / payments:.2f}",
        f"{found} of {alarms} alarms are frauds, precision {found / alarms:.2f}",
        f"{found} of {frauds} frauds are found, recall {found / frauds:.2f}",
        f"never raises an alarm has an accuracy of {1 - frauds / payments:.2f}",
    ):
        assert said in text, said


@pytest.mark.parametrize("classes, loss", [(8, 2.08), (4, 1.39)])
def test_knowing_nothing_costs_the_log_of_the_number_of_classes(classes, loss):
    assert round(math.log(classes), 2) == loss
    logits = torch.zeros(3, classes)
    assert torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).item() == pytest.approx(loss, abs=0.01)
