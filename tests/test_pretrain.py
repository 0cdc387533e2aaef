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

from course_utils.models import locate_model
from course_utils.pretrain import PretrainSettings, bits_per_byte, loop, pretrain
from course_utils.pretrain.__main__ import main
from course_utils.pretrain.model import build_model, build_optimizers
from course_utils.pretrain.muon import Muon
from course_utils.pretrain.settings import scheduled_rate
from course_utils.pretrain.text import hold_out, read_corpus
from course_utils.pretrain.tokens import draw_batch, prepare_tokens

SETTINGS = PretrainSettings(
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


def run(corpus, folder, settings=SETTINGS):
    pretrain(str(corpus), folder / "out", folder / "work", settings)
    return json.loads((folder / "out" / "pretraining.json").read_text())


def test_documents_are_read_from_plain_and_compressed_files(corpus):
    sources = read_corpus(str(corpus))
    assert {name: len(documents) for name, documents in sources.items()} == {"names": 40, "tides": 40}
    assert sources["names"][3] == "Boat number 3 is called Åsa 3.\nShe is blue."


def test_files_with_dots_in_their_names_are_sources_of_their_own(tmp_path):
    for part in (1, 2):
        (tmp_path / f"wiki.part{part}.txt").write_text(f"number {part}")
    assert read_corpus(str(tmp_path)) == {"wiki.part1": ["number 1"], "wiki.part2": ["number 2"]}
    with lzma.open(tmp_path / "wiki.part1.txt.xz", "wt") as file:
        file.write("number 3")
    with pytest.raises(ValueError, match="rename one"):
        read_corpus(str(tmp_path))


def test_a_blank_stretch_is_no_document(tmp_path):
    (tmp_path / "one.txt").write_text("one\n<|endoftext|>\n\n<|endoftext|>\n \n")
    assert read_corpus(str(tmp_path)) == {"one": ["one"]}


@pytest.mark.parametrize("kind", ["cut", "noise", "latin"])
def test_a_damaged_file_is_named(corpus, kind):
    whole = (corpus / "names.txt.xz").read_bytes()
    name, content = {
        "cut": ("names.txt.xz", whole[:-20]),
        "noise": ("names.txt.xz", b"no such thing" * 9),
        "latin": ("a.txt", b"caf\xe9"),
    }[kind]
    (corpus / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged or no UTF-8 text"):
        read_corpus(str(corpus))


def test_a_data_set_without_texts_is_refused(monkeypatch):
    import datasets

    rows = datasets.Dataset.from_dict({"sentence": ["a", "b"]}).to_iterable_dataset()
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    with pytest.raises(ValueError, match="'owner/name' has no column 'text'"):
        read_corpus("owner/name")


def test_a_folder_without_text_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No \.txt or \.txt\.xz files"):
        read_corpus(str(tmp_path))


@pytest.mark.parametrize("count", [2, 4, 40, 1000])
def test_held_out_documents_are_whole_and_apart(count):
    documents = [str(i) for i in range(count)]
    train, held = hold_out(documents)
    assert sorted(train + held) == sorted(documents)
    assert len(held) >= min(2, count // 2)
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
    draw = loop.draw_batch

    def draw_until_killed(tokens, settings, step):
        if step == 270:
            raise SystemExit("killed")
        return draw(tokens, settings, step)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(loop, "draw_batch", draw_until_killed)
        run(corpus, tmp_path / "broken", replace(SETTINGS, steps=300))
    drawn = []
    monkeypatch.setattr(loop, "draw_batch", lambda *given: drawn.append(given[2]) or draw(*given))
    again = run(corpus, tmp_path / "broken", replace(SETTINGS, steps=300))
    assert drawn == list(range(250, 300))  # from the checkpoint on; a run begun anew has the same curve
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


def test_batches_depend_on_seed_and_step_alone_and_follow_the_mix():
    tokens = {"a": np.arange(500, dtype=np.uint16), "b": np.arange(500, 1000, dtype=np.uint16)}
    settings = replace(SETTINGS, batch_size=400, mix={"a": 0.25, "b": 0.75})
    batch = draw_batch(tokens, settings, step=5)
    assert torch.equal(batch, draw_batch(tokens, settings, step=5))
    assert not torch.equal(batch, draw_batch(tokens, settings, step=6))
    assert not torch.equal(batch, draw_batch(tokens, replace(settings, seed=1), step=5))
    assert (batch.diff(dim=1) == 1).all() and len(batch[:, 0].unique()) > 200  # windows from all places
    assert (batch[:, 0] >= 500).float().mean().item() == pytest.approx(0.75, abs=0.08)


@pytest.mark.parametrize("shape", [(64, 192), (192, 64), (64, 64)])
def test_muon_is_pytorchs_own_in_float32(shape, monkeypatch):
    # PyTorch's rounds to bfloat16 on the way; here it is kept from that.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.randn(shape)) for _ in range(2))
    theirs.data.copy_(ours.data)
    optimizers = [
        Muon([ours], lr=0.02, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(5):
        ours.grad = torch.randn(shape) * 1e-3
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_muon_takes_matrices_only_and_leaves_pytorchs_own_as_it_was():
    with pytest.raises(ValueError, match="matrices only"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
    before = torch.optim._muon._zeropower_via_newtonschulz
    tokenizer = AutoTokenizer.from_pretrained(locate_model("gpt2-mini"))
    build_optimizers(build_model(SETTINGS, tokenizer), SETTINGS)
    assert torch.optim._muon._zeropower_via_newtonschulz is before
    assert before.__module__ == "torch.optim._muon"


def test_every_parameter_has_one_optimizer():
    tokenizer = AutoTokenizer.from_pretrained(locate_model("gpt2-mini"))
    model = build_model(SETTINGS, tokenizer)
    optimizers = build_optimizers(model, SETTINGS)
    held = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert sum(len(group["params"]) for group in optimizers[0].param_groups) == 4  # one block: two matrices each


def test_the_rate_warms_up_holds_and_falls_to_zero():
    settings = replace(SETTINGS, steps=100, warmup_steps=10, decay_share=0.2, learning_rate=1.0)
    rates = [scheduled_rate(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:80] == [1.0] * 70
    assert rates[90] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.05)
    assert {scheduled_rate(step, replace(settings, warmup_steps=0, decay_share=0.0)) for step in range(100)} == {1.0}


def test_bits_per_byte_of_a_blind_model_is_the_code_length_of_its_vocabulary(corpus, tmp_path):
    prepare_tokens(str(corpus), tmp_path / "work", SETTINGS)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "work" / "tokenizer")
    model = build_model(SETTINGS, tokenizer)
    torch.nn.init.zeros_(model.get_input_embeddings().weight)  # tied to the head: every token equally likely
    held = np.zeros(1600, dtype=np.uint16)
    assert bits_per_byte(model, held, byte_count=3200) == pytest.approx(np.log2(300) / 2, rel=1e-4)


def test_a_source_of_one_document_is_refused(corpus, tmp_path):
    (corpus / "novel.txt").write_text("Call me Åsa. " * 100)
    with pytest.raises(ValueError, match=r"source 'novel' has 1 document, too few"):
        run(corpus, tmp_path)
    assert not (tmp_path / "work" / "sources.json").exists()


@pytest.mark.parametrize("documents", [("a", "b"), ("The sand was wet. " * 40, "b")])
def test_a_source_shorter_than_a_window_is_refused(corpus, tmp_path, documents):
    (corpus / "short.txt").write_text("\n<|endoftext|>\n".join(documents))
    with pytest.raises(ValueError, match=r"'short' has \d+ tokens (to train on|held out), fewer than one window"):
        run(corpus, tmp_path)


@pytest.mark.parametrize(
    ("mix", "words"),
    [({"tide": 0.5, "names": 0.5}, "names 'tide'"), ({"tides": 0.0}, "above 0"), ({"tides": -1.0}, "at least 0")],
)
def test_a_mix_that_does_not_fit_is_refused(corpus, tmp_path, mix, words):
    with pytest.raises(ValueError, match=words):
        run(corpus, tmp_path, replace(SETTINGS, mix=mix))


def test_a_changed_corpus_is_noticed(corpus, tmp_path):
    prepare_tokens(str(corpus), tmp_path, SETTINGS)
    prepare_tokens(str(corpus), tmp_path, SETTINGS)  # the same again is welcome
    with pytest.raises(ValueError, match="another tokenizer"):
        prepare_tokens(str(corpus), tmp_path, replace(SETTINGS, vocabulary=290))
    text = (corpus / "tides.txt").read_text()
    (corpus / "tides.txt").write_text(text.replace("The tide", "The time"))  # of the same length
    with pytest.raises(ValueError, match="another corpus"):
        prepare_tokens(str(corpus), tmp_path, SETTINGS)


def test_a_context_longer_than_that_of_the_model_it_starts_from_is_refused(corpus, tmp_path):
    run(corpus, tmp_path / "first")
    with pytest.raises(ValueError, match="at most 16 tokens"):
        run(corpus, tmp_path / "second", replace(SETTINGS, start=str(tmp_path / "first" / "out"), context=17))


def test_text_too_short_to_test_the_model_it_starts_from_is_refused_before_training(corpus, tmp_path):
    run(corpus, tmp_path / "first")
    for path, text in (("tides.txt", "The sand was wet. "), ("more.txt", "The sand was dry. ")):
        (corpus / path).write_text(f"{text * 40}\n<|endoftext|>\nIt is wet.")
    (corpus / "names.txt.xz").unlink()
    with pytest.raises(ValueError, match="fewer than one window of 16"):
        run(corpus, tmp_path / "second", replace(SETTINGS, start=str(tmp_path / "first" / "out"), context=4))
    assert not (tmp_path / "second" / "work" / "checkpoint.safetensors").exists()


def test_a_checkpoint_with_other_settings_is_refused_before_anything_changes(corpus, tmp_path, monkeypatch):
    run(corpus, tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.parent != corpus}
    monkeypatch.setattr(loop, "load_checkpoint", None)  # not even read
    with pytest.raises(ValueError, match=r"made with learning_rate=0\.002, not 0\.1"):
        run(corpus, tmp_path, replace(SETTINGS, learning_rate=0.1))
    with pytest.raises(ValueError, match=r"steps=12, not 20, and its learning rate falls already"):
        run(corpus, tmp_path, replace(SETTINGS, steps=20))
    assert files == {path: path.read_bytes() for path in files}


def test_steps_may_change_until_the_rate_begins_to_fall(corpus, tmp_path, monkeypatch):
    whole = run(corpus, tmp_path / "whole", replace(SETTINGS, steps=20))
    monkeypatch.setattr(loop, "SAVE_EVERY", 5)
    draw = loop.draw_batch

    def draw_until_killed(tokens, settings, step):
        if step == 6:
            raise SystemExit("killed")
        return draw(tokens, settings, step)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(loop, "draw_batch", draw_until_killed)
        run(corpus, tmp_path / "broken")
    with pytest.raises(ValueError, match=r"steps=12, not 6"):
        run(corpus, tmp_path / "broken", replace(SETTINGS, steps=6))  # would have to fall from step 4
    drawn = []
    monkeypatch.setattr(loop, "draw_batch", lambda *given: drawn.append(given[2]) or draw(*given))
    longer = run(corpus, tmp_path / "broken", replace(SETTINGS, steps=20))
    assert drawn == list(range(5, 20))
    assert longer["loss_curve"] == whole["loss_curve"]
    assert longer["bits_per_byte"] == whole["bits_per_byte"]


def test_the_command_says_what_is_wrong_in_one_line(corpus, tmp_path, monkeypatch, capsys):
    command = (
        f"pretrain --corpus {corpus} --out {tmp_path / 'out'} --work {tmp_path / 'work'} --context 16 --mix tide=1"
    )
    monkeypatch.setattr(sys, "argv", [*command.split(), "--vocabulary", "300"])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == 2
    assert capsys.readouterr().err.strip() == (
        "python -m course_utils.pretrain: The mix names 'tide', but the corpus has only names, tides."
    )


def test_two_processes_share_the_steps(corpus, tmp_path):
    """torchrun with two CPU processes must give the losses that one process gives."""
    alone = run(corpus, tmp_path / "one")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = [f"--{k.replace('_', '-')}={v}" for k, v in vars(SETTINGS).items() if v]
    command += ["-m", "course_utils.pretrain", "--corpus", corpus, "--out", tmp_path / "two", "--work", tmp_path / "w2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    result = subprocess.run(
        [*map(str, command), *options], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    shared = json.loads((tmp_path / "two" / "pretraining.json").read_text())
    assert shared["processes"] == 2
    assert shared["loss_curve"] == pytest.approx(alone["loss_curve"], abs=2e-3)
