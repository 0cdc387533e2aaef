"""Two things that make training faster on a CPU and change nothing but rounding. Lesson 5 measures what they bring.

The others stand where they belong: batches of like length (`pipeline.LengthBuckets`), no mask and no cache (`models`),
matrix products in bf16 (`devices.mixed_precision`), frozen blocks that compute each text once (`frozen`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from course_utils.architecture import body_parts, frozen_blocks

ATTENTION = "sdpa_fp32_on_cpu"


def attend(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask, **options):
    """transformers' own attention, "sdpa", but on a CPU in fp32, even where everything around it computes in bf16.

    PyTorch's backward pass of attention on a CPU takes about four times as long in bf16, which eats up what the matrix
    products gain. On a GPU it is the other way round. Shapes: (batch, heads, length, size of a head).
    """
    if query.device.type != "cpu" or query.dtype == torch.float32:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    with torch.autocast("cpu", enabled=False):
        states, weights = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)
    return states.to(query.dtype), weights


# transformers looks attention up by its name: `model.set_attn_implementation(ATTENTION)`.
AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@contextmanager
def skip_unread_tokens(model: nn.Module, ids: torch.Tensor) -> Iterator[None]:
    """While this context is open, the last block's MLP computes only the tokens of `ids` that the head will read.

    A head that reads the last real token of each text needs the other tokens up to the last attention, but not in the
    MLP after it, which treats every token for itself: there they become zeros, and nobody reads them. The logits stay
    the same. Does nothing for a classifier that reads the mean, for a frozen block (others may read its states), or
    with gradient checkpointing, which computes a block a second time when this context is closed.
    """
    reads_last = getattr(model.config, "pooling", "mean") == "last"
    block = body_parts(model).blocks[-1]
    if not reads_last or block in frozen_blocks(model) or model.is_activation_checkpointing:
        yield
        return
    compute, rows = block.mlp.forward, torch.arange(len(ids), device=ids.device)
    last = (ids != model.config.pad_token_id).sum(dim=1) - 1

    def forward(states: torch.Tensor) -> torch.Tensor:
        read = compute(states[rows, last])
        return torch.zeros_like(states, dtype=read.dtype).index_put((rows, last), read)

    block.mlp.forward = forward
    try:
        yield
    finally:
        del block.mlp.forward  # the class's own shows again
