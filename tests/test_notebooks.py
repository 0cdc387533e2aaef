"""The lessons as a whole: exercises, tags, stored outputs; and proof that the notebook tests can fail.

That every cell still gives its stored output is nbval's business: pytest collects the notebooks themselves.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from course_utils import checks

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in LESSONS]
SOLUTION = re.compile(r"<details>.*?<summary>Solution</summary>.*?```python\n(.*?)```", re.DOTALL)
IGNORED_OUTPUTS = 6  # cells whose output nbval does not compare, over all lessons; each is a hole, so let it not grow


def read(path):
    return nbformat.read(path, as_version=4)


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def exercises(notebook):
    """Yield (name, stub, check, solution) of every exercise."""
    cells = notebook.cells
    for i, cell in enumerate(cells):
        for tag in tags(cell):
            if tag.startswith("exercise-"):
                name = tag.removeprefix("exercise-")
                check = next(c for c in cells[i:] if f"check-{name}" in tags(c))
                solution = next(m for c in cells[i:] if (m := SOLUTION.search(c.source)) and c.cell_type == "markdown")
                yield name, cell.source, check.source, solution.group(1)


def run(source, namespace) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "cell", "exec"), namespace)
    return printed.getvalue()


@pytest.fixture
def in_notebooks(monkeypatch):
    monkeypatch.chdir(ROOT / "notebooks")


def test_all_six_steps_have_a_lesson():
    assert [name[:2] for name in NAMES][:6] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", LESSONS, ids=NAMES)
def test_exercises_know_a_blank_a_right_answer_and_one_without_return(path, in_notebooks):
    """Wrong answers are the business of test_checks."""
    notebook = read(path)
    found = list(exercises(notebook))
    assert 2 <= len(found) <= 4
    setup = "\n".join(c.source for c in notebook.cells if "setup" in tags(c))
    namespace = {"__name__": "lesson"}
    run(setup, namespace)
    for name, stub, check, solution in found:
        scope = dict(namespace)
        run(stub, scope)
        assert run(check, scope).startswith("Not yet"), name
        run(solution, scope)
        assert run(check, scope).startswith("Right"), (name, run(check, scope))
        if "    return " in solution:
            run(re.sub(r"\breturn\b", "_ =", solution), scope)
            assert "returns nothing" in run(check, scope) or "returned nothing" in run(check, scope), name


def test_every_check_is_used_by_a_lesson():
    used = {f"check_{name}" for path in LESSONS for name, *_ in exercises(read(path))}
    assert used == set(checks.__all__)


@pytest.mark.parametrize("path", LESSONS, ids=NAMES)
def test_stored_outputs_are_complete_and_clean(path):
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run it from a fresh kernel"
    assert "widgets" not in notebook.metadata
    for cell in code:
        assert len(cell.source.splitlines()) <= 20, cell.source
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source
            data = output.get("data", {})
            assert "image/png" in data or "<Figure" not in str(data), cell.source  # a picture, not its name
            assert not any("widget" in kind for kind in output.get("data", {})), "store outputs with make notebooks"
            assert not re.search(r"/(home|root|tmp|Users|work)/", str(output.get("text", ""))), cell.source


def test_few_cells_are_hidden_from_nbval():
    hidden = {
        path.stem: sum(any("ignore" in tag or "skip" in tag for tag in tags(cell)) for cell in read(path).cells)
        for path in LESSONS
    }
    marked = sum("NBVAL_" in cell.source for path in LESSONS for cell in read(path).cells)
    assert sum(hidden.values()) <= IGNORED_OUTPUTS, hidden
    assert max(hidden.values()) <= 2, hidden
    assert marked == 0


@pytest.mark.parametrize("path", LESSONS, ids=NAMES)
def test_lessons_follow_the_common_plan(path):
    cells = read(path).cells
    first = cells[0].source
    assert re.match(rf"# {int(path.stem[:2])}\. ", first)
    assert "You will be able to" in first
    assert "## What you learned" in cells[-1].source or "## What you learned" in cells[-2].source
    assert all("![](" not in cell.source for cell in cells)


def test_links_between_lessons_lead_somewhere():
    for path in LESSONS:
        for cell in read(path).cells:
            if cell.cell_type == "markdown":
                for target in re.findall(r"\]\(([^)#:]+\.(?:ipynb|md|csv|py))\)", cell.source):
                    assert (path.parent / target).exists(), (path.stem, target)


# --- proof that the notebook tests bite -------------------------------------------------------------------------


def nbval(folder) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--nbval",
        "--nbval-current-env",
        "-c",
        "/dev/null",
    ]
    return subprocess.run([*command, str(folder)], capture_output=True, text=True, cwd=folder, timeout=300)


def small_copy(path, folder, change) -> None:
    """Copy a lesson's setup and the code cells just after it, with `change` made to the source."""
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    last_setup = max(i for i, cell in enumerate(code) if "setup" in tags(cell))
    notebook.cells = code[: last_setup + 4]
    text = nbformat.writes(notebook)
    nbformat.write(nbformat.reads(change(text), as_version=4), folder / path.name)


def test_nbval_passes_an_honest_copy_and_fails_one_with_a_planted_error(tmp_path):
    path = LESSONS[2]
    honest, broken = tmp_path / "honest", tmp_path / "broken"
    honest.mkdir()
    broken.mkdir()
    small_copy(path, honest, lambda text: text)
    # The lesson reads 2,664 raw rows; a loader that loses one must be noticed.
    small_copy(path, broken, lambda text: text.replace('label=\\"queue\\")', 'label=\\"queue\\").iloc[1:]', 1))
    assert (honest / path.name).read_text() != (broken / path.name).read_text()
    good, bad = nbval(honest), nbval(broken)
    assert good.returncode == 0, good.stdout[-2000:]
    assert bad.returncode == 1, bad.stdout[-2000:]
    assert "failed" in bad.stdout


def test_notebooks_alone_and_from_their_own_folder_run_as_in_make_test(tmp_path):
    """No network, and nbval finds the file that says what is not compared."""
    for name in ("conftest.py", "pyproject.toml", "tests/nbval_sanitize.cfg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "notebooks").mkdir()
    source = "import os\nassert os.environ['HF_HUB_OFFLINE'] == os.environ['OMP_NUM_THREADS'] == '1'\nprint('\u2248 3')"
    stored = nbformat.v4.new_output("stream", name="stdout", text="\u2248 4\n")
    cell = nbformat.v4.new_code_cell(source, outputs=[stored], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "notebooks" / "probe.ipynb")
    environment = {name: os.environ[name] for name in os.environ if name not in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS")}
    command = [sys.executable, "-m", "pytest", "-n", "0", "probe.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "notebooks", env=environment)
    assert done.returncode == 0, done.stdout[-2000:]
