"""Where a model computes, and with how many processes.

The rule of the course: models are loaded on the CPU, as in transformers; `model.to(pick_device())` moves one to the
GPU, if there is one; and every tool works where the model is and leaves it there.
"""

from contextlib import AbstractContextManager, nullcontext

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

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "sve_bf16")  # by which processors multiply in bf16


def bf16_pays(kind: str = "cpu") -> bool:
    """Say whether this machine is built to multiply matrices in bf16, then about twice as fast as in fp32.

    `kind` is the type of a device. What the processor reports decides, not a measurement: a busy moment would make two
    runs choose differently, and they would not give the same numbers.
    """
    if kind == "cpu":
        return any(torch.cpu.get_capabilities().get(name, False) for name in INSTRUCTIONS)
    return kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def mixed_precision(model: torch.nn.Module, precision: str = "auto", kind: str | None = None) -> AbstractContextManager:
    """A context in which a model computes its matrix products in bf16, and nearly all else in fp32.

    The weights stay fp32, and so do sums, norms and losses. bf16 keeps 8 bits of a number, 2 to 3 digits. Micikevicius
    et al. 2018, arXiv:1710.03740. With `precision` "auto" that happens only where it is faster: on machines that are
    built for it, with matrices large enough to repay the conversion. A model of width `NARROW` to `WIDE` uses it while
    it trains and predicts in fp32, so that a prediction does not depend on what else is in the batch. `kind` is the
    type of the device, where the model is not yet on it.
    """
    kind = kind or next(model.parameters()).device.type
    wide = model.config.hidden_size >= (NARROW if model.training else WIDE)
    if precision == "bf16" or (precision == "auto" and wide and bf16_pays(kind)):
        return torch.autocast(kind, torch.bfloat16)
    return nullcontext()
