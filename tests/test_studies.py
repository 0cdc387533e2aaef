"""Measurements over seeds: resumable, the same recipe for all, made by the function that learners call."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from course_utils import contestants as c
from course_utils import studies as s
from course_utils.architecture import body_parts, freeze_below, frozen_blocks, keep_blocks
from course_utils.data import take_per_label, tokenize
from course_utils.devices import pick_device
from course_utils.evaluation import evaluate
from course_utils.frozen import start_head
from course_utils.history import Diverged, FineTuneSettings, History
from course_utils.models import load_classifier
from course_utils.pipeline import make_loader
from course_utils.training import fine_tune


@pytest.fixture(scope="module")
def small(splits):
    few = {name: take_per_label(table, 3) for name, table in splits.items()}
    return {name: table[table["label"].isin(["delivery", "billing"])] for name, table in few.items()}


@pytest.fixture(scope="module")
def deep(chatty, tmp_path_factory) -> str:
    """The folder of a tiny GPT-2 with more blocks than the embedded one has: eight."""
    folder = tmp_path_factory.mktemp("deep")
    torch.manual_seed(7)
    config = GPT2Config(
        vocab_size=len(chatty), n_positions=1024, hidden_size=16, n_layer=8, n_head=2, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, pad_token_id=chatty.pad_token_id, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    chatty.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def two_classes(small, tokenizer):
    return tokenize(small, tokenizer)["train"]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(c, "STEPS", 5)
    monkeypatch.setitem(c.NETWORKS, "pre-trained", c.Recipe(rates=(1e-3, 1e-2)))
    return s.Study(("majority class", "TF-IDF", "pre-trained"), (2,), 2)


# --- recipes ------------------------------------------------------------------------------------------------------


def trainable(network) -> list[str]:
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def test_recipes_do_what_their_names_say(deep, small, two_classes):
    def build(name):
        return c.build_network(c.NETWORKS[name], two_classes, 0, deep, tuple(small["train"]["text"]))

    plain = build("pre-trained")
    assert len(trainable(plain)) == len(list(plain.parameters()))
    assert plain.config.pooling == "mean" and build("last token").config.pooling == "last"
    assert build("dropout 0.3").config.resid_pdrop == 0.3
    assert {name.split(".")[-2] for name in trainable(build("LoRA")) if "lora" not in name} == {"default"}  # the head
    blocks = len(body_parts(plain).blocks)
    assert len(body_parts(build("mean block")).blocks) == blocks + 1
    layer = build("frozen body, task layer")
    assert {name.split(".")[0] for name in trainable(layer)} == {"score"} and layer.score[0].out_features == 64
    for name in ("random weights", "adapted"):
        for own, other in zip(body_parts(build(name)).embeddings, body_parts(plain).embeddings, strict=True):
            assert not torch.equal(own.weight, other.weight), name


@pytest.mark.parametrize(
    "name, schedule, warmup_share, patience, validations",
    [
        ("constant rate", "constant", 0.0, None, 4), ("falling", "linear", 0.0, None, 4),
        ("warm-up, then falling", "linear", 0.1, None, 4), ("patience 2", "linear", 0.1, 2, 12),
        ("to the end", "linear", 0.1, None, 12),
    ],
)  # fmt: skip
def test_a_recipes_schedule_and_patience_reach_its_training(name, schedule, warmup_share, patience, validations):
    settings = c.recipe_settings(c.NETWORKS[name], 128, 8, 1e-3, 0)
    assert (settings.schedule, settings.warmup_share, settings.patience) == (schedule, warmup_share, patience)
    assert settings.steps / settings.validate_every == validations


def test_a_frozen_body_is_frozen_at_any_depth(deep, any_tiny, two_classes):
    for model in (deep, any_tiny):
        assert trainable(c.build_network(c.NETWORKS["frozen body"], two_classes, 0, model)) == ["score.weight"]


def test_three_blocks_frozen_are_three_and_too_few_blocks_are_refused(deep, tiny, two_classes):
    recipe = c.NETWORKS["3 blocks frozen"]
    blocks = body_parts(c.build_network(recipe, two_classes, 0, deep)).blocks
    assert [any(p.requires_grad for p in block.parameters()) for block in blocks] == [False] * 3 + [True] * 5
    with pytest.raises(ValueError, match="2 blocks"):  # not three blocks frozen in name only
        c.build_network(recipe, two_classes, 0, tiny)


@pytest.mark.parametrize(
    "rows, classes, steps", [(64, 8, 60), (256, 8, 60), (257, 8, 160), (1600, 8, 300), (65, 2, 160), (1630, 8, 306)]
)
def test_few_labels_get_a_fixed_number_of_steps_and_many_at_least_three_epochs(rows, classes, steps):
    settings = c.recipe_settings(c.Recipe(), rows, classes, 1e-3, 0)
    assert settings.steps == c.count_steps(rows, classes) == steps
    validations = {*range(settings.validate_every, steps, settings.validate_every), steps}
    assert len(validations) == 4


def test_a_longer_recipe_takes_more_steps_and_is_still_validated_four_times():
    settings = c.recipe_settings(c.Recipe(longer=2), 64, 8, 1e-3, 0)
    assert (settings.steps, settings.validate_every) == (120, 30)


def test_a_recipes_settings_reach_the_training(few):
    recipe = c.Recipe(weight_decay=0.3, label_smoothing=0.2, layer_decay=0.7)
    settings = c.recipe_settings(recipe, 64, 8, 2e-3, 4)
    assert (settings.weight_decay, settings.label_smoothing, settings.layer_decay) == (0.3, 0.2, 0.7)
    assert (settings.learning_rate, settings.seed, settings.patience) == (2e-3, 4, None)
    loader = make_loader(few["train"], settings.batch_size, 0)
    assert next(iter(loader))["labels"].shape == (8,) and settings.accumulate == 2


def test_a_probe_gives_the_head_its_first_weights_and_trains_what_the_recipe_says(deep, two_classes):
    recipes = [c.NETWORKS["probe, then top half"], c.NETWORKS["probe, then LoRA"]]
    recipes.append(replace(recipes[0], freeze=0))
    half, lora, everything = (c.build_network(recipe, two_classes, 0, deep) for recipe in recipes)
    assert len(body_parts(half).blocks) == 6  # four fifths of eight
    assert len(frozen_blocks(half)) == len(frozen_blocks(lora)) == 3 and not frozen_blocks(everything)
    plain = load_classifier(["billing", "delivery"], deep, dropout=0, pooling="mean")
    start = start_head(freeze_below(keep_blocks(plain, 6), 3), two_classes)
    for network in (half, everything, lora):
        assert torch.allclose(body_parts(network).head.weight, start.score.weight, atol=1e-5)
    assert {name.split(".layers.")[-1].split(".h.")[-1][0] for name in trainable(lora) if "lora" in name} == set("345")


def test_networks_share_what_their_frozen_blocks_computed_only_if_those_are_as_loaded(deep, two_classes):
    def memory(recipe):
        network = c.build_network(recipe, two_classes, 0, deep)
        with c.remember_frozen(recipe, network, deep) as memory:
            return memory

    half, lora = (c.NETWORKS[f"probe, then {rest}"] for rest in ("top half", "LoRA"))
    assert memory(half) is memory(lora) and len(memory(half)) == len(two_classes)
    assert memory(replace(half, random_weights=True)) is None and memory(replace(half, dropout=0.1, freeze=0)) is None


def test_a_prompt_is_asked_once_and_its_examples_are_the_training_texts(small, tokenizer, tiny, monkeypatch):
    asked = []

    def note(model, tokenizer, texts, labels, examples, chat):
        asked.append((texts, labels, examples, chat))
        return torch.eye(2)[[0] * len(texts)].numpy()

    monkeypatch.setattr(c, "prompt_probabilities", note)
    c.prompt.cache_clear()
    tokenized = tokenize(small, tokenizer)
    assert c.measure_contestant("zero-shot", tokenized, 0, tiny) == c.measure_contestant(
        "zero-shot", tokenized, 1, tiny
    )
    result = c.measure_contestant("few-shot", tokenized, 0, tiny)
    assert c.measure_contestant("few-shot, as a chat", tokenized, 0, tiny) == result
    (texts, labels, none, _), (_, _, examples, plain), (_, _, same, chat) = asked
    assert same == examples and chat and not plain
    assert texts == tuple(tokenized["test"]["text"]) and labels == ("billing", "delivery") and none == ()
    assert sorted(examples) == sorted(small["train"][["text", "label"]].itertuples(index=False, name=None))
    assert result["accuracy"] == sum(small["test"]["label"] == "billing") / len(small["test"])
    c.prompt.cache_clear()


# --- one contestant -----------------------------------------------------------------------------------------------


def test_every_contestant_of_every_study_can_be_built_and_trained(small, tokenizer, deep, monkeypatch):
    monkeypatch.setattr(c, "STEPS", 2)
    texts = small["train"]["text"].tolist()
    names = {name for study in s.STUDIES.values() for name in study.contestants}
    assert names | {"sentence encoder"} == {*c.BASELINES, *c.UNTRAINED, *c.NETWORKS, *c.TAUGHT}
    for name in sorted(names):
        if name in c.NETWORKS and c.NETWORKS[name].rates:
            monkeypatch.setitem(c.NETWORKS, name, replace(c.NETWORKS[name], rates=(1e-3,)))
        if name not in c.TAUGHT:  # see below
            result = c.measure_contestant(name, tokenize(small, tokenizer), 0, deep, texts)
            assert 0 <= result["macro_f1"] <= 1, name


def test_a_network_without_rates_is_scored_as_it_begins(small, tokenizer, deep, monkeypatch):
    tokenized, recipe = tokenize(small, tokenizer), c.NETWORKS["probe alone"]
    network = c.build_network(recipe, tokenized["train"], 0, deep)
    expected = c.evaluate(network, tokenized["test"])
    monkeypatch.setattr(c, "fine_tune", None)
    result = c.measure_contestant("probe alone", tokenized, 0, deep)
    assert result == {"macro_f1": expected.macro_f1, "accuracy": expected.accuracy}
    trained = c.build_network(c.NETWORKS["probe, then top half"], tokenized["train"], 0, deep)
    torch.testing.assert_close(trained.score.weight, network.score.weight)  # where the others begin


def test_a_teacher_without_a_text_to_label_says_so(small, tokenizer, deep):
    with pytest.raises(ValueError, match="nothing to teach"):
        c.let_label(tokenize(small, tokenizer), small["train"]["text"], deep)


def test_a_teacher_labels_only_the_texts_that_have_no_label(small, splits, tokenizer, deep, monkeypatch):
    """The student gets every text once, the known ones with their own labels; validation and test stay as they are."""
    few = {**small, "train": small["train"].groupby("label").head(2)}
    tokenized, extra = tokenize(few, tokenizer), ["Where is my parcel?", "I was charged twice."]
    taught = c.let_label(tokenized, [*few["train"]["text"], *extra], deep)
    train = taught["train"].to_pandas()
    assert sorted(train["text"]) == sorted([*few["train"]["text"], *extra])
    names = taught["train"].features["label"].names
    own = dict(few["train"][["text", "label"]].itertuples(index=False, name=None))
    assert all(
        names[label] == own[text] for text, label in zip(train["text"], train["label"], strict=True) if text in own
    )
    reader = c.read_states(deep, tuple(names))
    teacher = c.frozen_classifier(reader).fit(list(tokenized["train"]["text"]), tokenized["train"]["label"])
    answers = dict(zip(extra, teacher.predict(extra), strict=True))
    assert all(
        answers[text] == label for text, label in zip(train["text"], train["label"], strict=True) if text in answers
    )
    for name in ("validation", "test"):
        assert list(taught[name]["label"]) == list(tokenized[name]["label"])

    monkeypatch.setattr(c, "STUDENT", deep)
    monkeypatch.setattr(c, "MORE_STEPS", 2)
    monkeypatch.setattr(c, "STEPS", 2)
    network, words = c.TAUGHT
    assert c.measure_contestant(network, tokenized, 0, deep, extra)["rate"] == c.NETWORKS["plain"].rates[0]
    counted = c.evaluate_baseline(c.tfidf_baseline(), taught["train"], taught["test"])
    assert c.measure_contestant(words, tokenized, 0, deep, extra) == {
        "macro_f1": counted.macro_f1,
        "accuracy": counted.accuracy,
    }


def test_a_llama_is_measured_like_a_gpt2(small, tokenizer, tiny_llama, monkeypatch):
    monkeypatch.setattr(c, "STEPS", 2)
    texts = small["train"]["text"].tolist()
    for name in ("adapted", "LoRA", "3 blocks frozen", "lower rates below", "last token"):
        monkeypatch.setitem(c.NETWORKS, name, replace(c.NETWORKS[name], rates=(1e-3,)))
        result = c.measure_contestant(name, tokenize(small, tokenizer), 0, tiny_llama, texts)
        assert 0 <= result["macro_f1"] <= 1, name


def test_a_measurement_is_the_fine_tuning_that_learners_call(small, tokenizer, tiny, monkeypatch):
    """Fine-tune by hand what the recipe says: the same scores, to the last digit."""
    monkeypatch.setattr(c, "STEPS", 6)
    monkeypatch.setitem(c.NETWORKS, "pre-trained", c.Recipe(rates=(3e-3,)))
    tokenized = tokenize(small, tokenizer)
    measured = c.measure_contestant("pre-trained", tokenized, 1, tiny)
    network = load_classifier(["billing", "delivery"], tiny, dropout=0.0, seed=1, pooling="mean").to(pick_device())
    settings = FineTuneSettings(3e-3, steps=6, validate_every=2, batch_size=8, accumulate=2, patience=None, seed=1)
    history = fine_tune(network, tokenized["train"], tokenized["validation"], settings)
    assert [row["step"] for row in measured["curve"]] == [2, 4, 6]
    assert [row["validation_loss"] for row in measured["curve"]] == [
        round(row["validation_loss"], 4) for row in history.validations
    ]
    assert measured["validation"] == history.best["macro_f1"]
    assert measured["macro_f1"] == evaluate(network, tokenized["test"]).macro_f1


class Score:
    macro_f1 = accuracy = 0.5


def pretend_to_train(monkeypatch, scores: dict[float, list[float]], diverging: tuple[float, ...] = ()) -> None:
    """Put in place of fine-tuning the validation scores of each rate; those of `diverging` raise after the last."""

    def fine_tune(network, train, validation, settings):
        history = History()
        for step, score in enumerate(scores[settings.learning_rate], 1):
            row = dict.fromkeys(("train_loss", "validation_loss"), 0)
            history.validations.append(row | {"step": step, "macro_f1": score})
        if history.validations:
            history.best_step = max(history.validations, key=lambda row: row["macro_f1"])["step"]
        if settings.learning_rate in diverging:
            raise Diverged(float("nan"), settings.learning_rate, history)
        return history

    monkeypatch.setattr(c, "build_network", lambda *_: torch.nn.Module())
    monkeypatch.setattr(c, "remember_frozen", lambda *_: nullcontext())
    monkeypatch.setattr(c, "fine_tune", fine_tune)
    monkeypatch.setattr(c, "evaluate", lambda *_: Score)
    monkeypatch.setitem(c.NETWORKS, "pre-trained", c.Recipe(rates=tuple(scores)))


def test_the_rate_is_chosen_on_validation_never_on_test(monkeypatch, small, tokenizer):
    """All rates have the same test score, so that only validation can tell them apart."""
    pretend_to_train(monkeypatch, {1.0: [0.1, 0.3, 0.4], 2.0: [0.1, 0.9, 0.2], 3.0: [0.8, 0.8, 0.8]})
    result = c.measure_contestant("pre-trained", tokenize(small, tokenizer), seed=0)
    assert (result["rate"], result["validation"]) == (2.0, 0.9)  # neither the first of equal test scores nor the last
    assert [row["macro_f1"] for row in result["curve"]] == [0.1, 0.9, 0.2]


@pytest.mark.parametrize(
    "scores, rate, best", [({1.0: [0.3], 2.0: []}, 1.0, 0.3), ({1.0: [0.3], 2.0: [0.4]}, 2.0, 0.4)]
)
def test_a_diverged_rate_counts_as_far_as_it_came(scores, rate, best, monkeypatch, small, tokenizer):
    pretend_to_train(monkeypatch, scores, diverging=(2.0,))
    result = c.measure_contestant("pre-trained", tokenize(small, tokenizer), seed=0)
    assert (result["rate"], result["validation"]) == (rate, best)


def test_where_every_rate_diverges_at_once_the_untrained_network_is_scored(small, tokenizer, tiny, monkeypatch):
    monkeypatch.setattr(c, "STEPS", 8)
    monkeypatch.setitem(c.NETWORKS, "pre-trained", c.Recipe(rates=(1e30,)))
    result = c.measure_contestant("pre-trained", tokenize(small, tokenizer), 0, tiny)
    assert (result["validation"], result["curve"]) == (0.0, [])
    assert 0 <= result["macro_f1"] <= 1


def test_a_crash_is_no_low_score(small, tokenizer, tiny, monkeypatch):
    monkeypatch.setattr(c, "fine_tune", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        c.measure_contestant("pre-trained", tokenize(small, tokenizer), 0, tiny)


# --- a study ------------------------------------------------------------------------------------------------------


def list_measured(results: dict) -> list[tuple]:
    return [(run["contestant"], run["labels"], run["seed"]) for run in results["runs"]]


def test_a_stopped_study_goes_on_with_what_is_missing(small, study, tiny, tmp_path, monkeypatch):
    out = tmp_path / "results.json"
    made = []

    def count(name, *rest):
        made.append(name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return measure(name, *rest)

    measure = c.measure_contestant
    monkeypatch.setattr(s, "measure_contestant", count)
    with pytest.raises(KeyboardInterrupt):
        s.run_study(study, small, out, model=tiny)
    assert len(json.loads(out.read_text())["runs"]) == 2
    results = s.run_study(study, small, out, model=tiny)
    assert made == ["majority class", "TF-IDF", "pre-trained", "pre-trained", *study.contestants]
    assert list_measured(results) == [(name, 2, seed) for seed in (0, 1) for name in study.contestants]
    assert all(0 <= run["macro_f1"] <= 1 for run in results["runs"])
    assert results == json.loads(out.read_text())
    assert results["settings"]["rows"]["test"] == 6
    assert results["settings"]["recipes"]["pre-trained"]["pooling"] == "mean"


def test_every_network_tries_all_rates_of_its_recipe_with_every_seed_and_size(monkeypatch, small, tiny, tmp_path):
    tried = []

    def note(model, train, validation, settings):
        tried.append((len(train), settings.seed, settings.learning_rate))
        return fine_tune(model, train, validation, settings)

    fine_tune = c.fine_tune
    monkeypatch.setattr(c, "STEPS", 4)
    monkeypatch.setattr(c, "MORE_STEPS", 4)
    monkeypatch.setattr(c, "EPOCHS", 1)
    monkeypatch.setattr(c, "fine_tune", note)
    monkeypatch.setitem(c.NETWORKS, "pre-trained", c.Recipe(rates=(1e-4, 1e-3, 1e-2)))
    study = s.Study(("pre-trained", "TF-IDF"), (2, None), seeds=2)
    results = s.run_study(study, small, tmp_path / "o.json", model=tiny)
    rows = (4, len(small["train"]))
    assert sorted(tried) == sorted((n, seed, rate) for n in rows for seed in (0, 1) for rate in (1e-4, 1e-3, 1e-2))
    assert all(("rate" in run) == (run["contestant"] == "pre-trained") for run in results["runs"])
    assert list_measured(results) == list(s.list_jobs(study))


def test_what_is_named_twice_is_measured_once(small, tiny, tmp_path):
    study = s.Study(("majority class", "majority class"), (2,), 2)
    runs = s.run_study(study, small, tmp_path / "out.json", sizes=(2, 2), model=tiny)["runs"]
    assert [(run["contestant"], run["labels"], run["seed"]) for run in runs] == [
        ("majority class", 2, 0), ("majority class", 2, 1),
    ]  # fmt: skip


def test_a_slow_contestant_is_measured_with_its_own_sizes_only_unless_others_are_asked_for():
    study = s.Study(("quick", "slow"), (8, 16, None), seeds=1, only={"slow": (16,)})
    assert list(s.list_jobs(study)) == [("quick", 8, 0), ("quick", 16, 0), ("slow", 16, 0), ("quick", None, 0)]
    assert list(s.list_jobs(study, sizes=[None])) == [("quick", None, 0), ("slow", None, 0)]


def test_few_labels_are_validated_on_few_rows_and_all_labels_on_all(monkeypatch, small):
    monkeypatch.setattr(s, "VALIDATION_ROWS", 3)
    few, everything = s.draw_few(small, 2, 0), s.draw_few(small, None, 0)
    assert len(few["train"]) == 4 and len(few["validation"]) == 3
    assert all(everything[name].equals(small[name]) for name in ("train", "validation", "test"))
    assert len(small["validation"]) > 3
