"""Every cell can be run twice in place; and the check of that can fail."""

import nbformat
import pytest
from run_twice import run_twice
from test_notebooks import LESSONS

# SmolLM2 takes minutes: lessons 10 and 11 are run by hand.
SHORT = [path for path in LESSONS if path.stem < "10"]


def write(path, *sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(notebook, path)
    return [cell.id for cell in notebook.cells]


def test_a_cell_that_uses_up_what_it_was_given_is_found(tmp_path):
    path = tmp_path / "lesson.ipynb"
    ids = write(path, "jobs = [1]", "jobs.pop()", "total = 3")
    assert run_twice(path) == [(ids[1], "IndexError: pop from empty list")]


@pytest.mark.slow
@pytest.mark.parametrize("path", SHORT, ids=[path.stem for path in SHORT])
def test_every_cell_of_a_lesson_can_be_run_twice(path):
    assert run_twice(path) == []
