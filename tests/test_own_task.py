"""Lesson 11 with every solution filled in; and with the tickets for a file, as its last part offers."""

import contextlib
import io
import re
from types import SimpleNamespace

import matplotlib
import pytest
from solved_lessons import play
from test_notebooks import LESSONS, read, run

from course_utils.cli.arguments import build_parser
from course_utils.data import QUEUES

LESSON = next(path for path in LESSONS if path.stem.startswith("11"))
CELLS = {cell.id: cell.source for cell in read(LESSON).cells}


def test_what_is_written_works_on_the_garden_notes(monkeypatch):
    ids = "code-clean code-shares code-settings code-test use-choose-model use-route use-share-shift"
    said = play(11, ids, monkeypatch)
    low = float(re.search(r"minus TF-IDF: ≈ (-?[\d.]+)", said["use-choose_model"])[1])
    assert f"you use: {'model' if low > 0 else 'TF-IDF'}" in said["use-choose_model"]
    shares = re.findall(r"≈ (\d+)% of the notes are answered; yours: ≈ (\d+)%", said["use-route"])
    assert len(shares) == 4 and shares[0] == ("100", "100") and all(own == yours for own, yours in shares)
    line, week = (float(number) for number in re.findall(r"≈ ([\d.]+)", said["use-share_shift"]))
    assert 0 < line < 0.4 and 0 <= week <= 1


@pytest.fixture(scope="module")
def tickets():
    """What the lesson's first cells leave behind when its lines are those of the tickets."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(LESSON.parent)
        matplotlib.use("agg")
        scope = {"__name__": "lesson"}
        lines, rest = CELLS["code-file"].split("\n\n")
        offered = re.search(r"```python\n(FILE.*?)```", CELLS["md-not"], re.DOTALL)[1]
        for source in (CELLS["code-setup"], lines, offered, rest, CELLS["code-clean"], CELLS["code-shares"]):
            run(source, scope)
        run(CELLS["code-settings"].split("settings =")[0], scope)
    return scope


def test_the_tickets_go_through_the_first_cells(tickets):
    assert tickets["labels"] == list(QUEUES)
    rows = {name: len(split) for name, split in tickets["splits"].items()}
    assert rows == {"train": 1630, "validation": 390, "test": 568}
    assert not tickets["leaks"] and tickets["full"].shape == (1630,)


def test_without_their_labels_the_tickets_cannot_be_split(tickets):
    table, _ = tickets["data"].clean(tickets["raw"])
    with pytest.raises(ValueError, match="too few for three splits"):
        tickets["data"].split_examples(table)


def test_the_command_is_given_the_lines_too(tickets, monkeypatch):
    asked = []

    def note(line, **_):
        asked.append(line)
        return SimpleNamespace(returncode=0, stdout="Timing", stderr="")

    monkeypatch.setattr("subprocess.run", note)
    for lines in ({}, {"LABELS": None, "ENCODING": "cp1252", "MAX_TOKENS": 64}):
        run(CELLS["code-command"], {**tickets, **lines})
    with_labels, without = (build_parser().parse_args(line[line.index("course_utils") + 1 :]) for line in asked)
    assert (with_labels.labels, with_labels.encoding, with_labels.max_tokens) == (list(QUEUES), "utf-8", 128)
    assert (without.labels, without.encoding, without.max_tokens) == (None, "cp1252", 64)
    assert (without.text_column, without.label_column, without.overwrite) == ("text", "queue", True)


def test_texts_that_reach_the_limit_are_counted(tickets):
    scope = dict(tickets, MAX_TOKENS=8)
    assert "reach the limit of 8 tokens" in run(CELLS["code-settings"].split("settings =")[0], scope)
    assert 0 < scope["full"].sum() <= 1630
    assert scope["full"].sum() > tickets["full"].sum()
