"""Save training so that it can go on after a crash, and write files so that a crash never leaves half of one."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn


@contextmanager
def replace_safely(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write to; put it in the place of `path` only when the block ends without an error.

    The new file must be on the disk before it takes the old one's name, hence the fsync.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(
    path: Path | str, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], progress: dict,
    extra: dict[str, torch.Tensor] | None = None,
) -> None:  # fmt: skip
    """Write weights, optimizer states, `extra` tensors and `progress` into one file, whole or not at all.

    The file is safetensors, which unlike pickle cannot run code when it is loaded; `progress` must fit into JSON
    and travels in the file's metadata.
    """
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        for j, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{j}.{key}": value for key, value in state.items()}
    tensors |= {f"extra.{name}": value for name, value in (extra or {}).items()}
    with replace_safely(path) as temporary:
        # Clones, because safetensors refuses tensors that share memory.
        save_file(
            {k: v.contiguous().clone() for k, v in tensors.items()}, temporary, {"progress": json.dumps(progress)}
        )


def load_checkpoint(
    path: Path | str, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[dict, dict[str, torch.Tensor]]:
    """Put a checkpoint's weights and optimizer states in place; return its progress and its extra tensors."""
    with safe_open(path, "pt") as file:
        progress = json.loads(file.metadata()["progress"])
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    states: list[dict] = [{} for _ in optimizers]
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, i, j, key = name.split(".", 3)
            states[int(i)].setdefault(int(j), {})[key] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress, {n.removeprefix("extra."): t for n, t in tensors.items() if n.startswith("extra.")}
