"""Lessons with every solution filled in: what the tests of lessons 4 to 8 run, instead of a learner."""

import contextlib
import io

import matplotlib
from test_notebooks import LESSONS, exercises, read, tags


def play(number: int, ids: str, monkeypatch, **known) -> dict[str, str]:
    """Run the setup and the cells with these ids, with all exercises solved; return what the use cells print."""
    path = next(path for path in LESSONS if path.stem.startswith(f"{number:02}"))
    monkeypatch.chdir(path.parent)
    matplotlib.use("agg")
    notebook = read(path)
    solutions = {f"exercise-{name}": solution for name, _, _, solution in exercises(notebook)}
    assert set(ids.split()) <= {cell.id for cell in notebook.cells}
    scope, said = {"__name__": "lesson"}, {}
    for cell in notebook.cells:
        source = next((solutions[tag] for tag in tags(cell) if tag in solutions), cell.source)
        if cell.id in ids.split() or "setup" in tags(cell) or source is not cell.source:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(source, cell.id, "exec"), scope)
            said.update({tag: printed.getvalue() for tag in tags(cell) if tag.startswith("use-")})
            if "setup" in tags(cell):
                scope.update(known)
    assert sorted(said) == sorted(tag.replace("exercise-", "use-") for tag in solutions)
    assert all("then run this cell again" not in text for text in said.values())
    return said
