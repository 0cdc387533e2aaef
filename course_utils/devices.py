"""Where a model computes, and with how many processes.

The rule of the course: models are loaded on the CPU, as in transformers; `model.to(pick_device())` moves one to the
GPU, if there is one; and every tool works where the model is and leaves it there.
"""

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
