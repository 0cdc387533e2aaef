"""Lesson 1: load a pre-trained GPT and its tokenizer, load it as a classifier, save a fine-tuned one.

`gpt2-mini` is the GPT embedded in `data/`, `smollm2` comes through pip; every other name is a local folder or a model
of the hub (`gpt2`, `distilgpt2`, `HuggingFaceTB/SmolLM2-360M`, ...). Any decoder laid out like GPT-2 or Llama will do.

Where a model is: loaders give it on the CPU, as transformers does; `model.to(pick_device())` moves it to this machine's
accelerator, if there is one; every tool of the course works where the model is and leaves it there.
"""

import copy
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    StrictDataclassError,
)
from huggingface_hub.utils import validate_repo_id
from peft import PeftModel
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from course_utils.architecture import add_mean_block, check_layout, match_vocabulary, prepare_config
from course_utils.heads import classifier_class
from course_utils.speed import ATTENTION

# The classification head is new on purpose, and loading takes a blink: reports and bars about them would only alarm.
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

DATA = Path(__file__).resolve().parent.parent / "data"
PAD = "<|pad|>"


# --- finding a model --------------------------------------------------------------------------------------------


def locate_model(name: str) -> str:
    """Turn a model's name into what `from_pretrained` takes: a folder for the course's own two, else the name.

    Raises OSError with one sentence if "smollm2" is not installed.
    """
    if name == "smollm2":
        from course_utils import smollm2  # only those who use this model need what it needs

        return smollm2.locate()
    return str(DATA / name) if name == "gpt2-mini" else str(name)


def hub_answers(seconds: float = 3.0) -> bool:
    """Find out within `seconds` whether the hub can be reached, at most once a minute.

    The hub's own client would retry for a minute before it gave up.
    """
    if huggingface_hub.is_offline_mode():
        return False
    address = huggingface_hub.constants.ENDPOINT
    if urllib.parse.urlparse(address).scheme in urllib.request.getproxies():
        return True  # behind a proxy only a real request could tell
    return try_to_connect(address, seconds, minute=int(time.monotonic() // 60))


@lru_cache(maxsize=1)
def try_to_connect(address: str, seconds: float, minute: int) -> bool:
    """Open a connection to a web address and close it again; the answer is kept until `minute` changes."""
    url = urllib.parse.urlparse(address)
    answers = []

    def connect():
        try:
            port = url.port or {"https": 443, "http": 80}[url.scheme]
            socket.create_connection((url.hostname, port), timeout=seconds).close()
            answers.append(True)
        except OSError:
            pass  # no answer is the answer

    # In a thread, because looking up the name and trying each of its addresses all take their own time.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


def load_or_explain(loader: Callable, name: str, **options):
    """Call a `from_pretrained`; on failure raise OSError with one sentence on what is wrong and what to do.

    Local folders and models in the hub's cache load without a network.
    """
    place = locate_model(name)
    is_folder = Path(place).is_dir()
    online = not is_folder and may_be_on_hub(place) and hub_answers()
    try:
        # Never code from a model's folder: loading must not run what strangers wrote.
        return loader(place, local_files_only=not online, trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError, StrictDataclassError) as error:
        reason = explain(error)
    if is_folder:
        raise OSError(f"The folder {name!r} holds nothing that transformers can load ({reason}).")
    known = f"No model {name!r}: it is neither 'gpt2-mini' nor 'smollm2' nor a local folder, and"
    if not may_be_on_hub(place):
        raise OSError(f"{known} no name of the hub either; check the path, or give the folder of a saved model.")
    if online:
        raise OSError(f"{known} loading it from the hub failed ({reason}); check the spelling and your connection.")
    raise OSError(
        f"{known} the hub gave no answer; check the spelling, connect to the network once to download it, or give the "
        "folder of a saved model."
    )


def may_be_on_hub(name: str) -> bool:
    """Whether a name has the form of the hub's, "model" or "owner/model"."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def explain(error: BaseException) -> str:
    """Say in a few words why loading failed: the error that started it, and the first line of what it says."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, GatedRepoError):
        return "its owner asks you to log in and to accept terms first"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub knows no such model"
    first_line = (str(error).strip().splitlines() or [""])[0].rstrip(".:")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


# --- loading ----------------------------------------------------------------------------------------------------


def load_tokenizer(name: str = "gpt2-mini") -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, padding on the right, with a pad token of its own.

    Many GPTs have no pad token or reuse the end-of-text token, which is no substitute: a classifier could not tell
    padding from a text that really ends with it. Raises OSError with one sentence when the model cannot be found.
    """
    tokenizer = load_or_explain(AutoTokenizer.from_pretrained, name)
    if tokenizer.vocab_size < 2:  # where the files are missing, transformers makes one that knows no token
        raise OSError(f"The model {name!r} has no tokenizer: put the files of its own beside its weights.")
    tokenizer.padding_side = "right"
    if tokenizer.pad_token in (None, tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token):
        tokenizer.add_special_tokens({"pad_token": PAD})
    return tokenizer


def load_config(name: str, dropout: float | None = None, **options) -> PreTrainedConfig:
    """Load a decoder's configuration, prepared for fine-tuning on any machine. Raises ValueError for other models."""
    config = load_or_explain(AutoConfig.from_pretrained, name, **options)
    check_layout(config)
    config.pad_token_id = None  # until match_vocabulary has made room for it
    return prepare_config(config, dropout)


def load_weights(kind: type, name: str, config: PreTrainedConfig, fresh_head: bool = False) -> PreTrainedModel:
    """Build a model of a class from a config and a model's saved weights, in fp32.

    Raises OSError with one sentence if any of its weights were not saved, or with other sizes than the config's;
    transformers would fill in random ones. With `fresh_head` those of a classification head may be.
    """
    model, report = load_or_explain(
        kind.from_pretrained, name, config=config, dtype=torch.float32, output_loading_info=True,
        ignore_mismatched_sizes=True, use_safetensors=True,  # pickled weights could run code
    )  # fmt: skip
    other = sorted(key for key, *_ in report["mismatched_keys"] if not (fresh_head and key.startswith("score.")))
    if other:
        raise OSError(
            f"The weights of the model {name!r} have other sizes than its config.json says ({', '.join(other[:3])}): "
            "fetch or save the whole folder anew."
        )
    missing = sorted(key for key in report["missing_keys"] if not (fresh_head and key.startswith("score.")))
    if missing:
        raise OSError(
            f"The model {name!r} is no {type(model).__name__}, its weights lack {', '.join(missing[:3])}: choose one "
            "that was saved as such, or load_classifier, which makes a fresh head for any GPT."
        )
    return model


def finish_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Make a model fit its tokenizer and compute attention the fast way; in place, returns it."""
    if model._supports_sdpa:  # a few, such as Gemma 2, do more in their attention than the fast way can
        model.set_attn_implementation(ATTENTION)
    return match_vocabulary(model, tokenizer)


def load_language_model(name: str = "gpt2-mini") -> PreTrainedModel:
    """Load a pre-trained GPT with its language-model head, on the CPU, in fp32 and evaluation mode.

    Raises OSError with one sentence when the model cannot be found, ValueError when it is no decoder.
    """
    config, tokenizer = load_config(name), load_tokenizer(name)
    config.use_cache = True
    model = load_weights(AutoModelForCausalLM, name, config)
    model.generation_config.use_cache = True
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return finish_model(model, tokenizer).eval()


def load_classifier(
    labels: Sequence[str],
    name: str = "gpt2-mini",
    dropout: float | None = None,
    random_weights: bool = False,
    seed: int = 0,
    pooling: str = "last",
) -> PreTrainedModel:
    """Load a GPT's body with a fresh classification head, on the CPU, in fp32 and training mode.

    `labels` names the classes in the order of their ids. `dropout` (0 to below 1; None: as the model was saved) is set
    wherever the architecture has it. `random_weights` builds the same architecture without the pre-trained weights: the
    comparison behind every claim about transfer. `seed` fixes the head's first weights, and the random body's. With
    `pooling` "last" the head reads the last real token of a text, as GPT-2's does; with "mean", the mean of all; with
    "mean-block", the last token after one more block, which has put the mean there (GPT-2 only).

    Raises ValueError for fewer than two or repeated labels, another pooling or a model that is no decoder, OSError
    when the model cannot be found.
    """
    labels = list(labels)
    if len(set(labels)) < 2:
        raise ValueError(f"A classifier needs at least two different labels, got {labels}.")
    if len(set(labels)) < len(labels):
        raise ValueError(f"Each label may be named only once, got {labels}.")
    id2label = dict(enumerate(labels))
    label2id = {label: i for i, label in id2label.items()}
    config = load_config(name, dropout, num_labels=len(labels), id2label=id2label, label2id=label2id)
    read = "last" if pooling == "mean-block" else pooling
    config.pooling, config.head_hidden = read, None  # noted in the config, so that load_fine_tuned knows
    kind = classifier_class(config, read)
    torch.manual_seed(seed)
    model = kind(config)
    if not random_weights:
        # The head keeps its random weights: with one seed the pre-trained and the random network begin with the same.
        head = model.score.weight.data
        model = load_weights(kind, name, config, fresh_head=True)
        model.score.weight.data.copy_(head)
    if pooling == "mean-block":
        add_mean_block(model)
    return finish_model(model, load_tokenizer(name)).train()


# --- a fine-tuned classifier ------------------------------------------------------------------------------------


def save_classifier(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Save a fine-tuned classifier with its tokenizer in the hub's folder format.

    LoRA's matrices are added into the body's for good, in a copy: the folder holds an ordinary model, and `model`
    itself stays as it is. The saved tokenizer reads a special token that somebody typed as text, as training did,
    whoever loads it.
    """
    if isinstance(model, PeftModel):
        model = copy.deepcopy(model).merge_and_unload()
    model.save_pretrained(folder)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.init_kwargs["split_special_tokens"] = tokenizer.split_special_tokens = True  # both go into the file
    tokenizer.save_pretrained(folder)


def load_fine_tuned(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load what `save_classifier` saved: (model on the CPU in evaluation mode, tokenizer).

    Raises OSError with one sentence if there is nothing, or a model without a trained classification head.
    """
    folder = str(folder)
    if not (Path(folder) / "config.json").exists():
        raise OSError(f"No saved classifier in {folder!r}: fine-tune one and save it there first.")
    config = load_or_explain(AutoConfig.from_pretrained, folder)
    check_layout(config)
    kind = classifier_class(config, getattr(config, "pooling", "last"))
    config.use_cache = False
    model, tokenizer = load_weights(kind, folder, config), load_tokenizer(folder)
    return finish_model(model, tokenizer).eval(), tokenizer
