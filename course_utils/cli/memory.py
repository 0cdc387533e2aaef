"""How much memory training will take, estimated before it starts; and the same steps in less where it is short."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from accelerate.utils import broadcast_object_list
from torch import nn

from course_utils.architecture import body_parts
from course_utils.cli.show import say
from course_utils.devices import mixed_precision, pick_device, processes
from course_utils.history import FineTuneSettings
from course_utils.sharing import wants_parts

PROBE = 16  # tokens of the first of two short texts on which memory is measured; the second is twice as long
SPARE = 1.3  # intermediate results of a step that are gone before it ends, and what allocators round up
LIMIT, USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")  # of a container, on Linux
GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes beside the model's weights: `fixed`, and `per_token` of the batch in the model.

    `per_token_less` is what a token takes under gradient checkpointing (Chen et al. 2016, arXiv:1604.06174), where a
    block keeps its input only and is computed once more on the way back.
    """

    fixed: float
    per_token: float
    per_token_less: float

    def needed(self, tokens: int, checkpointing: bool = False) -> float:
        """Bytes for batches of so many tokens, padding included."""
        return SPARE * (self.fixed + tokens * (self.per_token_less if checkpointing else self.per_token))


def fit(model, settings: FineTuneSettings, longest: int, stopped: dict) -> tuple[FineTuneSettings, list]:
    """Make a step fit into memory and say so; a `stopped` run goes on as it was, with bit-identical steps.

    Returns the settings, and what was chosen for run.json: batch size, batches in a step, gradient checkpointing.
    """
    if "fitted" in stopped:
        batch_size, accumulate, checkpointing = stopped["fitted"]
        settings = replace(settings, batch_size=batch_size, accumulate=accumulate)
    else:
        free = free_memory(pick_device() if wants_parts() else next(model.parameters()).device)
        settings, checkpointing, said = agree(fit_memory(measure_memory(model), settings, longest, free))
        say(said)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return settings, [settings.batch_size, settings.accumulate, checkpointing]


def measure_memory(model: nn.Module) -> Memory:
    """Measure what a step keeps for the way back on two short texts; the rest is counted."""
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    short, long = (bytes_kept(model, tokens) for tokens in (PROBE, 2 * PROBE))
    per_token = (long - short) / PROBE
    blocks, width = len(body_parts(model).blocks), model.config.hidden_size
    copies = 4 + (processes().num_processes > 1)  # gradient, AdamW's two means, best weights; what processes exchange
    # What does not grow with the text is kept as well, such as weights in bf16.
    kept = max(0, short - per_token * PROBE)
    fixed = bytes_in_parts(model, trained) + kept if wants_parts() else copies * trained + kept
    less = 4 * width * blocks + 2 * per_token / blocks  # each block's input; one block's values and their gradients
    return Memory(fixed, per_token, less)


def bytes_in_parts(model: nn.Module, trained: int) -> float:
    """Bytes that a process keeps of a model in parts, whose weights are not on the card yet: they count as well."""
    weights = sum(p.nbytes for p in model.parameters())
    block = max(sum(p.nbytes for p in block.parameters()) for block in body_parts(model).blocks)
    rest = weights - sum(p.nbytes for p in body_parts(model).blocks.parameters())  # embeddings, last norm, head
    fixed = (weights + 4 * trained) / processes().num_processes + 2 * (block + rest)  # those whole, with gradients
    # In bf16, autocast keeps a copy of every weight for the way back, and keeps it whole.
    is_narrow = isinstance(mixed_precision(model, kind=pick_device().type), torch.autocast)
    return fixed + (weights / 2 if is_narrow else 0)


def bytes_kept(model: nn.Module, tokens: int) -> int:
    """The bytes that a forward pass over one text keeps for the way back, weights left out, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    state, was_training = torch.get_rng_state(), model.training
    device = next(model.parameters()).device
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), mixed_precision(model):
        loss = model.train()(input_ids=torch.full((1, tokens), 5, device=device)).logits.sum()
    model.train(was_training)
    del loss
    torch.set_rng_state(state)  # as if nothing had happened
    return sum(kept.values())


def free_memory(device: torch.device) -> float:
    """Bytes that are free where the model is, for one of the processes that share the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    if LIMIT.exists() and LIMIT.read_text().strip().isdigit():
        free = min(free, int(LIMIT.read_text()) - int(USED.read_text()))
    return free / int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def move_if_it_fits(model: nn.Module) -> nn.Module:
    """Move a model that was trained in parts to the card to predict there, unless it is too large for one."""
    if not wants_parts():
        return model
    device, weights = pick_device(), sum(p.nbytes for p in model.parameters())
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what training is done with, but PyTorch keeps for next time
    return model.to(device) if 2 * weights < free_memory(device) else model  # predicting takes some memory, too


def fit_memory(
    memory: Memory, settings: FineTuneSettings, longest: int, free: float
) -> tuple[FineTuneSettings, bool, str]:
    """Cut the batches of a step into smaller ones until they fit; if none does, turn on gradient checkpointing, too.

    The rows of a step stay the same. `longest`: tokens of the longest text. Returns the settings, whether to use
    checkpointing, and a sentence. Raises ValueError when not even one text at a time fits.
    """
    rows, shares = settings.batch_size, processes().num_processes
    beside = "for each part of the model" if wants_parts() else "beside the model"
    for checkpointing in (False, True):
        for parts in (n for n in range(1, rows + 1) if rows % n == 0):
            needed = memory.needed(-(-rows // (parts * shares)) * longest, checkpointing)
            if needed > free:
                continue
            said = f"Training takes about {show_gib(needed)} of memory {beside}, {show_gib(free)} are free"
            if parts > 1:
                said += f"; to fit, a step takes its rows in batches of {rows // parts}"
            if checkpointing:
                said += ", and blocks are computed twice (gradient checkpointing), a third slower"
            fitting = replace(settings, batch_size=rows // parts, accumulate=settings.accumulate * parts)
            return fitting, checkpointing, said + "."
    raise ValueError(
        f"Training needs about {show_gib(needed)} of memory {beside}, even with one text at a time, and "
        f"{show_gib(free)} are free: add --lora or --freeze, lower --max-tokens, or choose a smaller model."
    )


def agree(choice: tuple) -> tuple:
    """The choice of the first process, for all of them: free memory differs from one look to the next."""
    shared = [choice]
    broadcast_object_list(shared)
    return shared[0]


def show_gib(size: float) -> str:
    """Bytes in GiB: "0.4 GiB"."""
    return f"{size / GIB:.1f} GiB"
