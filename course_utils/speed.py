"""Three things that save time or memory on a CPU and change nothing but rounding. Lesson 5 shows what they bring.

The others stand where they belong: batches of like length (`pipeline.LengthBuckets`), no mask and no cache (`models`),
matrix products in bf16 (`devices.mixed_precision`), frozen blocks that compute each text once (`frozen`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from course_utils.architecture import body_parts, frozen_blocks

ATTENTION = "sdpa_but_fast_on_cpu"
SHORT = 128  # tokens up to which plain matrix products beat PyTorch's attention in fp32; at 256 they no longer do


def attend(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask, **options):
    """transformers' own attention, "sdpa", but another way on a CPU where everything around it computes in bf16.

    PyTorch's backward pass of attention on a CPU takes about four times as long in bf16, which eats up what the matrix
    products gain. So short texts are attended to by products, and long ones, or those with a mask, in fp32. On a GPU
    PyTorch's is best. Shapes: (batch, heads, length, size of a head); returns (batch, length, heads, size), None.
    """
    if query.device.type != "cpu" or query.dtype == torch.float32:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    with torch.autocast("cpu", enabled=False):
        short = query.shape[2] == key.shape[2] <= SHORT
        if attention_mask is None and short and not options.get("dropout"):
            return attend_by_products(query, key, value, options.get("scaling")), None
        wide = (query.float(), key.float(), value.float())
        states, weights = sdpa_attention_forward(module, *wide, attention_mask, **options)
    return states.to(query.dtype), weights


def attend_by_products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None = None):
    """Causal attention as lesson 1 draws it, softmax(query x key) x value. A softmax in bf16 adds up in fp32."""
    groups, length = query.shape[1] // key.shape[1], query.shape[2]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)  # in newer GPTs some heads share theirs
    later = torch.full((length, length), -torch.inf, dtype=query.dtype).triu(1)
    scaling = scaling or query.shape[-1] ** -0.5
    scores = torch.baddbmm(later, query.flatten(0, 1), key.flatten(0, 1).mT, alpha=scaling)
    return (scores.softmax(-1) @ value.flatten(0, 1)).unflatten(0, query.shape[:2]).transpose(1, 2).contiguous()


# transformers looks attention up by its name: `model.set_attn_implementation(ATTENTION)`.
AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def pad_to_eights(ids: torch.Tensor, pad_id: int, context: int) -> torch.Tensor:
    """Pad ids (batch, length) on the right to a multiple of 8 tokens, at most `context`, where training runs in bf16.

    There PyTorch's library prepares for each new shape of a matrix and keeps what it prepared. A few shapes with a
    little more padding cost no more time than many odd ones, the first epoch even less, and hundreds of MiB fewer.
    transformers' collators call it `pad_to_multiple_of`.
    """
    if not torch.is_autocast_enabled(ids.device.type):
        return ids
    length = ids.shape[1]
    return F.pad(ids, (0, min(-length % 8, context - length)), value=pad_id)


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

    def forward(states: torch.Tensor):
        read = compute(states[rows, last].unsqueeze(1))  # (rows, 1, width): mixtures of experts want three
        read, *more = read if isinstance(read, tuple) else (read,)  # GPT-OSS adds how the experts were chosen
        read = read.squeeze(1)
        read = torch.zeros_like(states, dtype=read.dtype).index_put((rows, last), read)
        return (read, *more) if more else read

    block.mlp.forward = forward
    try:
        yield
    finally:
        del block.mlp.forward  # the class's own shows again
