"""The second stage of pre-training: texts, a teacher's vectors, a student; all tiny, the teacher's weights random."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel

from course_utils.checkpoints import read_progress
from course_utils.models import load_language_model
from course_utils.pretrain import distil, sentences, teacher
from course_utils.pretrain.sentences import sample_texts, split_units, write_texts
from course_utils.pretrain.settings import DistilSettings
from course_utils.pretrain.shards import HELD_OUT, read_batches, read_shard
from course_utils.pretrain.student import Student, cosine_loss, pad_texts, similarity_loss
from course_utils.pretrain.teacher import Teacher, find_teacher, write_vectors

PLACES = ["harbour", "market", "library", "station", "garden", "bakery", "school", "museum", "theatre", "castle"]
THINGS = ["boat", "cake", "book", "train", "flower", "loaf", "pupil", "statue", "play", "tower"]
SETTINGS = DistilSettings(
    steps=16, batch_size=8, windows=1, warmup_steps=2, learning_rate=3e-3, language_weight=0.3, decay_share=0.5
)


def story(n: int) -> str:
    place, thing, other = PLACES[n % 10], THINGS[n // 10 % 10], THINGS[n * 7 % 10]
    return (
        f"In year {n} there was nothing but a {thing} to be seen at the old {place}. The {other} came later, some say. "
        f"Nobody at the {place} had ever seen a {other} before that morning! Mr. Hill sold {n} of them within one week."
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    documents = {"prose": [], "talk": []}
    turns = "Have you a {} number {}?\nYes, it is at the {}.\nThank you."
    for n in range(0, 300, 5):
        documents["prose"].append("\n".join(story(i) for i in range(n, n + 5)))
        exchanges = (turns.format(THINGS[i % 10], i, PLACES[i // 10 % 10]) for i in range(n, n + 5))
        documents["talk"].append("\n".join(exchanges))
    for name, texts in documents.items():
        (folder / f"{name}.txt").write_text("\n<|endoftext|>\n".join(texts))
    return folder


@pytest.fixture(scope="module")
def encoder(tokenizer, tmp_path_factory) -> str:
    """A folder laid out as sentence encoders are, with a teacher of 24 dimensions."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        pad_token_id=tokenizer.pad_token_id, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(sentences, "SHARD", 64)
    monkeypatch.setattr(sentences, "HELD_OUT_TEXTS", 20)


@pytest.fixture
def work(small_shards, corpus, encoder, tmp_path):
    write_texts(tmp_path / "work", str(corpus), 160)
    write_vectors(tmp_path / "work", encoder)
    return tmp_path / "work"


def learn(work, corpus, tiny, out, **changes):
    settings = replace(SETTINGS, start=tiny, **changes)
    distil.learn(work, str(corpus), out, settings)
    return json.loads((out / "pretraining.json").read_text())


# --- texts ------------------------------------------------------------------------------------------------------


def test_sentences_end_where_people_end_them_and_turns_at_the_line():
    prose = "A heading\n" + story(3)
    assert split_units([prose])[0][-1] == "Mr. Hill sold 3 of them within one week."
    assert len(split_units([prose])[0]) == 4
    assert split_units(["Hello.  Who is it?\n\nIt is me."]) == [["Hello. Who is it?", "It is me."]]


def test_texts_have_one_to_three_sentences_and_never_come_twice():
    documents = [story(n) for n in range(30)]
    texts, passes = sample_texts(documents, 120, "seed")
    assert len(texts) == len(set(texts)) == sum(passes) == 120
    assert len(passes) > 1  # one pass through 120 sentences cannot give as many texts
    whole = " ".join(documents)
    for text in texts:
        assert text in whole
        assert 1 <= text.replace("Mr.", "").count(".") + text.count("!") <= 3
        assert 4 <= len(text.split()) <= 70
    assert texts == sample_texts(documents, 120, "seed")[0]
    assert texts != sample_texts(documents, 120, "another")[0]


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch_size": 0}])
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} counts from 1 up"):
        replace(SETTINGS, **change)


@pytest.mark.parametrize("documents, count", [(["Yes.", "No.", "Yes.", "No."], 50), (None, 0)])
def test_a_corpus_that_gives_no_texts_is_refused(corpus, tmp_path, documents, count):
    if documents:
        corpus = tmp_path / "short"
        corpus.mkdir()
        (corpus / "talk.txt").write_text("\n<|endoftext|>\n".join(documents))
    with pytest.raises(ValueError, match="gives no texts"):
        write_texts(tmp_path / "work", str(corpus), count)
    assert not (tmp_path / "work").exists()


def test_a_source_that_runs_out_gives_what_it_has():
    texts, passes = sample_texts(["Only this one sentence is here."], 50, "seed")
    assert texts == ["Only this one sentence is here."]
    assert len(passes) == sentences.PASSES


def test_shards_follow_the_mix_and_hold_no_held_out_document(small_shards, corpus, tmp_path):
    facts = write_texts(tmp_path, str(corpus), 160, {"prose": 0.75, "talk": 0.25})
    assert (facts["texts"], facts["shards"], facts["shard_size"]) == (160, 3, 64)
    rows = [row for n in range(3) for row in zip(*read_shard(tmp_path, f"{n:05d}"), strict=True)]
    assert sum(source == "prose" for source, _ in rows) == 120
    held = [text for text in read_shard(tmp_path, HELD_OUT)[1] if " year " in text]
    years = {text.split(" year ")[1].split()[0] for _, text in rows if " year " in text}
    assert held
    assert not years & {text.split(" year ")[1].split()[0] for text in held}
    assert write_texts(tmp_path, str(corpus), 160, {"prose": 0.75, "talk": 0.25}) == facts
    with pytest.raises(ValueError, match="texts made with"):
        write_texts(tmp_path, str(corpus), 160)
    with pytest.raises(ValueError, match="names 'prosa'"):
        write_texts(tmp_path / "other", str(corpus), 160, {"prosa": 1.0})


# --- vectors ----------------------------------------------------------------------------------------------------


def test_vectors_are_the_mean_of_each_text_alone(work, encoder):
    model, tokenizer = AutoModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)
    texts, vectors = read_shard(work, "00001")[1], np.load(work / "vectors_00001.npy")
    assert vectors.dtype == np.float16
    assert vectors.shape == (64, 24)
    for row in (0, 31, 63):
        with torch.no_grad():
            state = model(**tokenizer(texts[row], return_tensors="pt")).last_hidden_state[0].mean(dim=0)
        expected = torch.nn.functional.normalize(state, dim=0)
        assert np.abs(vectors[row].astype(np.float32) - expected.numpy()).max() < 1e-3


def test_a_killed_teacher_goes_on_where_it_was(work, encoder, monkeypatch):
    before = np.load(work / "vectors_00002.npy")
    others = {path: path.stat().st_mtime_ns for path in work.glob("vectors_*.npy") if "00002" not in path.name}
    (work / "vectors_00002.npy").unlink()
    read = []
    monkeypatch.setattr(Teacher, "tokenize", lambda self, texts: read.append(texts) or self.tokenizer(texts).input_ids)
    write_vectors(work, encoder)
    assert read == [read_shard(work, "00002")[1]]
    assert np.array_equal(np.load(work / "vectors_00002.npy"), before)
    assert others == {path: path.stat().st_mtime_ns for path in others}
    with pytest.raises(ValueError, match="has vectors of"):
        write_vectors(work, "another-teacher")
    with pytest.raises(ValueError, match=r"has vectors of .* \(block None\)"):
        write_vectors(work, encoder, block=1)


def test_a_teacher_s_vectors_can_come_from_a_lower_block(encoder):
    ids = [[5, 6, 7]]
    first, second, last = (Teacher(encoder, block=block).embed(ids) for block in (1, 2, None))
    assert np.array_equal(second, last)
    assert not np.allclose(first, last, atol=0.05)


@pytest.mark.parametrize("block", [0, -1, 3])
def test_a_block_that_a_teacher_lacks_is_refused(encoder, block):
    with pytest.raises(ValueError, match="block is from 1 to 2"):
        Teacher(encoder, block=block)


def test_a_teacher_is_noted_before_its_first_vectors(small_shards, corpus, encoder, tmp_path, monkeypatch):
    """Or after a kill between the two, another teacher could go on with them."""
    write_texts(tmp_path, str(corpus), 160)

    def kill(*_):
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(teacher.np, "save", kill)
        write_vectors(tmp_path, encoder)
    with pytest.raises(ValueError, match="use another --work"):
        write_vectors(tmp_path, "another")


def test_a_decoder_can_teach_too(tiny, tmp_path):
    """Its padding goes to the right, whatever its tokenizer was saved with."""
    left = shutil.copytree(tiny, tmp_path / "left")
    AutoTokenizer.from_pretrained(tiny, padding_side="left").save_pretrained(left)
    together = Teacher(str(left)).embed([[5, 6, 7], [8, 9, 10, 11, 12, 13]])
    assert np.abs(together[0] - Teacher(tiny).embed([[5, 6, 7]])[0]).max() < 1e-3


def test_a_teacher_is_found_in_a_folder_a_package_or_on_the_hub(encoder, tmp_path, monkeypatch):
    package = tmp_path / "my_encoder"
    (package / "model" / "1_Pooling").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "config.json").write_text("{}")
    (package / "model" / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ValueError, match=r"No config\.json with weights"):
        find_teacher("my-encoder")
    (package / "model" / "model.safetensors").touch()
    assert find_teacher("my-encoder") == find_teacher(str(package)) == str(package / "model")
    assert teacher.read_pooling(str(package / "model")) == "cls"
    assert find_teacher(encoder) == encoder
    assert teacher.read_pooling(encoder) == "mean"
    assert find_teacher("owner/some-encoder") == "owner/some-encoder"
    found = package / "model" / "1_Pooling" / "config.json"
    monkeypatch.setattr(teacher, "cached_file", lambda name, file, **_: str(found) if "owner" in name else None)
    assert [teacher.read_pooling(name) for name in ("owner/some-encoder", "other")] == ["cls", "mean"]


def test_batches_of_the_teacher_have_all_rows_and_little_padding():
    lengths = list(np.random.default_rng(0).integers(3, 60, size=500))
    batches = teacher.batch_by_length(lengths, 256)
    assert sorted(i for rows in batches for i in rows) == list(range(500))
    padded = [len(rows) * max(lengths[i] for i in rows) for rows in batches]
    assert max(padded) <= 256
    assert sum(padded) < 1.05 * sum(lengths)


# --- the student ------------------------------------------------------------------------------------------------


@pytest.fixture
def student(tiny):
    return Student(load_language_model(tiny), 24, SETTINGS)


def test_a_vector_does_not_depend_on_the_texts_beside_it(student, tokenizer):
    rows = tokenizer(["A boat.", "The old harbour had never seen so many boats in one single morning."]).input_ids
    together = student(*pad_texts(rows, tokenizer, 128))[0]
    for i, row in enumerate(rows):
        torch.testing.assert_close(student(*pad_texts([row], tokenizer, 128))[0][0], together[i])
    last = Student(student.model, 24, replace(SETTINGS, pooling="last", block=1, hidden=16))
    together = last(*pad_texts(rows, tokenizer, 128))[0]
    torch.testing.assert_close(last(*pad_texts(rows[:1], tokenizer, 128))[0][0], together[0])


def test_the_mean_is_that_of_the_course_s_classifier(student, tokenizer):
    """Over the text's own tokens: no end of text, no padding."""
    ids = tokenizer("The boat came back to the harbour.").input_ids
    states = student.model.base_model(torch.tensor([ids])).last_hidden_state[0]
    expected = torch.nn.functional.normalize(student.projection(states.mean(dim=0)), dim=0)
    longer = tokenizer("The boat came back to the harbour, and then it went away again and again.").input_ids
    torch.testing.assert_close(student(*pad_texts([ids, longer], tokenizer, 128))[0][0], expected)


def test_each_place_predicts_the_next_token_and_the_end_unless_the_text_was_cut(tokenizer):
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    ids, targets = pad_texts([[5, 6], [7, 8, 9, 10]], tokenizer, context=3)
    assert ids.tolist() == [[5, 6, pad], [7, 8, 9]]
    assert targets.tolist() == [[6, end, -100], [8, 9, 10]]


def test_the_language_loss_is_that_of_transformers(student, tokenizer):
    ids = [*tokenizer("The boat came back to the harbour.").input_ids, tokenizer.eos_token_id]
    row = torch.tensor([ids])
    expected = student.model(input_ids=row, labels=row).loss
    _, loss, count = student(*pad_texts([ids[:-1]], tokenizer, 128))
    assert count == len(ids) - 1
    torch.testing.assert_close(loss, expected)


def test_losses_are_zero_for_the_teacher_s_own_vectors_and_blind_to_nothing_else():
    torch.manual_seed(0)
    wanted = torch.nn.functional.normalize(torch.randn(6, 5), dim=-1)
    other = torch.nn.functional.normalize(torch.randn(6, 5), dim=-1)
    assert cosine_loss(wanted, wanted).item() == pytest.approx(0, abs=1e-6)
    assert similarity_loss(wanted, wanted, 0.05).item() == pytest.approx(0, abs=1e-5)
    assert cosine_loss(-wanted, wanted).item() == pytest.approx(2)
    target = torch.softmax(wanted @ wanted.T / 0.05, dim=-1)  # cross-entropy minus entropy, by hand
    cross = -(target * torch.log_softmax(other @ wanted.T / 0.05, dim=-1)).sum(-1).mean()
    entropy = -(target * target.clamp_min(1e-12).log()).sum(-1).mean()
    assert similarity_loss(other, wanted, 0.05).item() == pytest.approx((cross - entropy).item(), rel=1e-4)


def test_batches_go_on_from_any_step_and_hold_every_text_once_a_pass(work, tokenizer):
    stream = read_batches(work, tokenizer, 8, 0, first=0)
    batches = [next(stream) for _ in range(30)]  # 20 make a pass
    seen = sorted(tuple(ids) for rows, _ in batches[:20] for ids in rows)
    texts = [text for n in range(3) for text in read_shard(work, f"{n:05d}")[1]]
    assert seen == sorted(map(tuple, tokenizer(texts).input_ids))
    taught = {}
    for n in range(3):
        ids = tokenizer(read_shard(work, f"{n:05d}")[1]).input_ids
        taught |= dict(zip(map(tuple, ids), np.load(work / f"vectors_{n:05d}.npy"), strict=True))
    for first in (7, 13, 24):
        rows, wanted = next(read_batches(work, tokenizer, 8, 0, first))
        assert rows == batches[first][0]
        assert torch.equal(wanted, batches[first][1])
        assert all(np.array_equal(taught[tuple(ids)], v) for ids, v in zip(rows, wanted.numpy(), strict=True))
    assert [rows for rows, _ in batches[20:28]] != [rows for rows, _ in batches[:8]]


# --- the run ----------------------------------------------------------------------------------------------------


def test_a_student_comes_closer_to_the_teacher_and_is_saved_as_the_first_stage_saves(work, corpus, tiny, tmp_path):
    facts = learn(work, corpus, tiny, tmp_path / "out", steps=60)
    curves = facts["loss_curves"]
    assert curves["cosine"][-1] < 0.6 * curves["cosine"][0]
    assert curves["language"][-1] < curves["language"][0] - 1
    assert facts["held_out_cosine"] > 0.5
    assert facts["teacher"]["size"] == 24
    assert facts["texts"]["texts"] == 160
    assert facts["settings"]["start"] == Path(tiny).name
    assert facts["bits_per_byte_overall"] == pytest.approx(
        sum(facts["bits_per_byte"][n] * facts["sources"][n]["held_out_bytes"] for n in facts["sources"])
        / sum(facts["sources"][n]["held_out_bytes"] for n in facts["sources"])
    )
    saved, start = load_file(tmp_path / "out" / "model.safetensors"), load_file(f"{tiny}/model.safetensors")
    assert {name: tensor.shape for name, tensor in saved.items()} == {name: t.shape for name, t in start.items()}
    assert all(tensor.dtype == torch.float16 for tensor in saved.values())
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.n_layer == 2
    assert AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 128


@pytest.mark.parametrize("bf16", [False, True])
def test_a_killed_run_ends_in_the_same_bits(work, corpus, tiny, tmp_path, monkeypatch, bf16):
    monkeypatch.setattr(distil, "SAVE_EVERY", 5)
    whole = learn(work, corpus, tiny, tmp_path / "whole", bf16=bf16)
    (work / "student.safetensors").unlink()
    step = distil.take_step

    def step_until_killed(student, optimizer, batch, rate):
        calls.append(rate)
        if len(calls) == 13:
            raise SystemExit("killed")
        return step(student, optimizer, batch, rate)

    calls = []
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(distil, "take_step", step_until_killed)
        learn(work, corpus, tiny, tmp_path / "broken", bf16=bf16)
    calls.clear()
    monkeypatch.setattr(distil, "take_step", lambda *given: calls.append(1) or step(*given))
    again = learn(work, corpus, tiny, tmp_path / "broken", bf16=bf16)
    assert len(calls) == SETTINGS.steps - 10  # from the checkpoint on; a run begun anew ends in the same bits
    assert again | {"seconds": 0} == whole | {"seconds": 0}
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_training_begins_before_the_teacher_ends(work, corpus, tiny, tmp_path):
    whole = learn(work, corpus, tiny, tmp_path / "whole")
    (work / "student.safetensors").unlink()
    later = work / "vectors_00001.npy"
    later.rename(tmp_path / "kept.npy")
    with pytest.raises(FileNotFoundError, match="has not read shard 00001 yet"):
        learn(work, corpus, tiny, tmp_path / "out")
    assert read_progress(work / "student.safetensors")["step"] == 8  # all batches of the shard that was there
    (tmp_path / "kept.npy").rename(later)
    again = learn(work, corpus, tiny, tmp_path / "out")
    assert again["loss_curves"] == whole["loss_curves"]
    assert again["tokens_seen"] == whole["tokens_seen"]


def test_other_settings_and_another_corpus_are_refused(work, corpus, tiny, tmp_path):
    learn(work, corpus, tiny, tmp_path / "out", steps=2)
    before = (work / "student.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"made with temperature=0\.05, not 0\.1"):
        learn(work, corpus, tiny, tmp_path / "out", steps=2, temperature=0.1)
    with pytest.raises(ValueError, match="mix names 'books'"):
        learn(work, corpus, tiny, tmp_path / "out", steps=2, mix={"books": 1.0})
    with pytest.raises(FileNotFoundError, match="run the stages"):
        learn(tmp_path / "empty", corpus, tiny, tmp_path / "out")
    with pytest.raises(ValueError, match="pooling is"):
        replace(SETTINGS, pooling="max")
    with pytest.raises(ValueError, match="block is from 1 to 2"):
        learn(work, corpus, tiny, tmp_path / "out", block=3)
    assert (work / "student.safetensors").read_bytes() == before


# --- the mean of two models ---------------------------------------------------------------------------------------


def test_an_average_lies_between_its_models_and_tells_its_scores(work, corpus, tiny, tmp_path):
    learn(work, corpus, tiny, tmp_path / "taught", steps=4, learning_rate=3e-2)
    models = (str(tmp_path / "taught"), tiny)
    distil.average(work, str(corpus), tmp_path / "mean", models, 0.25)
    taught, start, mean = (load_language_model(str(place)).state_dict() for place in (*models, tmp_path / "mean"))
    assert any((taught[name] - start[name]).abs().max() > 0.01 for name in start)
    for name, weight in mean.items():
        torch.testing.assert_close(weight, 0.75 * taught[name] + 0.25 * start[name], atol=1e-3, rtol=1e-3)
    facts = json.loads((tmp_path / "mean" / "pretraining.json").read_text())
    assert facts["averaged_with"] == {"model": Path(tiny).name, "share": 0.25}
    assert facts["continued_from"]["settings"]["start"] == Path(tiny).name  # a name: no path of the machine
    assert set(facts["bits_per_byte"]) == {"prose", "talk"}


def test_a_share_of_nothing_changes_nothing(work, corpus, tiny, tmp_path):
    learn(work, corpus, tiny, tmp_path / "taught", steps=4, learning_rate=3e-2)
    distil.average(work, str(corpus), tmp_path / "mean", (tiny, str(tmp_path / "taught")), 0.0)
    same, start = (load_language_model(place).state_dict() for place in (str(tmp_path / "mean"), tiny))
    for name, weight in start.items():
        torch.testing.assert_close(same[name], weight, atol=1e-3, rtol=1e-3)


def test_no_average_of_models_of_different_shapes(work, corpus, tiny, tmp_path):
    with pytest.raises(ValueError, match="different shapes: there is no mean"):
        distil.average(work, str(corpus), tmp_path / "mean", (tiny, "gpt2-mini"), 0.5)
    with pytest.raises(ValueError, match=r"from 0 to 1, not 1\.5"):
        distil.average(work, str(corpus), tmp_path / "mean", (tiny, tiny), 1.5)
    assert not (tmp_path / "mean").exists()


# --- from the command line ----------------------------------------------------------------------------------------


def test_the_command_runs_all_stages(small_shards, corpus, encoder, tiny, tmp_path, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["distil", *map(str, arguments), "--work", str(tmp_path / "work")])
        distil.main()

    call("texts", "--corpus", corpus, "--count", 100)
    call("teach", "--teacher", encoder)
    options = {"start": tiny, "steps": 3, "batch-size": 8, "windows": 0, "hidden": 8, "block": 1}
    call("learn", "--corpus", corpus, "--out", tmp_path / "out", *(f"--{k}={v}" for k, v in options.items()), "--bf16")
    facts = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    call("average", "--corpus", corpus, "--models", tmp_path / "out", tiny, "--share", 0.5, "--out", tmp_path / "mean")
    mean = json.loads((tmp_path / "mean" / "pretraining.json").read_text())
    assert mean["continued_from"] == facts
    assert facts["settings"] | {"steps": 3, "windows": 0, "hidden": 8, "block": 1, "bf16": True} == facts["settings"]
    with pytest.raises(SystemExit):
        call("texts", "--corpus", corpus, "--count", 101)
    assert "texts made with" in capsys.readouterr().err
