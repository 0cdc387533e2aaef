"""Print what a training step takes at its highest, beside the estimate: as JSON, without checkpointing and with.

A process of its own, because the peak of one that has run other tests says little: memory that they left is used
again and does not count, or lies in pieces and counts twice. The first step, which loads what torch loads late, is not
counted; of three more, the median is.
"""

import ctypes
import json
from pathlib import Path
from statistics import median

import psutil
import torch

from course_utils.cli.memory import measure_memory
from course_utils.models import load_classifier
from course_utils.pipeline import make_optimizer
from course_utils.training import add_gradients, copy_weights

ROWS, TOKENS = 24, 128


def peak_of_a_step(model) -> int:
    """Bytes that one training step took at its highest, beside the model."""
    ctypes.CDLL(None).malloc_trim(0)  # what the step before left to be used again would not count
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak of this process back to what it has now
    before = psutil.Process().memory_info().rss
    optimizer, best = make_optimizer(model, 1e-4), copy_weights(model)
    add_gradients(model, [{"input_ids": torch.full((ROWS, TOKENS), 5), "labels": torch.arange(ROWS) % 2}])
    optimizer.step()
    optimizer.zero_grad()
    lines = Path("/proc/self/status").read_text().splitlines()
    del best
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 - before


for checkpointing in (False, True):
    model = load_classifier(["a", "b"], random_weights=True)
    estimate = measure_memory(model).needed(ROWS * TOKENS, checkpointing)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    peak_of_a_step(model)
    taken = median(peak_of_a_step(model) for _ in range(3))
    print(json.dumps({"checkpointing": checkpointing, "estimate": estimate, "taken": taken}))
