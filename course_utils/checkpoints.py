"""Save training so that it can go on after a crash, and write files so that a crash never leaves half of one."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from course_utils.devices import processes
from course_utils.sharing import own_part, whole


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


def name_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of an optimizer's parameters, in the order in which its state dict numbers them."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def name_tensors(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], extra: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Everything that a checkpoint holds, under the names that it has there."""
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        names = name_parameters(model, optimizer)
        for j, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{key}.{names[j]}": value for key, value in state.items()}
    return tensors | {f"extra.{name}": value for name, value in extra.items()}


def save_checkpoint(
    path: Path | str, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], progress: dict,
    extra: dict[str, torch.Tensor] | None = None,
) -> None:  # fmt: skip
    """Write weights, optimizer states, `extra` tensors and `progress` into one file, whole or not at all.

    Optimizer states go by the names of their parameters. The file is safetensors, which unlike pickle cannot run code
    when it is loaded; `progress` must fit into JSON and travels in the file's metadata.
    """
    tensors = {name: alone(whole(t)) for name, t in name_tensors(model, optimizers, extra or {}).items()}
    with replace_safely(path) as temporary:
        save_file(tensors, temporary, {"progress": json.dumps(progress)})


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of one that shares its memory with others, which safetensors refuses."""
    tensor = tensor.contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def read_progress(path: Path | str) -> dict:
    """Read what a checkpoint says of itself; its tensors stay on the disk.

    Raises ValueError, in one sentence, for a file that is no checkpoint or only a part of one.
    """
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["progress"])
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"The file {str(path)!r} is no checkpoint, or a damaged one: give another file, or delete it to start anew."
        ) from None


def load_checkpoint(
    path: Path | str, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[dict, dict[str, torch.Tensor]]:
    """Put a checkpoint's weights and optimizer states in place; return its progress and its extra tensors.

    Everything is compared before anything is changed: raises ValueError, and leaves model and optimizers as they were,
    when the checkpoint's weights have other names or shapes, or when other parameters were trained.
    """
    progress, tensors = read_progress(path), load_file(path)
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    parameters = dict(model.named_parameters())
    refuse_other_shapes(path, weights, parameters)
    states = [read_state(path, tensors, i, name_parameters(model, o)) for i, o in enumerate(optimizers)]
    for optimizer, state in zip(optimizers, states, strict=True):
        ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for place, values in state.items():
            values |= {key: own_part(value, ordered[place]) for key, value in values.items()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(own_part(weights[name], parameter))
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress, {n.removeprefix("extra."): t for n, t in tensors.items() if n.startswith("extra.")}


def refuse_other_shapes(path, saved: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Raise ValueError when two sets of named tensors differ in a name or a shape."""
    different = sorted(n for n in saved.keys() | wanted.keys() if n not in saved or n not in wanted)
    different = different or sorted(n for n in saved if saved[n].shape != wanted[n].shape)
    if different:
        raise ValueError(
            f"The checkpoint {str(path)!r} belongs to another model (they differ in {different[0]}): build the model "
            "as it was, or give another file to start anew."
        )


def read_state(path, tensors: dict[str, torch.Tensor], number: int, names: list[str]) -> dict[int, dict]:
    """Collect one optimizer's state from a checkpoint's tensors: {place in the optimizer: {key: tensor}}."""
    state: dict[str, dict] = {}
    for name, value in tensors.items():
        if name.startswith(f"optimizer.{number}."):
            key, parameter = name.split(".", 3)[2:]
            state.setdefault(parameter, {})[key] = value
    if state and set(state) != set(names):
        different = sorted(set(state) ^ set(names))[0]
        raise ValueError(
            f"The checkpoint {str(path)!r} was made while other parameters were trained ({different} is one): freeze "
            "and unfreeze the model as it was, or give another file to start anew."
        )
    return {names.index(parameter): values for parameter, values in state.items()}


def fingerprint(*datasets: Dataset | None) -> str:
    """A short hash of the token ids and labels of data sets: two runs with one fingerprint saw the same rows."""
    digest = hashlib.sha256()
    for dataset in datasets:
        for batch in () if dataset is None else dataset.select_columns(["input_ids", "label"]).iter(1000):
            digest.update(json.dumps([batch["input_ids"], batch["label"]]).encode())
        digest.update(b"|")
    return digest.hexdigest()[:16]


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the random numbers that training draws from: the CPU's and, where there is one, the device's."""
    states = {"random.cpu": torch.get_rng_state()}
    if device.type in ("cuda", "mps", "xpu"):
        states[f"random.{device.type}"] = torch.get_device_module(device).get_rng_state()
    return states


def restore_random_states(states: dict[str, torch.Tensor]) -> None:
    """Put the states of `random_states` back. One of a device that is not here is passed over."""
    torch.set_rng_state(states["random.cpu"])
    for kind in ("cuda", "mps", "xpu"):
        if f"random.{kind}" in states and torch.get_device_module(kind).is_available():
            torch.get_device_module(kind).set_rng_state(states[f"random.{kind}"])


# --- a whole fine-tuning run --------------------------------------------------------------------------------------


def save_run(path, model, optimizer, facts: dict, history: dict, best: dict[str, torch.Tensor]) -> None:
    """Save all that the next step depends on: weights, optimizer, random states of all processes, best weights."""
    states = gather_object([random_states(next(model.parameters()).device)])
    extra = {f"best.{name}": tensor for name, tensor in best.items()}
    extra |= {f"{rank}.{name}": tensor for rank, own in enumerate(states) for name, tensor in own.items()}
    if processes().is_main_process:
        save_checkpoint(path, model, [optimizer], facts | {"history": history}, extra)
    else:  # of a model in parts each process has its own, which the first one now puts together
        for tensor in name_tensors(model, [optimizer], extra).values():
            whole(tensor)
    processes().wait_for_everyone()


def resume_run(path, model, optimizer, facts: dict) -> tuple[dict, dict[str, torch.Tensor]]:
    """Restore what `save_run` saved; return the history and the best weights.

    Raises ValueError, with model and optimizer as they were, when the checkpoint is of another run.
    """
    progress = read_progress(path)
    refuse_other_run(path, progress, facts)
    _, extra = load_checkpoint(path, model, [optimizer])
    own = f"{processes().process_index}."
    restore_random_states({name.removeprefix(own): t for name, t in extra.items() if name.startswith(own)})
    best = {name.removeprefix("best."): tensor for name, tensor in extra.items() if name.startswith("best.")}
    parameters = dict(model.named_parameters())
    best = {name: own_part(t, parameters[name]).to(parameters[name].device) for name, t in best.items()}
    return progress["history"], best


def refuse_other_run(path, progress: dict, facts: dict) -> None:
    """Raise ValueError when a checkpoint was made with other settings, data or numbers of processes."""
    changed = [key for key, value in facts["settings"].items() if progress.get("settings", {}).get(key) != value]
    changed += [f"{key}" for key in ("data", "processes") if progress.get(key) != facts[key]]
    if changed:
        raise ValueError(
            f"The checkpoint {str(path)!r} belongs to a run with other {' and '.join(changed)}: give the same to go on "
            "with it, or another file to start anew."
        )
