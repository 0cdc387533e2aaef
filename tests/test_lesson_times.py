"""No lesson takes over twice the time that it took when its time was kept, on a machine of any speed."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from test_book import README, rows_of_lessons
from test_notebooks import LESSONS

from course_utils.results import RESULTS

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import times as t

TIMES = RESULTS / "times.json"


def write(path, *sources):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]), path)
    return path


def test_a_lesson_is_timed_from_the_start_of_its_kernel(tmp_path):
    empty = write(tmp_path / "quick.ipynb", "1 + 1")
    quick = min(t.time_lesson(empty) for _ in range(2))  # on a busy machine a kernel may take long to start
    slow = t.time_lesson(write(tmp_path / "slow.ipynb", "import time; time.sleep(3)"))
    assert slow > 3
    assert 0 < quick < slow


def test_a_budget_grows_with_the_time_that_the_machine_needs_for_the_same_work():
    times = {"lesson": {"seconds": 30, "yardstick": 0.1}}
    assert t.budget("lesson", times, 0.1) == pytest.approx(60)
    assert t.budget("lesson", times, 0.3) == pytest.approx(180)


def test_times_are_kept_one_by_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(t, "OUT", tmp_path / "times.json")
    lessons = [write(tmp_path / f"{name}.ipynb", "1 + 1") for name in ("b", "a")]
    for lesson in lessons:
        monkeypatch.setattr(sys, "argv", ["times", str(lesson)])
        t.main()
    kept = t.json.loads(t.OUT.read_text())
    assert list(kept) == ["a", "b"]
    assert all(row["seconds"] > 0 and row["yardstick"] > 0 for row in kept.values())
    assert "a.ipynb: " in capsys.readouterr().out


def in_seconds(said: str) -> int:
    """Read "20 s" or "5 min"."""
    number, unit = said.split()
    return int(number) * {"s": 1, "min": 60}[unit]


@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
def test_what_is_said_of_a_lessons_time_was_measured(path):
    """Within a third of it, or ten seconds: learners want to know whether to wait or to make tea."""
    measured, table = t.json.loads(TIMES.read_text())[path.stem]["seconds"], rows_of_lessons(README)[path.stem][1]
    first = nbformat.read(path, as_version=4).cells[0].source
    said = re.search(r"about (\d+ (?:s|min))(?:utes)? to run on two cores", first).group(1)
    assert said == table
    assert in_seconds(said) == pytest.approx(measured, rel=1 / 3, abs=10)


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
def test_a_lesson_keeps_its_budget(path):
    allowed = t.budget(path.stem, t.json.loads(TIMES.read_text()), t.time_yardstick())
    assert t.time_lesson(path) < allowed
