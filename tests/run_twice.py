"""Run every code cell of a lesson twice in a row, as learners do, and say which cells do not bear it.

    python tests/run_twice.py notebooks/03_prepare_data.ipynb ...

A cell that runs the first time and fails the second has used up or changed what it was given.
"""

import os
import sys
import time
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def run_twice(path: Path) -> list[tuple[str, str]]:
    """Execute a notebook, each code cell twice in place; return (cell id, error) of those that fail the second time.

    Raises CellExecutionError where a cell fails the first time.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}})
    broken = []
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                client.execute_cell(cell, index)
                try:
                    client.execute_cell(cell, index)
                except CellExecutionError as error:
                    broken.append((cell.id, f"{error.ename}: {error.evalue}"))
    return broken


if __name__ == "__main__":
    for name in sys.argv[1:]:
        start = time.monotonic()
        broken = run_twice(Path(name).resolve())
        print(f"{Path(name).name}: {len(broken)} cells do not bear it, {time.monotonic() - start:.0f} s", flush=True)
        for cell, error in broken:
            print(f"    {cell}: {error}", flush=True)
