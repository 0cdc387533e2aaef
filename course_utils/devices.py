"""Where a model computes, and with how many processes.

The rule of the course: models are loaded on the CPU, as in transformers; `model.to(pick_device())` moves one to the
GPU, if there is one; and every tool works where the model is and leaves it there.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """This process's place among all of a run (`process_index`, `num_processes`): one, unless torchrun started more."""
    # Accelerate looks for processes on the CPU only when it is told that there is nothing better.
    return PartialState(cpu=not torch.accelerator.is_available())


def pick_device() -> torch.device:
    """Choose the device to compute on: CUDA, Apple's MPS or another accelerator that PyTorch finds, else the CPU.

    Under torchrun, each process gets an accelerator of its own.
    """
    device = processes().device
    return torch.device("cpu") if device.type == "cpu" else device  # a tensor says "cpu", not "cpu:0"


# --- bf16 -------------------------------------------------------------------------------------------------------

WIDE = 512  # below this width a model's matrices are so small that converting them costs what computing faster saves


@cache
def bf16_pays(kind: str = "cpu") -> bool:
    """Find out by a short measurement whether this machine multiplies matrices faster in bf16 than in fp32.

    Processors with instructions for it (AVX512-BF16, AMX) do so about twice as fast; others are slower than in fp32.
    `kind` is the type of a device. Takes a few hundredths of a second, once in a process.
    """

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(1024, 1024, dtype=dtype, device=kind)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            (matrix @ matrix)[0, 0].item()  # reading a number waits until it has been computed
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)


def mixed_precision(model: torch.nn.Module) -> AbstractContextManager:
    """A context in which a model computes its matrix products in bf16 where that is faster, and all else in fp32.

    The weights stay fp32, and so do sums, norms and losses. bf16 keeps 8 bits of a number, about 3 digits. Micikevicius
    et al. 2018, arXiv:1710.03740.
    """
    kind = next(model.parameters()).device.type
    if model.config.hidden_size < WIDE or kind == "mps" or not bf16_pays(kind):
        return nullcontext()
    return torch.autocast(kind, torch.bfloat16)
