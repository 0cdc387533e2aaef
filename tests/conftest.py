"""What all tests share: a browser, and small real inputs."""

import copy
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from cli_data import COLUMNS, make_rows
from playwright.sync_api import sync_playwright
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from course_utils.cli import main
from course_utils.data import QUEUES, clean, read_examples, split_examples, take_per_label, tokenize
from course_utils.models import load_tokenizer

CHROMIUM_FLAGS = [
    "--no-sandbox", "--no-proxy-server", "--disable-gpu", "--disable-background-networking", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window. Where there is none, the test is skipped, or fails where CI should have put one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: .ci/run installs it.")
        pytest.skip("Chromium is missing: install Debian's package chromium to run the browser tests.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


TEMPLATE = (
    "{% for turn in messages %}<|pad|>{{ turn['role'] }}\n{{ turn['content'] | trim }}<|endoftext|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|pad|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="session")
def chatty(tokenizer):
    """The embedded GPT's tokenizer, with a chat template as if the GPT were tuned on chats."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def raw() -> pd.DataFrame:
    return read_examples(label="queue")


@pytest.fixture(scope="session")
def cleaned(raw):
    return clean(raw, QUEUES)


@pytest.fixture(scope="session")
def splits(cleaned) -> dict[str, pd.DataFrame]:
    return split_examples(cleaned[0])


@pytest.fixture(scope="session")
def few(splits, tokenizer):
    """Four tickets of each queue for training and for validation: enough to run every code path in a second."""
    return tokenize({name: take_per_label(table, 4) for name, table in splits.items()}, tokenizer)


@pytest.fixture(scope="session")
def tiny(tokenizer, tmp_path_factory) -> str:
    """The folder of a GPT-2 with 0.3 million random weights: a step of its training takes milliseconds."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(7)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, hidden_size=32, n_layer=2, n_head=2, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, pad_token_id=tokenizer.pad_token_id, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_llama(tokenizer, tmp_path_factory) -> str:
    """The folder of a Llama with random weights: three blocks, two query heads to a key, a head that is not tied."""
    folder = tmp_path_factory.mktemp("tiny_llama")
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=128, hidden_size=32, intermediate_size=64,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session", params=["tiny", "tiny_llama"])
def any_tiny(request) -> str:
    """Each of the two tiny models in turn: what works on both works on any decoder of the course."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def good(splits, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("good") / "data.csv"
    make_rows(splits).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def mine(good, tiny) -> Path:
    """A folder as the command writes it."""
    out = good.parent / "runs" / "mine"
    words = ["finetune", str(good), *COLUMNS, "--model", tiny, "--out", str(out), "--epochs", "3", "--max-tokens", "24"]
    assert main(words) == 0
    return out
