"""doctor: what this machine has, and how long a training step of each model takes on it."""

import importlib.metadata
import os
import platform
import shutil
import time
from argparse import Namespace
from pathlib import Path

import psutil
import torch
from platformdirs import user_cache_path

from course_utils import smollm2
from course_utils.cli.show import say_table
from course_utils.devices import bf16_pays, pick_device
from course_utils.models import hub_answers, load_classifier
from course_utils.pipeline import make_optimizer
from course_utils.training import add_gradients

ROWS, TOKENS = 16, 64  # of the step that is timed
PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "accelerate", "peft", "scikit-learn", "pandas")


def run(options: Namespace) -> int:
    """Look, time and print; return the exit status."""
    device = pick_device()
    rows = [["Python", platform.python_version()], ["system", platform.platform()]]
    rows += [[name, importlib.metadata.version(name)] for name in PACKAGES]
    memory = psutil.virtual_memory()
    rows += [
        ["cores", f"{os.cpu_count()} ({torch.get_num_threads()} threads for PyTorch)"],
        ["memory", f"{memory.total / 2**30:.1f} GiB ({memory.available / 2**30:.1f} GiB free)"],
        ["disk here", f"{shutil.disk_usage('.').free / 2**30:.1f} GiB free"],
        ["accelerator", "none: models run on the CPU" if device.type == "cpu" else str(device)],
        [
            "bf16",
            "faster than fp32, used in training" if bf16_pays(device.type) else "not faster than fp32, not used",
        ],
        ["hub", "not asked" if options.offline else "answers" if hub_answers() else "gives no answer"],
    ]
    if not options.no_steps:
        rows += [[f"a step of {name}", describe_step(name, device)] for name in ("gpt2-mini", "smollm2")]
    say_table("This machine", ["what", "value"], rows)
    return 0


def describe_step(name: str, device: torch.device) -> str:
    """The time of a step in words; or why there is none."""
    if name == "smollm2" and not smollm2.is_complete(cache_of_smollm2()):
        return "not unpacked yet: run python -m course_utils prefetch smollm2"
    return f"{seconds_for_step(name, device):.2f} s ({ROWS} texts of {TOKENS} tokens)"


def cache_of_smollm2() -> Path:
    """Where SmolLM2 lies once it is unpacked."""
    return user_cache_path("fine-tuning-a-gpt", appauthor=False) / smollm2.FOLDER


def seconds_for_step(name: str, device: torch.device) -> float:
    """Train two steps of everything in a model and return the seconds of the second."""
    model = load_classifier(["a", "b"], name).to(device)
    optimizer = make_optimizer(model, 1e-5)
    batch = {"input_ids": torch.randint(10, 1000, (ROWS, TOKENS)), "labels": torch.arange(ROWS) % 2}
    for _ in range(2):
        start = time.perf_counter()
        add_gradients(model, [batch])
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - start
    return seconds
