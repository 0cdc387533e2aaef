"""Proof that the notebooks bite: ten faults, each planted in a copy of the package, each turn a lesson red.

A copy of a lesson keeps the cells that are needed, and runs against a copy of `course_utils` under strict nbval.
Without a fault it must pass; with one, the cell named in the table must be the first to fail. That takes minutes, so
only `make test-slow` runs it; that the faults can still be planted is a matter of moments.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from test_notebooks import LESSONS, ROOT, read

CUTS = {  # of each lesson the setup, and the cells that notice a fault with what they need
    2: "code-02 code-reading code-06 code-08 code-10 code-42",
    3: "code-02 code-04 code-labels code-24 code-25 code-27 code-28 code-32",
    4: "code-02 code-04 code-06 code-library code-23",
    9: "cell-01 cell-03 9cba575b cell-22",
}


class Fault(NamedTuple):
    """A mistake: `old` becomes `new` in a file of the package, and `cell` of the lesson must notice."""

    lesson: int
    cell: str
    file: str
    old: str
    new: str


FAULTS = {
    "wrong label order": Fault(
        2, "code-10", "models.py", "id2label = dict(enumerate(labels))", "id2label = dict(enumerate(reversed(labels)))"
    ),
    "shuffled texts": Fault(
        3, "code-04", "data.py", 'return examples.rename_axis("row")',
        'return examples.assign(text=[*examples["text"][1:], examples["text"][0]]).rename_axis("row")',
    ),
    "rate zero": Fault(
        4, "code-23", "pipeline.py", "num_warmup_steps=round(warmup_share * steps)", "num_warmup_steps=10**9"
    ),
    "missing pad": Fault(4, "code-library", "pipeline.py", "padding_value=pad_id", "padding_value=0"),
    "off-by-one pooling": Fault(
        9, "9cba575b", "heads.py", "(states * real).sum(dim=1)", "(states * real)[:, :-1].sum(dim=1)"
    ),
    "leaked test rows": Fault(
        3, "code-32", "splits.py", "return {name: examples[home[groups] == split]",
        "return {name: examples[(home[groups] == split) | ((home[groups] == 2) & (split == 0))]",
    ),
    "swapped metrics": Fault(
        9, "cell-03", "results.py", 'sort=False)[metric]\n', 'sort=False)["accuracy"]\n',
    ),
    "frozen everything": Fault(
        2, "code-42", "architecture.py", "model.requires_grad_(True)", "model.requires_grad_(False)"
    ),
    "a stale seed": Fault(4, "code-04", "pipeline.py", "self.epoch = epoch", "self.epoch = 0"),
    "a broken import": Fault(
        3, "code-02", "duplicates.py", "from course_utils.grams import", "from course_utils.gramms import"
    ),
}  # fmt: skip


def make_copy(folder: Path, lesson: int, fault: Fault | None = None) -> list[str]:
    """Put package, data and a cut lesson into a folder, with a fault; return the ids of the code cells, in order."""
    shutil.copytree(ROOT / "course_utils", folder / "course_utils", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").symlink_to(ROOT / "data")
    (folder / "notebooks").mkdir()
    path = next(path for path in LESSONS if path.stem.startswith(f"{lesson:02}"))
    notebook = read(path)
    notebook.cells = [cell for cell in notebook.cells if cell.id in CUTS[lesson].split()]
    nbformat.write(notebook, folder / "notebooks" / path.name)
    if fault is not None:
        file = folder / "course_utils" / fault.file
        source = file.read_text()
        assert source.count(fault.old) == 1, f"{fault.file} has changed: plant this fault in another way"
        file.write_text(source.replace(fault.old, fault.new))
    return [cell.id for cell in notebook.cells]


def first_failure(folder: Path) -> int | None:
    """Run the lesson of a copy under strict nbval up to the first cell that fails; its number, counted from 0."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "-q", "-rf", "-x"]
    command += ["--nbval", "--nbval-current-env", f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "TQDM_DISABLE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)  # whoever asks the whole suite for a report does not mean this run
    run = subprocess.run(
        [*command, "notebooks"], capture_output=True, text=True, cwd=folder, env=environment, timeout=900
    )
    assert run.returncode in (0, 1), run.stdout[-2000:] + run.stderr[-2000:]  # anything else is no verdict
    failure = re.search(r"^FAILED .*::Cell (\d+)", run.stdout, re.MULTILINE)
    assert (failure is not None) == (run.returncode == 1), run.stdout[-2000:]
    return int(failure[1]) if failure else None


@pytest.mark.parametrize("lesson", CUTS)
def test_a_copy_has_the_cells_that_are_asked_for_in_their_order(lesson, tmp_path):
    assert make_copy(tmp_path, lesson) == CUTS[lesson].split()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_can_be_planted_before_the_cell_that_must_notice(name, tmp_path):
    assert FAULTS[name].cell in make_copy(tmp_path, FAULTS[name].lesson, FAULTS[name])


@pytest.mark.slow
@pytest.mark.parametrize("lesson", CUTS)
def test_a_lesson_without_a_fault_is_green(lesson, tmp_path):
    make_copy(tmp_path, lesson)
    assert first_failure(tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_turns_its_lesson_red(name, tmp_path):
    fault = FAULTS[name]
    cells = make_copy(tmp_path, fault.lesson, fault)
    number = first_failure(tmp_path)
    assert number is not None, "nothing noticed it"
    assert cells[number] == fault.cell


def test_there_are_ten_faults_and_each_is_another():
    assert len(FAULTS) == len({fault[2:] for fault in FAULTS.values()}) == 10
