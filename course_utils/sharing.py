"""How several processes share the training of one model: its rows alone, or its weights as well.

Usually every process keeps the whole model, computes its share of each batch, and the gradients are averaged
(`share_model`). A model that outgrows one card can be cut up as well: each process keeps a part of every weight, of its
gradient and of the optimizer's numbers, and a block's whole weights exist only while that block computes. That is
called fully sharded data parallel (FSDP), Zhao et al. 2023, arXiv:2304.11277. accelerate's own configuration switches
it on: `accelerate launch --use_fsdp --fsdp_version 2`, or what `accelerate config` asks for. The losses are the same.

In a model that is cut up, each forward pass, and each weight that is put together, is work for all processes at once:
where one of them stays away, the others wait for ever.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import torch
from accelerate import Accelerator
from accelerate.utils import disable_fsdp_ram_efficient_loading
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from course_utils.architecture import body_parts
from course_utils.devices import pick_device, processes

# Errors that come to all processes at the same step, for all of them compute the same losses and read the same files.
COMMON = (ValueError, FloatingPointError, GeneratorExit)


def share_model(model: nn.Module) -> nn.Module:
    """Let several processes average their gradients; with one process, or in parts, it is the model itself."""
    if processes().num_processes == 1 or in_parts(model):
        return model
    return Accelerator(cpu=model.device.type == "cpu").prepare_model(model, device_placement=False)


# --- what accelerate's configuration asks for -------------------------------------------------------------------


def is_set(name: str) -> bool:
    """Whether a switch of accelerate's configuration is on: `accelerate launch` sets environment variables."""
    return os.environ.get(name, "false").lower() in ("1", "true", "yes")


def wants_parts() -> bool:
    """Whether models are to be cut up among the processes."""
    return is_set("ACCELERATE_USE_FSDP") and processes().num_processes > 1


def check_sharding(loaded: bool = False) -> None:
    """Refuse a configuration of FSDP that would not be followed: raises ValueError, in one sentence.

    Call it before a model is loaded: accelerate's configuration lets transformers load the weights in the first
    process only, and here each process needs them, to take its part. A model that was `loaded` so is refused.
    """
    if not is_set("ACCELERATE_USE_FSDP"):
        return
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise ValueError("Models are cut up by FSDP2 only: give accelerate launch --fsdp_version 2, or leave FSDP out.")
    if is_set("FSDP_OFFLOAD_PARAMS"):
        raise ValueError("Parts of a model stay on their cards: leave fsdp_offload_params out of the configuration.")
    if is_set("FSDP_ACTIVATION_CHECKPOINTING"):
        raise ValueError(
            "Where memory is short, finetune turns gradient checkpointing on by itself: leave "
            "fsdp_activation_checkpointing out of accelerate's configuration."
        )
    if loaded and is_set("FSDP_CPU_RAM_EFFICIENT_LOADING"):
        raise ValueError("Maybe only the first process has weights: call sharing.check_sharding() before loading them.")
    disable_fsdp_ram_efficient_loading()


def home() -> torch.device:
    """Where a model belongs before training: on the device, but on the CPU if it is to be cut up and may not fit."""
    return torch.device("cpu") if wants_parts() else pick_device()


# --- cutting a model up, and putting it together ----------------------------------------------------------------


def sharded(loop: Callable) -> Callable:
    """Decorate a training loop, a generator whose first argument is a model: it trains a model in parts, if wanted.

    When the loop has ended, the caller's model has the weights, on the device where it was, in every process.
    """

    @wraps(loop)
    def train(model: nn.Module, *arguments, **options) -> Iterator:
        return train_parts(model, *arguments, **options) if wants_parts() else loop(model, *arguments, **options)

    def train_parts(model: nn.Module, *arguments, **options) -> Iterator:
        with cut_up(model) as parts:
            yield from loop(parts, *arguments, **options)

    return train


@contextmanager
def cut_up(model: nn.Module) -> Iterator[nn.Module]:
    """Give a copy of a model of which each process keeps a part; at the end its weights go back into the model.

    Meanwhile the model itself is empty, so that its weights do not take memory twice. After an error that only this
    process may have had, it stays so: to put weights together, it would wait for others that do not come.

    Raises ValueError inside `remember_states`: the copy would ask the model's own blocks, which are empty.
    """
    check_sharding(loaded=True)
    if any("forward" in vars(block) for block in body_parts(model).blocks):
        raise ValueError("A model in parts cannot remember the states of its frozen blocks: leave remember_states out.")
    parts = hand_over(model)
    mesh = init_device_mesh(pick_device().type, (processes().num_processes,))
    # Each call takes the weights that no call before it took, moves them to the card and lets go of all but a part:
    # so no more than one block is ever whole there. What is left after the blocks: embeddings, last norm and head.
    # Without `reshard_after_forward` these would stay whole after a forward pass that no backward pass follows.
    for module in (*body_parts(parts).blocks, parts):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    try:
        yield parts
    except COMMON:
        put_together(parts, model)
        raise
    put_together(parts, model)


def hand_over(model: nn.Module) -> nn.Module:
    """Make a copy of a model that has its weights, the very same memory, and leave the model empty."""
    weights = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in model.parameters()}
    taken = copy.deepcopy(model, weights)  # deepcopy looks there first, and finds a weight that two layers share once
    for parameter in model.parameters():
        parameter.grad, parameter.data = None, parameter.new_empty(0)
    return taken


@torch.no_grad()
def put_together(parts: nn.Module, model: nn.Module) -> None:
    """Put the whole weights of a model in parts into the empty model that `hand_over` left."""
    for part, parameter in zip(parts.parameters(), model.parameters(), strict=True):
        parameter.data = whole(part.detach()).to(parameter.device)


# --- single tensors ---------------------------------------------------------------------------------------------


def in_parts(model: nn.Module) -> bool:
    """Whether each process keeps only a part of this model's weights."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor together from all processes' parts, which all of them must do, on the CPU; others as they are."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor, cut and placed as `like` is; for a `like` that is whole, the tensor itself.

    Every process has the whole tensor, hence no source for it: nothing needs to be sent. One of another shape, such as
    the number of an optimizer's steps, belongs to all.
    """
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
