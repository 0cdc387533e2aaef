"""Decoders of other families than the course's two: small ones with random weights, through the same calls."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DogeConfig,
    Gemma2Config,
    GPTBigCodeConfig,
    GPTNeoConfig,
    GptOssConfig,
    MixtralConfig,
    Phi3Config,
    SmolLM3Config,
    Starcoder2Config,
)

from course_utils.architecture import add_lora, freeze_below, keep_blocks, set_dropout
from course_utils.evaluation import predict_logits
from course_utils.frozen import remember_states
from course_utils.history import FineTuneSettings
from course_utils.models import load_classifier, load_fine_tuned, load_language_model, save_classifier
from course_utils.speed import skip_unread_tokens
from course_utils.training import fine_tune

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
CONFIGS = {
    "Gemma 2": lambda **shared: Gemma2Config(**SIZES, head_dim=8, **shared),
    "Mixtral": lambda **shared: MixtralConfig(**SIZES, num_local_experts=2, **shared),
    "SmolLM3": lambda **shared: SmolLM3Config(**SIZES, **shared),
    "Starcoder2": lambda **shared: Starcoder2Config(
        **SIZES, residual_dropout=0.1, embedding_dropout=0.1, attention_dropout=0.1, **shared
    ),
    "GPT-Neo": lambda **shared: GPTNeoConfig(
        hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], bos_token_id=0,
        eos_token_id=0, max_position_embeddings=128, **shared,
    ),
    "Phi-3": lambda **shared: Phi3Config(**SIZES, **shared),
    "StarCoder": lambda **shared: GPTBigCodeConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128, bos_token_id=0,
        eos_token_id=0, **shared,
    ),
    "GPT-OSS": lambda **shared: GptOssConfig(
        **SIZES, head_dim=8, num_local_experts=2, num_experts_per_tok=1, **shared
    ),
    "Doge": lambda **shared: DogeConfig(**SIZES, **shared),
}  # fmt: skip


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request, tokenizer, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("other")
    torch.manual_seed(7)
    config = CONFIGS[request.param](vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def classifier(few, folder, **options):
    return load_classifier(few["train"].features["label"].names, folder, **options)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_it_is_fine_tuned(few, folder, pooling):
    settings = FineTuneSettings(learning_rate=1e-2, steps=12, validate_every=12)
    history = fine_tune(classifier(few, folder, pooling=pooling), few["train"], few["validation"], settings)
    assert history.ended == "finished" and history.loss[-1] < history.loss[0]


def test_it_takes_lora(few, folder):
    model = add_lora(classifier(few, folder))
    before = {name: p.clone() for name, p in model.named_parameters() if "lora_B" in name}
    fine_tune(model, few["train"], few["validation"], FineTuneSettings(learning_rate=1e-2, steps=2))
    after = dict(model.named_parameters())
    assert before and any((after[name] != old).any() for name, old in before.items())


def test_its_frozen_blocks_remember(few, folder):
    model, rows = freeze_below(classifier(few, folder, dropout=0.0), 1), few["validation"]["input_ids"][:6]
    plain = predict_logits(model, rows)
    with remember_states(model) as memory:
        for _ in range(2):
            torch.testing.assert_close(predict_logits(model, rows), plain)
    assert len(memory) == 6


def test_it_is_shortened_saved_and_loaded(few, folder, tokenizer, tmp_path):
    model, rows = keep_blocks(classifier(few, folder), 1), few["validation"]["input_ids"][:6]
    save_classifier(model, tokenizer, tmp_path)
    torch.testing.assert_close(predict_logits(load_fine_tuned(tmp_path)[0], rows), predict_logits(model, rows))


def test_its_dropout_is_set_and_taken_back(few, folder):
    ids = torch.tensor([few["train"][0]["input_ids"]])
    model = set_dropout(classifier(few, folder), 0.0).train()
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    set_dropout(model, 0.5)
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_its_last_block_may_skip_what_the_head_does_not_read(few, folder):
    model, ids = classifier(few, folder, pooling="last").eval(), torch.tensor([few["train"][0]["input_ids"]])
    with torch.no_grad():
        whole = model(input_ids=ids).logits
        with skip_unread_tokens(model, ids):
            torch.testing.assert_close(model(input_ids=ids).logits, whole)


def test_it_is_read_in_batches_as_alone(few, folder):
    model, rows = classifier(few, folder), few["validation"]["input_ids"][:6]
    torch.testing.assert_close(predict_logits(model, rows), torch.cat([predict_logits(model, [row]) for row in rows]))


def test_it_predicts_the_next_token_as_transformers_does(few, folder):
    ids = torch.tensor([few["train"][0]["input_ids"]])
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(load_language_model(folder)(ids).logits, plain(ids).logits, atol=1e-4, rtol=1e-4)


def test_its_dropout_is_set_wherever_its_config_has_one(few, folder):
    ids = torch.tensor([few["train"][0]["input_ids"]])
    settings = classifier(few, folder, dropout=0.3).config.to_dict()
    numbers = {name: p for name, p in settings.items() if isinstance(p, float)}
    places = {name: p for name, p in numbers.items() if "dropout" in name or "pdrop" in name}
    places.pop("classifier_dropout", None)  # GPT-Neo's, of a head that the course does not use
    assert places and set(places.values()) == {0.3}
    for dropout, is_same in ((0.0, True), (0.3, False)):
        model = classifier(few, folder, dropout=dropout).train()
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits) is is_same
