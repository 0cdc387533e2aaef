"""Lesson 2: what a classifier's head reads of a text, and the class of transformers that does it.

The body gives one state for each token, the head wants one for the whole text. That is called pooling. With "last" the
head reads the last real token, as transformers' own classifiers do; with "mean", the mean of all tokens; with
"mean-block", the last token after one more block, which has put the mean there.
"""

from functools import cache

import torch
from torch import nn
from torch.nn import functional as F
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from course_utils.architecture import body_parts, replace_head

LOUD = 100.0  # the mean, times this, is about four times as large as what gpt2-mini's last state holds already


class MeanPooling:
    """Mixed into a ...ForSequenceClassification: its head reads the mean of all real tokens' states."""

    def forward(self, input_ids, attention_mask=None, labels=None, **options):
        """Take ids (batch, length), padded on the right; return an output with `logits` (batch, classes).

        With `labels` (batch,), class ids, the output has their mean cross-entropy in nats as its `loss`.
        """
        states = self.base_model(input_ids, attention_mask=attention_mask, **options).last_hidden_state
        real = (input_ids != self.config.pad_token_id).unsqueeze(-1)
        mean = (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        logits = self.score(mean)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutputWithPast(loss=loss, logits=logits)


class TaskLayer:
    """Mixed into a ...ForSequenceClassification: its head has the task layer that the config notes."""

    def __init__(self, config):
        super().__init__(config)
        replace_head(self, config.head_hidden, config.head_dropout)


def classifier_class(config: PreTrainedConfig, pooling: str = "last") -> type[PreTrainedModel]:
    """Choose the classifier's class for a config.

    With "last", transformers' own ...ForSequenceClassification, whose head reads the last real token; with "mean",
    the same with a head that reads the mean of all real tokens. Both with a task layer if the config notes one.
    Raises ValueError for another pooling, or an architecture for which transformers has no classifier.
    """
    if pooling not in ("last", "mean"):
        raise ValueError(f"pooling is 'last', 'mean' or 'mean-block', not {pooling!r}.")
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ValueError(f"transformers has no classifier for {config.model_type!r} models: choose another model.")
    return mix_in(
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)],
        mean=pooling == "mean",
        task_layer=getattr(config, "head_hidden", None) is not None,
    )


@cache
def mix_in(kind: type[PreTrainedModel], mean: bool, task_layer: bool) -> type[PreTrainedModel]:
    """Make a classifier's class with the pooling and head asked for; the same arguments give the same class."""
    if task_layer:
        kind = type(kind.__name__, (TaskLayer, kind), {})
    return type(f"MeanPooled{kind.__name__}", (MeanPooling, kind), {}) if mean else kind


# --- the mean, in a block of attention --------------------------------------------------------------------------


def add_mean_block(model: PreTrainedModel) -> PreTrainedModel:
    """Put one more block on top of a GPT-2, whose attention looks at every token evenly; in place, returns the model.

    Attention is a weighted mean. Where all queries and keys are zero, all scores are equal, so the weights are, too:
    the last token, which sees the whole text, gets the plain mean of all values. The values are here the states as the
    final norm gives them, the very ones whose mean `MeanPooling` takes. So a GPT that was taught to put a text's
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
