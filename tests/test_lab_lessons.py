"""Lessons 7 and 8 with every solution filled in: each goes to work in the cell after it.

The long runs before those cells are left out, for nbval runs them; their results are replaced by small ones.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from solved_lessons import play

from course_utils.data import QUEUES
from course_utils.labs.tickets import Tickets
from course_utils.models import load_classifier, load_tokenizer


def test_what_is_written_in_lesson_7_reads_real_runs(monkeypatch):
    calm = SimpleNamespace(loss=[2.0] * 40)
    turned = SimpleNamespace(history=SimpleNamespace(loss=[2.0] * 10 + [9.0] * 5 + [2.0] * 25))
    known = {"history": calm, "run": turned, "rates": np.geomspace(1e-6, 1, 100)[:70]}
    said = play(7, "use-diverged-since use-sweep", monkeypatch, **known)
    assert "turned: since step ≈ 11 with a window of 3, ≈ 12 with one of 10" in said["use-diverged_since"]
    assert "untouched: since step ≈ 0 with a window of 3, ≈ 0 with one of 10" in said["use-diverged_since"]
    assert "just trained with: True" in said["use-sweep"]


def test_what_is_written_in_lesson_8_works_on_the_real_classifier(monkeypatch):
    lab = SimpleNamespace(tickets=Tickets(load_tokenizer(), QUEUES), model=load_classifier(QUEUES))
    lab.tickets.ask(lab.model)
    known = {"lab": lab, "rows": pd.DataFrame({"validation_loss": [2.0, 1.5, 1.6, 1.7, 1.4]})}
    known["stops"] = {"validation_loss": {1: (30, 20), 2: (40, 20), 3: (50, 50), 5: (50, 50)}}
    ids = "use-steps-used use-drop-units use-decay-weights use-smooth-targets"
    said = play(8, ids, monkeypatch, **known)
    assert "the same as in the figure: True" in said["use-steps_used"]
    dropped, off = (float(part.split("%")[0].split()[-1]) for part in said["use-drop_units"].split(";"))
    assert 25 < dropped < 35 and off < 3
    assert "the same as yours: True" in said["use-decay_weights"]
    smoothed, yours = said["use-smooth_targets"].split("smoothed ≈ ")[1].split(", yours: ≈ ")
    assert float(smoothed) == pytest.approx(float(yours))
