"""Lessons 1 and 2: load a pre-trained GPT-2, look at its parameters, turn it into a classifier.

`gpt2-mini` is the GPT embedded in `data/`; every other name is a local folder or a model of the hub (`gpt2`,
`distilgpt2`, `gpt2-medium`, ...). All of them are transformers' own GPT-2 classes.
"""

import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
import pandas as pd
import torch
import transformers
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

# The classification head is new on purpose, and loading takes a blink: reports and bars about them would only alarm.
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

DATA = Path(__file__).resolve().parent.parent / "data"
PAD = "<|pad|>"


def locate_model(name: str) -> str:
    """Turn a model name into what `from_pretrained` takes: the embedded folder for "gpt2-mini", else the name."""
    return str(DATA / name) if name == "gpt2-mini" else str(name)


def hub_answers(seconds: float = 3.0) -> bool:
    """Find out within `seconds` whether the hub can be reached; its own client would retry for a minute."""
    if huggingface_hub.is_offline_mode():
        return False
    if "https" in urllib.request.getproxies():
        return True  # behind a proxy only a real request could tell
    try:
        host = urllib.parse.urlparse(huggingface_hub.constants.ENDPOINT).hostname
        socket.create_connection((host, 443), timeout=seconds).close()
    except OSError:
        return False
    return True


def load_or_explain(loader, name: str, **options):
    """Call a `from_pretrained`; on failure raise OSError with one sentence on what to do.

    Local folders and models in the hub's cache load without a network.
    """
    place = locate_model(name)
    is_folder = Path(place).is_dir()
    try:
        return loader(place, local_files_only=is_folder or not hub_answers(), **options)
    except (OSError, ValueError) as error:
        reason = type(error).__name__
    if is_folder:
        raise OSError(f"The folder {name!r} holds no GPT-2 that transformers can load ({reason}).")
    raise OSError(
        f"No model {name!r}: it is neither 'gpt2-mini' nor a local folder, and the hub gave no answer; check the "
        "spelling, connect to the network once to download it, or give the folder of a saved model."
    )


def load_tokenizer(name: str = "gpt2-mini") -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, padding on the right, with a pad token of its own.

    GPT-2 has no pad token, and its end-of-text token is no substitute: a classifier could not tell padding from
    a text that really ends with it. Raises OSError with one sentence when the model cannot be found.
    """
    tokenizer = load_or_explain(AutoTokenizer.from_pretrained, name)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
    return tokenizer


def load_config(name: str, tokenizer: PreTrainedTokenizerBase, dropout: float | None = None, **options):
    """Load a GPT-2 configuration, prepared for fine-tuning on any machine."""
    config = load_or_explain(AutoConfig.from_pretrained, name, **options)
    if config.model_type != "gpt2":
        raise ValueError(f"{name!r} is a {config.model_type!r} model; this course works with GPT-2 models only.")
    config.pad_token_id = tokenizer.pad_token_id
    # A cache of keys and values speeds up generation, and costs time and memory at every training step.
    config.use_cache = False
    if config.activation_function == "gelu_new":
        config.activation_function = "gelu_pytorch_tanh"  # the same function as one fused kernel
    if dropout is not None:
        config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = dropout
    return config


def load_language_model(name: str = "gpt2-mini") -> GPT2LMHeadModel:
    """Load a pre-trained GPT-2 with its language-model head, in fp32 and evaluation mode.

    Raises OSError with one sentence when the model cannot be found.
    """
    tokenizer = load_tokenizer(name)
    config = load_config(name, tokenizer)
    config.use_cache = True
    model = load_or_explain(GPT2LMHeadModel.from_pretrained, name, config=config, dtype=torch.float32)
    model.generation_config.use_cache = True
    return match_vocabulary(model, tokenizer).eval()


class MeanPooledClassifier(GPT2ForSequenceClassification):
    """GPT-2 with a classification head on the mean of all real tokens' states, not on the last one's alone."""

    def forward(self, input_ids, **options):
        """Take ids (batch, length), padded on the right; return an output whose `logits` are (batch, classes)."""
        states = self.transformer(input_ids).last_hidden_state
        real = (input_ids != self.config.pad_token_id).unsqueeze(-1)
        mean = (states * real).sum(dim=1) / real.sum(dim=1)
        return SequenceClassifierOutputWithPast(logits=self.score(mean))


POOLINGS = {"last": GPT2ForSequenceClassification, "mean": MeanPooledClassifier}


def load_classifier(
    labels: Sequence[str],
    name: str = "gpt2-mini",
    dropout: float | None = None,
    random_weights: bool = False,
    seed: int = 0,
    pooling: str = "last",
) -> GPT2ForSequenceClassification:
    """Load a GPT-2 body with a fresh classification head.

    `labels` names the classes in the order of their ids. `dropout` (0 to 1; None: as the model was saved) is set in
    all three places where GPT-2 has it. `random_weights` builds the same architecture without the pre-trained
    weights: the comparison behind every claim about transfer. `seed` fixes the head's first weights, and the random
    body's. With `pooling` "last" the head reads the last real token of a text, as GPT-2's does; with "mean", the mean
    of all real tokens.

    Raises ValueError for fewer than two or repeated labels or another pooling, OSError when the model cannot be found.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is 'last' or 'mean', not {pooling!r}.")
    labels = list(labels)
    if len(set(labels)) < 2:
        raise ValueError(f"A classifier needs at least two different labels, got {labels}.")
    if len(set(labels)) < len(labels):
        raise ValueError(f"Each label may be named only once, got {labels}.")
    tokenizer = load_tokenizer(name)
    id2label = dict(enumerate(labels))
    label2id = {label: i for i, label in id2label.items()}
    config = load_config(name, tokenizer, dropout, num_labels=len(labels), id2label=id2label, label2id=label2id)
    torch.manual_seed(seed)
    config.pooling = pooling  # noted in the config, so that load_fine_tuned knows
    model = match_vocabulary(POOLINGS[pooling](config), tokenizer)
    if not random_weights:
        # The weights only: the language model's modules would bring their own dropout with them.
        model.transformer.load_state_dict(load_language_model(name).transformer.state_dict())
    return model.train()


def save_classifier(
    model: GPT2ForSequenceClassification, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> None:
    """Save a fine-tuned classifier with its tokenizer in the hub's folder format."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_fine_tuned(folder: str | Path) -> tuple[GPT2ForSequenceClassification, PreTrainedTokenizerBase]:
    """Load what `save_classifier` saved: (model in evaluation mode, tokenizer). Raises OSError if it is not there."""
    if not (Path(folder) / "config.json").exists():
        raise OSError(f"No saved classifier in {str(folder)!r}: fine-tune one and save it there first.")
    config = AutoConfig.from_pretrained(folder)
    kind = POOLINGS[getattr(config, "pooling", "last")]
    model = load_or_explain(kind.from_pretrained, str(folder))
    if getattr(model.config, "head_hidden", None) is not None:  # a task layer, which transformers knows nothing of
        replace_head(model, model.config.head_hidden, model.config.head_dropout)
        weights = load_file(Path(folder) / "model.safetensors")
        head = {name.removeprefix("score."): w for name, w in weights.items() if name.startswith("score.")}
        model.score.load_state_dict(head)
    return model.eval(), load_tokenizer(str(folder))


def match_vocabulary(model, tokenizer: PreTrainedTokenizerBase):
    """Add embedding rows for tokens that the tokenizer knows and the model does not (GPT-2: the pad token).

    New rows are the mean of the old ones. The tied head then gives a new token the mean logit, hence at most
    1 / (old vocabulary) of the probability; a random row has a logit near 0, which in GPT-2, whose logits lie far
    below, takes nearly all of it.
    """
    known = model.get_input_embeddings().num_embeddings
    if known < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        rows = model.get_input_embeddings().weight.data
        rows[known:] = rows[:known].mean(dim=0)
    return model


# --- the architecture, modified ---------------------------------------------------------------------------------


def replace_head(
    model: GPT2ForSequenceClassification, hidden: int, dropout: float = 0.1
) -> GPT2ForSequenceClassification:
    """Put a task layer of `hidden` units between body and output units; changes the model in place and returns it.

    The config notes the layer, so that `load_fine_tuned` can build it again.
    """
    width, classes = model.config.n_embd, model.config.num_labels
    model.config.head_hidden, model.config.head_dropout = hidden, dropout
    model.score = nn.Sequential(
        nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(dropout), nn.Linear(hidden, classes, bias=False)
    )
    return model


def set_dropout(model: nn.Module, probability: float) -> nn.Module:
    """Set every dropout of a loaded model, attention included; changes the model in place and returns it."""
    if not 0 <= probability < 1:
        raise ValueError(f"Dropout is a probability from 0 to below 1, got {probability}.")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
    return model


def freeze_below(model: GPT2ForSequenceClassification, blocks: int) -> GPT2ForSequenceClassification:
    """Freeze the embeddings and the lowest `blocks` blocks, unfreeze all above; in place, returns the model.

    0 trains everything. With all blocks frozen the final layer norm is frozen too, and only the head learns.
    """
    total = model.config.n_layer
    if not 0 <= blocks <= total:
        raise ValueError(f"This model has {total} blocks, so between 0 and {total} can be frozen, not {blocks}.")
    body = model.transformer
    frozen = [body.wte, body.wpe, *body.h[:blocks]] if blocks else []
    if blocks == total:
        frozen.append(body.ln_f)
    model.requires_grad_(True)
    for module in frozen:
        module.requires_grad_(False)
    return model


def add_lora(model: GPT2ForSequenceClassification, rank: int = 8, alpha: int = 16, dropout: float = 0.0):
    """Freeze the body and add trainable low-rank matrices to its attention; returns peft's model around it.

    Hu et al. 2021, LoRA, arXiv:2106.09685. The head is trained in full.
    """
    settings = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=["c_attn"],
        fan_in_fan_out=True,  # GPT-2 stores its matrices the other way round
        modules_to_save=["score"],
    )  # fmt: skip
    with warnings.catch_warnings():
        # peft asks transformers for a property by its old name; nothing that a reader could act on.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return get_peft_model(model, settings)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Count a model's parameters: (trainable, all). Shared ones, like GPT-2's tied embeddings, count once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trainable in sizes if trainable), sum(n for n, _ in sizes)


def parameter_table(model: nn.Module) -> pd.DataFrame:
    """List a model's parameters: one row each, with columns name, shape, parameters (count) and trainable."""
    rows = [(name, tuple(p.shape), p.numel(), p.requires_grad) for name, p in model.named_parameters()]
    return pd.DataFrame(rows, columns=["name", "shape", "parameters", "trainable"])
