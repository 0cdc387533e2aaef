"""The model to pre-train, its optimizers, how good it is, and the folder it ends up in."""

import math
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase

from course_utils.architecture import body_parts, context_length, set_dropout
from course_utils.models import load_language_model
from course_utils.pretrain.muon import Muon
from course_utils.pretrain.settings import PretrainSettings


def build_model(settings: PretrainSettings, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Build GPT-2's architecture with random weights, or take those of `start`.

    No dropout: each text is seen about once, nothing overfits. Raises ValueError when `settings.context` is longer
    than the context of the model it starts from.
    """
    if settings.start is not None:
        model = load_for_training(settings.start)
        if settings.context > context_length(model):
            raise ValueError(
                f"{settings.start!r} reads at most {context_length(model)} tokens at once, so --context "
                f"{settings.context} is too long for it."
            )
        return model
    torch.manual_seed(settings.seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=settings.vocabulary, n_positions=settings.context, n_embd=settings.width,
            n_layer=settings.layers, n_head=settings.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            # The tanh form is the same function as GPT-2's "gelu_new", computed by one fused kernel.
            activation_function="gelu_pytorch_tanh", bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, use_cache=False,
        )
    )  # fmt: skip


def load_for_training(name: str) -> PreTrainedModel:
    """Load a language model to train it further: no dropout, no cache."""
    model = set_dropout(load_language_model(name), 0.0).train()
    model.config.use_cache = False
    return model


def build_optimizers(model: PreTrainedModel, settings: PretrainSettings) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for embeddings, biases and norms; one learning rate suits both."""
    matrices = [p for p in body_parts(model).blocks.parameters() if p.ndim == 2]
    in_blocks = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in in_blocks]
    return [
        Muon(matrices, lr=settings.learning_rate, weight_decay=settings.muon_weight_decay),
        torch.optim.AdamW(others, lr=settings.learning_rate, weight_decay=0.0, fused=True),
    ]


@torch.no_grad()
def bits_per_byte(model: PreTrainedModel, held: np.ndarray, byte_count: int, windows: int | None = None) -> float:
    """Bits the model needs for each byte of held-out text, in windows of the model's context without overlap.

    Bits per byte, unlike the loss per token, can be compared across tokenizers. `windows` looks at a sample of
    the windows only. Raises ValueError for a text shorter than one window.
    """
    context = context_length(model)
    if len(held) < context:
        raise ValueError(f"Bits per byte need a text of at least one window of {context} tokens, this has {len(held)}.")
    rows = torch.from_numpy(held[: len(held) // context * context].astype(np.int64)).view(-1, context)
    if windows is not None and windows < len(rows):
        rows = rows[torch.linspace(0, len(rows) - 1, windows).long()]
    was_training = model.training
    model.eval()
    losses = [model(input_ids=b, labels=b).loss.item() * len(b) for b in rows.to(model.device).split(32)]
    model.train(was_training)
    return sum(losses) / len(rows) / math.log(2) * len(held) / byte_count


def score_sources(model: PreTrainedModel, tokens, windows: int | None = None) -> dict[str, float]:
    """Bits per byte of each source's held-out text."""
    return {
        name: bits_per_byte(model, tokens.held[name], facts["held_out_bytes"], windows)
        for name, facts in tokens.facts.items()
    }


def overall_bits(scores: dict[str, float], facts: dict[str, dict]) -> float:
    """Bits per byte of all held-out text: the sources' scores, weighted by their bytes."""
    sizes = {name: facts[name]["held_out_bytes"] for name in scores}
    return sum(scores[name] * sizes[name] for name in scores) / sum(sizes.values())


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write the folder that `from_pretrained` loads: config, fp16 weights, tokenizer."""
    # fp16 halves the file; the loaders turn it back into fp32.
    clone = type(model)(model.config)
    clone.load_state_dict(model.state_dict())
    clone.half().save_pretrained(out)
    tokenizer.model_max_length = context_length(model)
    tokenizer.save_pretrained(out)
