"""How long the lessons run, beside a fixed piece of work; writes data/results/times.json.

    make times                                                      all lessons, about 15 minutes on two cores
    .venv/bin/python tests/benchmarks/times.py notebooks/05_*.ipynb only these; the others keep their times

Another machine is faster or slower in everything. So a time is kept with that of a *yardstick*, work of the kind that
lessons do, and a lesson's budget on any machine is its time here, scaled as the yardstick is. Run it on a machine that
does nothing else.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import nbformat
import torch
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent.parent
OUT = ROOT / "data" / "results" / "times.json"
ALLOWANCE = 2  # how many times its budget a lesson may take


def time_yardstick(rounds: int = 5) -> float:
    """Seconds for matrix products and plain Python, mixed as lessons do; the median of some rounds."""
    matrix, seconds = torch.ones(512, 512), []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(100):
            matrix @ matrix
        sum(number % 7 for number in range(1_000_000))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def time_lesson(path: Path) -> float:
    """Seconds from the start of a fresh kernel to the end of the last cell."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(path.parent)}}).execute()
    return time.perf_counter() - start


def budget(name: str, times: dict, yardstick: float) -> float:
    """Seconds that a lesson may take on a machine that needs `yardstick` seconds for the fixed piece of work."""
    lesson = times[name]
    return ALLOWANCE * lesson["seconds"] * yardstick / lesson["yardstick"]


def main() -> None:
    """Time the lessons that are named, or all, and keep each time at once."""
    times = json.loads(OUT.read_text()) if OUT.exists() else {}
    for path in [Path(name) for name in sys.argv[1:]] or sorted((ROOT / "notebooks").glob("*.ipynb")):
        yardstick, seconds = time_yardstick(), time_lesson(path.resolve())
        times[path.stem] = {"seconds": round(seconds, 1), "yardstick": round(yardstick, 3)}
        OUT.write_text(json.dumps(dict(sorted(times.items())), indent=1) + "\n")
        print(f"{path.name}: {seconds:.0f} s; yardstick {yardstick:.3f} s", flush=True)


if __name__ == "__main__":
    main()
