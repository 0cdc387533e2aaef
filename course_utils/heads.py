"""Lesson 2: what a classifier's head reads of a text, and the class of transformers that does it.

The body gives one state for each token, the head wants one for the whole text. That is called pooling. With "last" the
head reads the last real token, as transformers' own classifiers do; with "mean", the mean of all tokens; with
"mean-block", the last token after one more block, which has put the mean there (`architecture.add_mean_block`).
"""

from functools import cache

from torch.nn import functional as F
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

from course_utils.architecture import replace_head


class MeanPooling:
    """Mixed into a ...ForSequenceClassification: its head reads the mean of all real tokens' states."""

    def forward(self, input_ids, attention_mask=None, labels=None, **options):
        """Take ids (batch, length), padded on the right; return an output with `logits` (batch, classes).

        With `labels` (batch,), class ids, the output has their mean cross-entropy in nats as its `loss`. Where the
        config names another `problem_type`, such as "multi_label_classification", it is transformers' loss for that.
        """
        states = self.base_model(input_ids, attention_mask=attention_mask, **options).last_hidden_state
        real = (input_ids != self.config.pad_token_id).unsqueeze(-1)
        mean = (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        logits = self.score(mean)
        loss = None
        if labels is not None and self.config.problem_type in (None, "single_label_classification"):
            loss = F.cross_entropy(logits, labels)
        elif labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
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
