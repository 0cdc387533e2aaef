"""Lesson 9 with every solution filled in: each goes to work in the cell after it, on measured curves and a real GPT."""

import re
from types import SimpleNamespace

from test_lab_lessons import play

from course_utils.data import QUEUES
from course_utils.results import label_curves, read_results


def test_what_is_written_in_lesson_9_works_on_curves_and_on_a_gpt(monkeypatch):
    results = read_results("transfer")
    lab = SimpleNamespace(curves=label_curves(results, len(QUEUES)))
    known = {"lab": lab, "results": results, "pair": ["pre-trained", "random weights"]}
    said = play(9, "cell-14 cell-29", monkeypatch, **known)
    lines = [line for line in said["use-labels_needed"].splitlines() if "; yours: " in line]
    assert len(lines) == 4
    for line in lines:
        by_numpy, yours = line.split("; yours: ")
        assert re.findall(r"\d+|inf", by_numpy)[-3:] == re.findall(r"\d+|inf", yours), line
    assert "Your rates are those of make_optimizer: True" in said["use-layer_rates"]
