"""Lessons 7 and 8 with every solution filled in: each goes to work in the cell after it.

The long runs before those cells are left out, for nbval runs them; their results are replaced by small ones.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from solved_lessons import play

from course_utils.data import QUEUES
from course_utils.diagnosis import running_mean
from course_utils.labs.tickets import Tickets
from course_utils.models import load_classifier, load_tokenizer


def test_what_is_written_in_lesson_7_reads_real_runs(monkeypatch):
    calm = SimpleNamespace(loss=[2.0] * 40)
    turned = SimpleNamespace(history=SimpleNamespace(loss=[2.0] * 15 + [9.0] * 5 + [2.0] * 20))
    # As the lab's two presets go: one jumps a little in its first steps, one explodes in them.
    curves = {"A": [2.0, 3.0] * 15, "D": [2.0, 5.0, 20.0, 30.0] + [20.0] * 8 + [3.0] * 18}
    known = {"history": calm, "run": turned, "rates": np.geomspace(1e-6, 1, 100)[:70], "curves": curves}
    known["means"] = {name: running_mean(losses) for name, losses in curves.items()}
    said = play(7, "use-diverged-since use-sweep", monkeypatch, **known)
    assert "turned: since step ≈ 16 with a window of 3, ≈ 17 with one of 10" in said["use-diverged_since"]
    assert "untouched: since step ≈ 0 with a window of 3, ≈ 0 with one of 10" in said["use-diverged_since"]
    assert "A: since step ≈ 0 with a window of 3, ≈ 0 with one of 10" in said["use-diverged_since"]
    assert "D: since step ≈ 4 with a window of 3, ≈ 0 with one of 10" in said["use-diverged_since"]
    assert "just trained with: True" in said["use-sweep"]


def test_what_is_written_in_lesson_8_works_on_the_real_classifier(monkeypatch):
    lab = SimpleNamespace(tickets=Tickets(load_tokenizer(), QUEUES), model=load_classifier(QUEUES))
    lab.tickets.ask(lab.model)
    known = {"lab": lab, "rows": pd.DataFrame({"validation_loss": [2.0, 1.5, 1.6, 1.7, 1.4]})}
    curve = [{"validation_loss": loss} for loss in (2.0, 2.1, 1.75, 1.8)]
    known["stopped"] = {"runs": [{"contestant": name, "curve": curve} for name in ("to the end", "patience 1") * 2]}
    ids = "use-cost-of-patience use-drop-units use-decay-weights use-smooth-targets"
    said = play(8, ids, monkeypatch, **known)
    assert "patience 1, 2, 3 and 5: ≈ 0.10, ≈ 0.10, ≈ 0.00, ≈ 0.00\n" in said["use-cost_of_patience"]
    assert "the study, patience 1: 2 of 2 bets lost, at most 0.25 nats" in said["use-cost_of_patience"]
    assert "the study, patience 2: 0 of 2 bets lost, at most 0.00 nats" in said["use-cost_of_patience"]
    dropped, off = (float(part.split("%")[0].split()[-1]) for part in said["use-drop_units"].split(";"))
    assert 25 < dropped < 35 and off < 3
    assert "the same as yours: True" in said["use-decay_weights"]
    smoothed, yours = said["use-smooth_targets"].split("smoothed ≈ ")[1].split(", yours: ≈ ")
    assert float(smoothed) == pytest.approx(float(yours))
