"""Run lessons from a fresh kernel and store their outputs: all of them (`make notebooks`), or the ones named."""

import os
import sys
import time
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # bars and their timings would change from run to run
os.environ["HF_HUB_OFFLINE"] = "1"  # a lesson must not need the network

import nbformat
from nbclient import NotebookClient

from course_utils.checkpoints import replace_safely

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def store_outputs(path: Path) -> None:
    """Execute a notebook and write it back, whole or not at all, without widget state and machine details."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    options = {"timeout": 600, "record_timing": False, "coalesce_streams": True}  # a slow moment splits no text in two
    NotebookClient(notebook, resources=resources, **options).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # A widget lives as long as its kernel; without it, JupyterLab would show an error instead of the sentence.
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    with replace_safely(path) as temporary:
        nbformat.write(notebook, temporary)


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent.parent / "notebooks"
    for path in [Path(name).resolve() for name in sys.argv[1:]] or sorted(folder.glob("*.ipynb")):
        start = time.monotonic()
        print(f"{path.name} ...", end=" ", flush=True)
        store_outputs(path)
        print(f"{time.monotonic() - start:.0f} s")
