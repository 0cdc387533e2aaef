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

PRECISIONS = ("auto", "fp32", "bf16")
WIDE, NARROW = 512, 256  # widths from which predictions, and training, gain by bf16 where the processor has it


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


def mixed_precision(model: torch.nn.Module, precision: str = "auto") -> AbstractContextManager:
    """A context in which a model computes its matrix products in bf16, and all else in fp32.

    The weights stay fp32, and so do sums, norms and losses. bf16 keeps 8 bits of a number, about 3 digits. Micikevicius
    et al. 2018, arXiv:1710.03740. With `precision` "auto" that happens only where it is faster: on machines that are
    built for it, with matrices large enough to repay the conversion. A model of width `NARROW` to `WIDE` uses it while
    it trains and predicts in fp32, so that a prediction does not depend on what else is in the batch.
    """
    kind = next(model.parameters()).device.type
    wide = model.config.hidden_size >= (NARROW if model.training else WIDE)
    if precision == "bf16" or (precision == "auto" and wide and kind != "mps" and bf16_pays(kind)):
        return torch.autocast(kind, torch.bfloat16)
    return nullcontext()
