"""Lessons 1 to 3 with every solution filled in: what a learner wrote goes to work on the real model and data."""

import contextlib
import io
from pathlib import Path

import matplotlib
import pytest
from test_notebooks import LESSONS, exercises, read, tags

# What a learner who has solved the exercise reads in the cell after it.
SHOWN = {
    "use-keep_top_p": ["tokens make up 90 %", "the same as the library's: True"],
    "use-count_gpt2": [],
    "use-bits_per_byte": ["paragraph: ≈ ", "ticket: ≈ ", " bits per byte"],
    "use-last_real_positions": [
        "padding on the right: positions read [2, 11, 18], moved [False, False, False]",
        "padding on the left: positions read [18, 18, 18], moved [False, False, False]",
    ],
    "use-train_biases": ["19,200 of 6,871,040 parameters may learn", "38 tensors have moved: ['bias', 'weight']"],
    "use-lora_output": ["Equal to peft's layer, shape (3, 19, 768)"],
    "use-conflicting_texts": ["you find 8 texts; clean drops 16 rows"],
    "use-count_twins": ["counts 17 test texts with a twin in training; you: 17", "in groups: find_leaks counts 0"],
}


@pytest.mark.parametrize("path", LESSONS[:3], ids=[path.stem for path in LESSONS[:3]])
def test_each_solution_works_on_the_real_model_or_data_in_the_next_cell(path, monkeypatch):
    monkeypatch.chdir(Path(path).parent)
    matplotlib.use("agg")
    notebook = read(path)
    solutions = {f"exercise-{name}": solution for name, _, _, solution in exercises(notebook)}
    scope, said = {"__name__": "lesson"}, {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            printed = io.StringIO()
            source = next((solutions[tag] for tag in tags(cell) if tag in solutions), cell.source)
            with contextlib.redirect_stdout(printed):
                exec(compile(source, cell.id, "exec"), scope)
            said.update({tag: printed.getvalue() for tag in tags(cell) if tag.startswith("use-")})
    assert sorted(said) == sorted(f"use-{tag.removeprefix('exercise-')}" for tag in solutions)
    for tag, text in said.items():
        assert "then run this cell again" not in text
        assert all(part in text for part in SHOWN[tag]), (tag, text)
    if "use-count_gpt2" in said:
        rows = scope["rows"]
        assert [name for name, *_ in rows] == ["gpt2-mini", "gpt2", "gpt2-large", "gpt2-xl"]
        assert all(counted == yours for _, counted, yours in rows)
