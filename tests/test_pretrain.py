"""How the embedded GPT was made: the same code, on a text of a few hundred words."""

import json
import lzma
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from course_utils import pretrain as p
from course_utils.models import load_language_model, locate_model

PYTORCHS_OWN = torch.optim._muon._zeropower_via_newtonschulz
SETTINGS = p.PretrainSettings(
    vocabulary=300, context=16, width=16, layers=1, heads=2, steps=12, batch_size=4, warmup_steps=2
)
STORY = "The tide went out and left {n} boats on the sand. Nobody minded. At {n} o'clock the water came back."


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    documents = [STORY.format(n=n) for n in range(40)]
    (folder / "tides.txt").write_text("\n<|endoftext|>\n".join(documents))
    with lzma.open(folder / "names.txt.xz", "wt", encoding="utf-8") as file:
        file.write("\n<|endoftext|>\n".join(f"Boat number {n} is called Åsa {n}.\nShe is blue." for n in range(40)))
    return folder


def run(corpus, folder, settings=SETTINGS, **options):
    p.pretrain(str(corpus), folder / "out", folder / "work", settings, bf16=False, compiled=False, **options)
    return json.loads((folder / "out" / "pretraining.json").read_text())


def test_documents_are_read_from_plain_and_compressed_files(corpus):
    sources = p.read_corpus(str(corpus))
    assert {name: len(documents) for name, documents in sources.items()} == {"names": 40, "tides": 40}
    assert sources["names"][3] == "Boat number 3 is called Åsa 3.\nShe is blue."


def test_a_folder_without_text_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No \.txt or \.txt\.xz files"):
        p.read_corpus(str(tmp_path))


@pytest.mark.parametrize("count", [4, 40, 1000])
def test_held_out_documents_are_whole_and_apart(count):
    documents = [str(i) for i in range(count)]
    train, held = p.hold_out(documents)
    assert sorted(train + held) == sorted(documents)
    assert len(held) >= 2
    assert len(held) <= max(2, count / 50)


def test_a_run_learns_and_writes_what_transformers_loads(corpus, tmp_path):
    report = run(corpus, tmp_path, replace(SETTINGS, steps=60))
    assert report["tokens_seen"] == 60 * 4 * 16
    assert report["bits_per_byte_overall"] < 6  # a guess among 300 tokens of about one byte costs 8
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float16
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.decode(tokenizer("Åsa is blue.").input_ids) == "Åsa is blue."


def test_a_killed_run_goes_on_with_the_same_loss_curve(corpus, tmp_path, monkeypatch):
    whole = run(corpus, tmp_path / "whole", replace(SETTINGS, steps=300))
    draw = p.draw_batch

    def draw_until_killed(tokens, settings, step):
        if step == 270:
            raise SystemExit("killed")
        return draw(tokens, settings, step)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(p, "draw_batch", draw_until_killed)
        run(corpus, tmp_path / "broken", replace(SETTINGS, steps=300))
    again = run(corpus, tmp_path / "broken", replace(SETTINGS, steps=300))
    assert again["loss_curve"] == whole["loss_curve"]
    assert again["bits_per_byte"] == whole["bits_per_byte"]


def test_a_saved_model_can_be_trained_further(corpus, tmp_path):
    first = run(corpus, tmp_path / "first", replace(SETTINGS, steps=30))
    start = str(tmp_path / "first" / "out")
    second = run(corpus, tmp_path / "second", replace(SETTINGS, steps=2, start=start, seed=1, width=8))
    assert second["continued_from"] == first
    assert first["continued_from"] is None
    assert second["bits_per_byte_overall"] < first["bits_per_byte_overall"]
    tokenizers = [AutoTokenizer.from_pretrained(tmp_path / name / "out") for name in ("first", "second")]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()


def test_adapting_lowers_the_loss_on_texts_like_those_it_read(tiny, tokenizer):
    model = load_language_model(tiny)
    texts = [STORY.format(n=n) for n in range(60)]
    losses = p.adapt(model, tokenizer, texts, epochs=20, learning_rate=1e-2, batch_size=4)
    assert losses[-1] < losses[0] - 2
    assert p.adapt(model, tokenizer, texts[:1], epochs=1, batch_size=4)  # less text than one window


def test_batches_depend_on_seed_and_step_alone_and_follow_the_mix():
    tokens = {"a": np.zeros(500, dtype=np.uint16), "b": np.ones(500, dtype=np.uint16)}
    settings = replace(SETTINGS, batch_size=400, mix={"a": 0.25, "b": 0.75})
    batch = p.draw_batch(tokens, settings, step=5)
    assert torch.equal(batch, p.draw_batch(tokens, settings, step=5))
    assert not torch.equal(batch, p.draw_batch(tokens, settings, step=6))
    assert batch[:, 0].float().mean().item() == pytest.approx(0.75, abs=0.08)


@pytest.mark.parametrize("shape", [(64, 192), (192, 64), (64, 64)])
def test_orthogonalize_is_pytorchs_own_in_more_digits(shape):
    torch.manual_seed(0)
    gradient = torch.randn(shape) * 1e-3
    arguments = (gradient, (3.4445, -4.775, 2.0315), 5, 1e-7)
    ours, theirs = p.orthogonalize(*arguments), PYTORCHS_OWN(*arguments).float()
    assert (ours - theirs).norm() < 0.03 * theirs.norm()  # bfloat16 has two to three digits


def test_on_a_cpu_muon_takes_it():
    p.build_optimizers(p.build_model(SETTINGS, AutoTokenizer.from_pretrained(locate_model("gpt2-mini"))), SETTINGS)
    assert torch.optim._muon._zeropower_via_newtonschulz is p.orthogonalize


def test_the_rate_warms_up_holds_and_falls_to_zero():
    settings = replace(SETTINGS, steps=100, warmup_steps=10, decay_share=0.2, learning_rate=1.0)
    rates = [p.scheduled_rate(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:80] == [1.0] * 70
    assert rates[90] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.05)


def test_bits_per_byte_of_a_blind_model_is_the_code_length_of_its_vocabulary(corpus, tmp_path):
    p.prepare_tokens(str(corpus), (tmp_path / "work"), SETTINGS)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "work" / "tokenizer")
    model = p.build_model(SETTINGS, tokenizer)
    torch.nn.init.zeros_(model.transformer.wte.weight)  # tied to the head: every token equally likely
    held = np.zeros(1600, dtype=np.uint16)
    assert p.bits_per_byte(model, held, byte_count=3200) == pytest.approx(np.log2(300) / 2, rel=1e-4)


def test_two_processes_share_the_steps(corpus, tmp_path):
    """torchrun with two CPU processes must give the losses that one process gives."""
    alone = run(corpus, tmp_path / "one")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29717"]
    options = [f"--{k.replace('_', '-')}={v}" for k, v in vars(SETTINGS).items() if v is not None]
    command += ["-m", "course_utils.pretrain", "--corpus", corpus, "--out", tmp_path / "two", "--work", tmp_path / "w2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    result = subprocess.run(
        [*map(str, command), *options], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    shared = json.loads((tmp_path / "two" / "pretraining.json").read_text())
    assert shared["processes"] == 2
    assert shared["loss_curve"] == pytest.approx(alone["loss_curve"], abs=2e-3)
