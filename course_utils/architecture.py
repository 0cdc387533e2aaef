"""Lesson 2: the parts of a loaded GPT: body and head, what may learn, LoRA, dropout, how many parameters.

The one place that knows where a model keeps its parts. Two layouts cover the decoders of this course: GPT-2's, and
Llama's, which SmolLM2, Qwen2, Mistral and many others share. Every function here changes a model where it lies, on
whatever device that is, and leaves it there.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import pandas as pd
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS
from torch import nn
from transformers import (
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.pytorch_utils import Conv1D

# Names inside a body: the embeddings (positions are optional: most decoders have no table for them), blocks, norm.
LAYOUTS = [(("wte", "wpe"), "h", "ln_f"), (("embed_tokens",), "layers", "norm")]
# Where a module keeps a probability of dropout as a plain number, which a function takes: Llama, then Starcoder2, and
# GPTBigCode, StarCoder's first, under a name that in GPT-2 is a module's.
NUMBERS = ("attention_dropout", "residual_dropout", "embedding_dropout", "attn_dropout")
# Where a config keeps its own: GPT-2 in three places, Llama-type models for attention only, then GPT-Neo and StableLM.
DROPOUTS = (
    "embd_pdrop", "attn_pdrop", "resid_pdrop", *NUMBERS, "embed_dropout", "resid_dropout", "hidden_dropout",
)  # fmt: skip
LOUD = 100.0  # the mean, times this, is about four times as large as what gpt2-mini's last state holds already


@dataclass(frozen=True)
class BodyParts:
    """Where a model keeps its parts; `head` is None for a body alone."""

    embeddings: list[nn.Module]
    blocks: nn.ModuleList
    norm: nn.Module
    head: nn.Module | None


def body_parts(model: nn.Module) -> BodyParts:
    """Find the parts of a decoder: a language model, a classifier or a bare body, also inside peft's wrapper.

    Raises ValueError for encoders such as BERT, and for any other layout that is not in `LAYOUTS`.
    """
    if isinstance(model, PeftModel):
        model = model.get_base_model()
    body = getattr(model, "base_model", model)
    looks_right = any(getattr(module, "is_causal", None) is False for module in body.modules())
    for embeddings, blocks, norm in LAYOUTS:
        if all(hasattr(body, name) for name in (embeddings[0], blocks, norm)) and not looks_right:
            found = [getattr(body, name) for name in embeddings if hasattr(body, name)]
            head = getattr(model, "score", getattr(model, "lm_head", None))
            return BodyParts(found, getattr(body, blocks), getattr(body, norm), head)
    raise ValueError(
        f"{type(model).__name__} is not a decoder laid out like GPT-2 or Llama: choose such a model (gpt2-mini, "
        "SmolLM2, Qwen2, Mistral, ...), since this course has no use for encoders like BERT."
    )


def check_layout(config: PreTrainedConfig) -> None:
    """Raise ValueError if the course cannot work with models of this config; loads and allocates no weights."""
    with torch.device("meta"):
        body_parts(AutoModel.from_config(config))


def layers_from_top(model: nn.Module) -> list[list[nn.Module]]:
    """List a model's layers, highest first: [head, final norm], [top block], ..., [lowest block], [embeddings].

    A head that is tied to the token embedding is listed with the embeddings only, so no parameter comes up twice.
    """
    parts = body_parts(model)
    tied = parts.head is None or any(p is q for p in parts.head.parameters() for q in parts.embeddings[0].parameters())
    top = [parts.norm] if tied else [parts.head, parts.norm]
    return [top, *([block] for block in reversed(parts.blocks)), parts.embeddings]


def context_length(model: nn.Module) -> int:
    """Return the longest input a model can take, in tokens."""
    return model.config.max_position_embeddings


# --- preparing a model ------------------------------------------------------------------------------------------


def prepare_config(config: PreTrainedConfig, dropout: float | None = None) -> PreTrainedConfig:
    """Set a config up for fine-tuning on any machine: fp32, no cache, a fused activation, and `dropout` if given.

    Changes the config and returns it.
    """
    # A cache of keys and values speeds up generation, and costs time and memory at every training step.
    config.use_cache = False
    config.dtype = torch.float32
    if getattr(config, "activation_function", None) == "gelu_new":
        config.activation_function = "gelu_pytorch_tanh"  # the same function as one fused kernel
    if dropout is not None:
        note_dropout(config, dropout)
    return config


def match_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Give a model a row for each token that only the tokenizer knows, and the tokenizer's pad id; returns the model.

    New rows are the mean of the old ones, in the embedding and in the head of a language model. So a new token gets
    the mean logit, hence at most 1 / (old vocabulary) of the probability; a random row has a logit near 0, which in
    GPT-2, whose logits lie far below, takes nearly all of it.
    """
    known = model.get_input_embeddings().num_embeddings
    if known < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):  # often one tied tensor
            if layer is not None:
                layer.weight.data[known:] = layer.weight.data[:known].mean(dim=0)
    model.config.pad_token_id = tokenizer.pad_token_id  # only now: Llama wants it inside the vocabulary
    return model


# --- changing a model -------------------------------------------------------------------------------------------


def replace_head(model: PreTrainedModel, hidden: int, dropout: float = 0.1) -> PreTrainedModel:
    """Put a task layer of `hidden` units between body and output units; changes the model in place and returns it.

    The config notes the layer, so that `load_fine_tuned` can build it again.
    """
    width, classes = model.config.hidden_size, model.config.num_labels
    model.config.head_hidden, model.config.head_dropout = hidden, dropout
    model.score = nn.Sequential(
        nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, classes, bias=False)
    ).to(model.device)
    return model


def add_mean_block(model: PreTrainedModel) -> PreTrainedModel:
    """Put one more block on top of a GPT-2, whose attention looks at every token evenly; in place, returns the model.

    Attention is a weighted mean. Where all queries and keys are zero, all scores are equal, so the weights are, too:
    the last token, which sees the whole text, gets the plain mean of all values. The values are here the states as the
    final norm gives them, the very ones whose mean `heads.MeanPooling` takes. So a GPT that was taught to put a text's
    meaning into that mean can be read at the last token, by transformers' own class and without a line of this course.
    The block learns like the others, only its evenness cannot: each query's gradient has a key for a factor, and each
    key's a query, and all are zero.

    Raises ValueError for another architecture than GPT-2's: where heads share their values, these have no room for all
    of a state.
    """
    config, parts = model.config, body_parts(model)
    if config.model_type != "gpt2":
        raise ValueError(f"'mean-block' is made for GPT-2, not for {config.model_type!r}: choose 'last' or 'mean'.")
    config.num_hidden_layers += 1
    block, norm, width = GPT2Block(config, layer_idx=len(parts.blocks)), parts.norm, config.hidden_size
    for layer in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        block.ln_1.load_state_dict(norm.state_dict())
        block.attn.c_attn.weight[:, 2 * width :] = torch.eye(width)  # the values; queries and keys stay zero
        block.attn.c_proj.weight.copy_(LOUD * torch.eye(width))
        nn.init.normal_(block.mlp.c_fc.weight, std=config.initializer_range)  # the MLP adds nothing yet, but can learn
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
    parts.blocks.append(block.to(model.device))
    return model


def set_dropout(model: PreTrainedModel, probability: float) -> PreTrainedModel:
    """Set every dropout of a loaded model, and note it in the config; changes the model in place and returns it.

    GPT-2 drops after the embeddings, on the attention weights and where each part adds to the residual stream. A
    Llama-type model was made without dropout: the one place that it offers is the attention weights, so there the
    same number does less. A task layer's dropout is set, too. Raises ValueError unless 0 <= probability < 1.
    """
    note_dropout(model.config, probability)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        for name in NUMBERS:
            if name in vars(module):
                setattr(module, name, probability)
    return model


def note_dropout(config: PreTrainedConfig, probability: float) -> None:
    """Write a probability of dropout into each place that this kind of config has for it."""
    if not 0 <= probability < 1:
        raise ValueError(f"Dropout is a probability from 0 to below 1, got {probability}.")
    for name in (*DROPOUTS, "head_dropout"):
        if hasattr(config, name):
            setattr(config, name, probability)


def freeze_below(model: nn.Module, blocks: int) -> nn.Module:
    """Freeze the embeddings and the lowest `blocks` blocks, unfreeze all above; in place, returns the model.

    0 trains everything. With all blocks frozen the final norm is frozen too, and only the head learns. Raises
    ValueError if there are fewer blocks.
    """
    parts = body_parts(model)
    total = len(parts.blocks)
    if not 0 <= blocks <= total:
        raise ValueError(f"This model has {total} blocks, so between 0 and {total} can be frozen, not {blocks}.")
    frozen = [*parts.embeddings, *parts.blocks[:blocks]] if blocks else []
    if blocks == total:
        frozen.append(parts.norm)
    model.requires_grad_(True)
    for module in frozen:
        module.requires_grad_(False)
    return model


def freeze_body(model: nn.Module) -> nn.Module:
    """Freeze the whole body, however many blocks it has, so that only the head learns; in place, returns the model."""
    return freeze_below(model, len(body_parts(model).blocks))


def frozen_blocks(model: nn.Module) -> list[nn.Module]:
    """List the lowest blocks that cannot learn, with no trainable parameter in them nor below them."""
    parts = body_parts(model)
    if any(p.requires_grad for module in parts.embeddings for p in module.parameters()):
        return []
    return list(takewhile(lambda block: not any(p.requires_grad for p in block.parameters()), parts.blocks))


def keep_blocks(model: nn.Module, blocks: int) -> nn.Module:
    """Cut off all blocks above the lowest `blocks`; changes the model in place, config included, and returns it.

    The highest blocks of a GPT prepare the next token; for other tasks, states from below can serve better, and
    sooner. Raises ValueError for less than one block or more than there are.
    """
    parts = body_parts(model)
    total = len(parts.blocks)
    if not 1 <= blocks <= total:
        raise ValueError(f"This model has {total} blocks, so between 1 and {total} can be kept, not {blocks}.")
    del parts.blocks[blocks:]
    model.config.num_hidden_layers = blocks
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:blocks]
    if model.config.model_type == "gpt_neo":  # it notes the same in two ways, and compares them when it is loaded
        model.config.attention_layers = model.config.attention_layers[:blocks]
        model.config.attention_types = [[model.config.attention_layers, 1]]
    return model


def add_lora(
    model: PreTrainedModel, rank: int = 8, alpha: int = 16, dropout: float = 0.0, layers: Sequence[int] | None = None
) -> PeftModel:
    """Freeze the body and add trainable low-rank matrices to its attention; returns peft's model around it.

    Hu et al. 2021, LoRA, arXiv:2106.09685. Which matrices get them is peft's default for the architecture: the one
    for queries, keys and values in GPT-2, those for queries and values in Llama, and here in all that peft has no
    default for; where these are one matrix, as in Phi-3, that one. `layers` are the blocks that get them, counted from
    0 (None: all). The head is trained in full.
    """
    # GPT-2 stores its matrices the other way round.
    transposed = any(isinstance(module, Conv1D) for module in model.modules())
    settings = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=alpha, lora_dropout=dropout, fan_in_fan_out=transposed,
        layers_to_transform=None if layers is None else list(layers),
        target_modules=DEFAULTS.get(model.config.model_type, ["q_proj", "v_proj", "qkv_proj"]),
    )  # fmt: skip
    with warnings.catch_warnings():
        # peft asks transformers for a property by its old name; nothing that a reader could act on.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return get_peft_model(model, settings)


# --- counting ---------------------------------------------------------------------------------------------------


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Count a model's parameters: (trainable, all). Shared ones, like GPT-2's tied embeddings, count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trainable in sizes if trainable), sum(n for n, _ in sizes)


def parameter_table(model: nn.Module) -> pd.DataFrame:
    """List a model's parameters: one row each, with columns name, shape, parameters (count) and trainable."""
    rows = [(name, tuple(p.shape), p.numel(), p.requires_grad) for name, p in model.named_parameters()]
    return pd.DataFrame(rows, columns=["name", "shape", "parameters", "trainable"])
