"""How fast the course trains, beside what people use; writes data/results/benchmark.json.

    make benchmark                                      all of it, about 50 minutes on two cores
    .venv/bin/python tests/benchmarks/run.py mini       one piece; the others keep what was measured
    .venv/bin/python tests/benchmarks/run.py --quick --out trial.json

Ways to train alternate, each in a process of its own; what is reported are medians over the rounds and their ratios,
because seconds are another machine's affair. Run it on a machine that does nothing else.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import numpy
import torch
from means import LARGER, larger, measure_means
from ways import WAYS, build_ours, load_data

from course_utils.devices import bf16_pays
from course_utils.history import FineTuneSettings
from course_utils.models import load_tokenizer
from course_utils.results import half_width
from course_utils.training import fine_tune

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "data" / "results" / "benchmark.json"
SIZE = 2048  # of the matrices that measure what the machine can do


# --- what the machine can do --------------------------------------------------------------------------------------


def measure_rate(dtype: torch.dtype, rounds: int = 5) -> float:
    """Matrix products of this machine in GFLOP/s, the best of some rounds."""
    matrix, best = torch.ones(SIZE, SIZE, dtype=dtype), float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * SIZE**3 / best / 1e9


def describe_machine() -> dict:
    """Processor, cores, threads, versions, and the rates of matrix products, of bf16 where the processor has it."""
    precisions = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if bf16_pays() else {})
    cpuinfo = Path("/proc/cpuinfo")  # only Linux has it
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "transformers", "accelerate")},
        "gflops": {name: round(measure_rate(dtype)) for name, dtype in precisions.items()},
    }  # fmt: skip


# --- ways to train ------------------------------------------------------------------------------------------------


def run_script(code: list[str]) -> dict:
    """Run a Python script in a process of its own; what it prints last is JSON."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONPATH": str(HERE.parent.parent)}
    done = subprocess.run([sys.executable, *code], capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(code)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare_ways(model: str, ways: list[str], rows: int, batch: int, rounds: int) -> dict:
    """Train with each way in turn, `rounds` times, each with its seed; medians, and how much faster the course is."""
    runs = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            run = run_script([str(HERE / "ways.py"), way, model, str(rows), str(batch), str(number)])
            runs[way].append(run)
            print(f"{model} {way} round {number + 1}: {run['seconds']:.1f} s", flush=True)
    table = {way: summarize_runs(of_way) for way, of_way in runs.items()}
    ratios = {
        way: round(table[way]["seconds"] / table["course"]["seconds"], 2) for way in ways if way != "course"
    }  # fmt: skip
    return {"rows": rows, "batch": batch, "rounds": rounds, "ways": table, "ratios": ratios}


def summarize_runs(runs: list[dict]) -> dict:
    """Medians over rounds of one way."""
    middle = {name: statistics.median(run[name] for run in runs) for name in ("seconds", "peak_mib", "macro_f1")}
    flops = 6 * runs[0]["matrices"] * runs[0]["tokens"]  # forward 2, backward 4, for each parameter and real token
    return {
        "seconds": round(middle["seconds"], 2), "examples_per_second": round(runs[0]["rows"] / middle["seconds"], 1),
        "tokens_per_second": round(runs[0]["tokens"] / middle["seconds"]), "peak_mib": round(middle["peak_mib"]),
        "macro_f1": round(middle["macro_f1"], 3), "gflops": round(flops / middle["seconds"] / 1e9, 1),
        "all_seconds": [round(run["seconds"], 2) for run in runs],
    }  # fmt: skip


def share_of_rate(gflops: float, rates: dict[str, float]) -> dict[str, float]:
    """Useful work of the course's training as a share of what the machine does in matrix products alone."""
    return {precision: round(gflops / rate, 2) for precision, rate in rates.items()}


# --- the rest -----------------------------------------------------------------------------------------------------

OTHERS = """
import json, time
clock = time.perf_counter
start = clock(); import course_utils; imported = clock() - start
from course_utils.data import QUEUES, load_ticket_splits, tokenize
from course_utils.evaluation import predict_logits
from course_utils.models import load_classifier, load_tokenizer
start = clock(); model = load_classifier(QUEUES).eval(); loaded = clock() - start
tokenizer, splits = load_tokenizer(), load_ticket_splits()
start = clock(); data = tokenize(splits, tokenizer); prepared = clock() - start
ids = data["test"]["input_ids"]
predict_logits(model, ids[:64])
start = clock(); predict_logits(model, ids); predicted = clock() - start
start = clock(); [predict_logits(model, [row]) for row in ids[:50]]; single = clock() - start
rows = sum(len(part) for part in data.values())
print(json.dumps({
    "import_seconds": round(imported, 2), "load_seconds": round(loaded, 2),
    "prepared_rows_per_second": round(rows / prepared), "predicted_tickets_per_second": round(len(ids) / predicted),
    "milliseconds_for_one_ticket": round(1000 * single / 50, 1),
}))
"""


# --- does it cost anything, and does it grow ----------------------------------------------------------------------


def compare_precisions(seeds: int, rows: int, epochs: int) -> dict:
    """Validation macro-F1 after the same training in fp32 and in bf16, and the mean of the paired differences."""
    train, validation = load_data(load_tokenizer(), rows)
    scores = {"fp32": [], "bf16": []}
    for seed in range(seeds):
        for precision, of_one in scores.items():
            settings = FineTuneSettings(1e-3, epochs, patience=None, seed=seed, precision=precision)
            history = fine_tune(build_ours("gpt2-mini"), train, validation, settings)
            of_one.append(round(history.best["macro_f1"], 4))
            print(f"{precision} seed {seed}: {of_one[-1]:.3f}", flush=True)
    differences = [b - a for a, b in zip(scores["fp32"], scores["bf16"], strict=True)]
    difference = {"mean": round(statistics.mean(differences), 4), "half": round(half_width(differences), 4)}
    return {"rows": rows, "epochs": epochs, "macro_f1": scores, "difference": difference}


def measure_growth(sizes: list[int]) -> dict:
    """One epoch over more and more tickets: seconds, peak memory, and by which power of the tokens seconds grow."""
    rows = []
    for size in sizes:
        run = run_script([str(HERE / "ways.py"), "course", "gpt2-mini", str(size), "16", "0"])
        rows.append({name: run[name] for name in ("rows", "tokens", "seconds", "peak_mib")})
        print(f"{size:,} tickets: {run['seconds']:.1f} s, {run['peak_mib']:,} MiB", flush=True)
    tokens, seconds = (numpy.log([row[name] for row in rows]) for name in ("tokens", "seconds"))
    return {"sizes": rows, "power": round(float(numpy.polyfit(tokens, seconds, 1)[0]), 3)}


# --- all of it ----------------------------------------------------------------------------------------------------


def measure_mini(quick: bool) -> dict:
    """All four ways with gpt2-mini, and what the course attains of the machine's rate of matrix products."""
    mini = compare_ways("gpt2-mini", list(WAYS), 96 if quick else 1024, 16, 1 if quick else 3)
    machine = describe_machine()
    share = share_of_rate(mini["ways"]["course"]["gflops"], machine["gflops"])
    return {"machine": machine, "ratios": mini["ratios"], "matmul_share": share, "gpt2-mini": mini}


def measure_larger(model: str, batch: int, quick: bool) -> dict:
    """The library's two ways beside the course's, with a larger model and few tickets."""
    rows, rounds = (2 * batch, 1) if quick else (256, 2)
    return {model: compare_ways(model, ["course", "trainer", "trainer_tuned"], rows, batch, rounds)}


def measure_all_means(quick: bool) -> dict:
    """Each means of training faster, alone."""
    train, _ = load_data(load_tokenizer(), 64 if quick else 1024)
    return {"means": measure_means(train, 2 if quick else 9)}


def measure_larger_means(quick: bool) -> dict:
    """The same for smollm2, with the machine it was measured on; bf16 only where the processor has it."""
    train, _ = load_data(load_tokenizer("smollm2"), 32)
    table = {name: sides for name, sides in LARGER.items() if bf16_pays() or "bf16" not in name}
    rows = measure_means(train, 1 if quick else 2, table, larger, steps=2)
    return {"smollm2 means": {"machine": describe_machine(), "means": rows}}


PIECES = {
    "mini": measure_mini,
    "means": measure_all_means,
    "others": lambda quick: {"others": run_script(["-c", OTHERS])},
    "smollm2": lambda quick: measure_larger("smollm2", 16, quick),
    "smollm2-means": measure_larger_means,
    "gpt2": lambda quick: measure_larger("gpt2-shape", 8, quick),
    "precisions": lambda quick: {"precisions": compare_precisions(*((2, 64, 1) if quick else (5, 1024, 3)))},
    "growth": lambda quick: {"growth": measure_growth([64, 128] if quick else [1_000, 10_000, 100_000])},
}


def main() -> None:
    """Measure piece by piece, and keep each at once: a benchmark that is stopped leaves what it measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pieces", nargs="*", help=f"what to measure, of {', '.join(PIECES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a trial of the script: few tickets, one round")
    parser.add_argument("--out", type=Path, default=OUT, help="where the results go (default: %(default)s)")
    options = parser.parse_args()
    if unknown := set(options.pieces) - set(PIECES):
        parser.error(f"there is no piece {', '.join(sorted(unknown))}: choose of {', '.join(PIECES)}")
    if not options.out.parent.is_dir():
        parser.error(f"there is no folder {options.out.parent}: make it first, or name another file with --out")
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.pieces or PIECES:
        results |= PIECES[name](options.quick)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({name: results.get(name) for name in ("ratios", "matmul_share")}, indent=1))


if __name__ == "__main__":
    main()
