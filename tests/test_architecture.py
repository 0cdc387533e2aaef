"""Lesson 2: parts, head, freezing, LoRA and dropout, each on a GPT-2 and on a Llama."""

import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    EuroBertConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
)

import course_utils
from course_utils.architecture import (
    add_lora,
    body_parts,
    check_layout,
    context_length,
    count_parameters,
    freeze_below,
    freeze_body,
    layers_from_top,
    match_vocabulary,
    parameter_table,
    prepare_config,
    replace_head,
    set_dropout,
)
from course_utils.heads import classifier_class
from course_utils.models import load_classifier, load_language_model, load_tokenizer

LABELS = ["cat", "dog", "eel"]
POOLINGS = ["last", "mean"]
TEXT = [17, 400, 33, 90]


@torch.no_grad()
def logits_of(model, rows):
    return model.eval()(input_ids=torch.as_tensor(rows)).logits


def learning(model) -> set[int]:
    return {id(p) for p in model.parameters() if p.requires_grad}


def of(*modules) -> set[int]:
    return {id(p) for module in modules for p in module.parameters()}


def small(kind, **options):
    """The config of a model of any Llama-type kind, small enough to build in a blink."""
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    return kind(**sizes, num_attention_heads=2, num_key_value_heads=1, pad_token_id=1, **options)


# --- where the parts are ----------------------------------------------------------------------------------------


def test_the_parts_together_are_the_whole_model(any_tiny):
    model = load_classifier(LABELS, any_tiny)
    parts = body_parts(model)
    assert len(parts.blocks) == model.config.num_hidden_layers
    assert parts.head is model.score
    assert parts.embeddings[0] is model.get_input_embeddings()
    assert of(*parts.embeddings, parts.blocks, parts.norm, parts.head) == of(model)


def test_the_parts_are_found_in_every_wrapping(any_tiny):
    language_model, lora = load_language_model(any_tiny), add_lora(load_classifier(LABELS, any_tiny))
    assert body_parts(language_model).head is language_model.lm_head
    bare = body_parts(language_model.base_model)
    assert bare.head is None
    assert bare.blocks is body_parts(language_model).blocks
    assert body_parts(lora).blocks is body_parts(lora.get_base_model()).blocks


@pytest.mark.parametrize("wrap", [lambda name: load_classifier(LABELS, name), load_language_model])
def test_layers_from_top_go_from_the_head_to_the_embeddings_and_miss_nothing(any_tiny, wrap):
    model = wrap(any_tiny)
    layers, parts = layers_from_top(model), body_parts(model)
    assert layers[0][-1] is parts.norm
    assert [layer[0] for layer in layers[1:-1]] == list(parts.blocks)[::-1]
    assert layers[-1] == parts.embeddings
    listed = [id(p) for layer in layers for module in layer for p in module.parameters()]
    assert len(listed) == len(set(listed))
    assert set(listed) == of(model)


def test_the_context_is_what_the_model_was_built_for(any_tiny):
    assert context_length(load_language_model(any_tiny)) == 128
    assert context_length(add_lora(load_classifier(LABELS, any_tiny))) == 128


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config, MistralConfig])
def test_other_decoders_of_llamas_layout_are_known(kind):
    check_layout(small(kind))


@pytest.mark.parametrize("config", [BertConfig(), OPTConfig(), small(EuroBertConfig)])
def test_encoders_and_other_layouts_are_refused_in_one_sentence(config):
    """EuroBERT names its parts as Llama does; what gives it away is attention to the right."""
    with pytest.raises(ValueError, match=r"is not a decoder laid out like GPT-2 or Llama: choose") as error:
        check_layout(config)
    assert "\n" not in str(error.value)


def test_freezing_an_encoder_is_refused_too():
    with pytest.raises(ValueError, match="BertModel is not a decoder"):
        freeze_below(BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)), 0)


# --- head and dropout -------------------------------------------------------------------------------------------


def test_a_task_layer_stands_between_body_and_output_units(any_tiny):
    model = replace_head(load_classifier(LABELS, any_tiny), hidden=48)
    assert logits_of(model, [TEXT]).shape == (1, 3)
    assert count_parameters(model.score)[1] == 32 * 48 + 48 + 48 * 3


def dropouts_of(model) -> set[float]:
    modules = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    numbers = {m.attention_dropout for m in model.modules() if hasattr(m, "attention_dropout")}
    return modules | numbers


def drops(model) -> bool:
    """Whether two passes over one batch differ: the only proof that dropout acts."""
    ids = torch.tensor([TEXT * 8])
    return not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_dropout_acts_on_a_loaded_body_in_training_only(any_tiny, pooling):
    """A config that says 0.25 is not enough: the loaded modules themselves must drop."""
    plain, dropping = (load_classifier(LABELS, any_tiny, dropout=p, pooling=pooling) for p in (None, 0.25))
    assert (dropouts_of(plain), dropouts_of(dropping)) == ({0.0}, {0.25})
    assert not drops(plain)
    assert drops(dropping)
    assert not drops(dropping.eval())


def test_dropout_is_set_everywhere_and_can_be_taken_back(any_tiny):
    model = set_dropout(replace_head(load_classifier(LABELS, any_tiny), 16), 0.3)
    assert dropouts_of(model) == {0.3}
    assert drops(model)
    assert model.config.head_dropout == 0.3
    assert not drops(set_dropout(model, 0.0))


def test_dropout_is_set_inside_a_lora_model(any_tiny):
    model = set_dropout(add_lora(load_classifier(LABELS, any_tiny), dropout=0.1), 0.2)
    assert dropouts_of(model) == {0.2}
    assert drops(model.train())


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_what_is_no_probability_is_refused(any_tiny, probability):
    with pytest.raises(ValueError, match=r"probability from 0 to below 1, got"):
        set_dropout(load_language_model(any_tiny), probability)
    with pytest.raises(ValueError, match=r"probability from 0 to below 1, got"):
        load_classifier(LABELS, any_tiny, dropout=probability)


# --- freezing ---------------------------------------------------------------------------------------------------


def test_freeze_below_freezes_exactly_what_it_says(any_tiny):
    model = load_classifier(LABELS, any_tiny)
    parts = body_parts(model)
    everything = of(model)
    for blocks in range(len(parts.blocks) + 1):
        freeze_below(model, blocks)
        frozen = of(*parts.embeddings, *parts.blocks[:blocks]) if blocks else set()
        if blocks == len(parts.blocks):
            frozen |= of(parts.norm)
        assert everything - learning(model) == frozen
    assert learning(model) == of(model.score)


@pytest.mark.parametrize("depth", [1, 6, 8])
def test_a_frozen_body_is_frozen_at_any_depth(depth):
    config = GPT2Config(vocab_size=50, n_positions=8, n_embd=8, n_layer=depth, n_head=2, num_labels=2, pad_token_id=1)
    model = freeze_body(classifier_class(config)(config))
    assert learning(model) == of(model.score)


@pytest.mark.parametrize("blocks", [-1, 7])
def test_freezing_blocks_that_are_not_there_is_refused(blocks):
    with pytest.raises(ValueError, match=rf"between 0 and 6 can be frozen, not {blocks}"):
        freeze_below(load_classifier(LABELS), blocks)


# --- LoRA -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", POOLINGS)
def test_lora_starts_as_the_model_it_adapts_and_trains_its_matrices_and_the_head_only(any_tiny, pooling):
    plain = logits_of(load_classifier(LABELS, any_tiny, pooling=pooling), [TEXT])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = add_lora(load_classifier(LABELS, any_tiny, pooling=pooling), rank=4)
    torch.testing.assert_close(logits_of(model, [TEXT]), plain)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    blocks = body_parts(model).blocks
    assert all("lora_" in name or "score" in name for name in names)
    assert all(any("lora_" in name for name, _ in block.named_parameters()) for block in blocks)
    model(input_ids=torch.tensor([TEXT]), labels=torch.tensor([0])).loss.backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(names)


def test_lora_adds_the_count_that_lesson_2_computes_by_hand():
    assert count_parameters(add_lora(load_classifier(LABELS), rank=4))[0] == 6 * 4 * (256 + 768) + 3 * 256


# --- configs and vocabularies -----------------------------------------------------------------------------------


def test_a_config_is_prepared_for_fine_tuning():
    config = prepare_config(GPT2Config(), dropout=0.2)
    assert (config.use_cache, config.activation_function) == (False, "gelu_pytorch_tanh")
    assert config.embd_pdrop == config.attn_pdrop == config.resid_pdrop == 0.2
    assert prepare_config(LlamaConfig(), dropout=0.2).attention_dropout == 0.2
    assert prepare_config(GPT2Config()).embd_pdrop == GPT2Config().embd_pdrop


@torch.no_grad()
def model_with_logits_far_below_zero(kind):
    """Real GPT-2's logits lie far below zero: a random new row, near zero, would win every prediction."""
    torch.manual_seed(0)
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=1, n_head=2))
        model.transformer.ln_f.bias.fill_(5.0)
        model.transformer.wte.weight.sub_(1.0)
    else:
        model = LlamaForCausalLM(small(LlamaConfig, tie_word_embeddings=kind == "tied llama"))
        model.model.norm.weight.fill_(-3.0)
        model.model.embed_tokens.weight.add_(1.0)
        if kind == "untied llama":
            model.lm_head.weight.add_(1.0)
    return model


@pytest.mark.parametrize("kind", ["gpt2", "tied llama", "untied llama"])
def test_new_tokens_take_no_probability_from_the_others(kind, tokenizer):
    model = model_with_logits_far_below_zero(kind)
    known = model.config.vocab_size
    before = logits_of(model, [[1, 2, 3]])[0, -1]
    assert before.max() < -5
    logits = logits_of(match_vocabulary(model, tokenizer), [[1, 2, 3]])[0, -1]
    assert logits.shape == (len(tokenizer),)
    assert logits.softmax(-1)[known:].max() <= 1.01 / known
    torch.testing.assert_close(logits[known:], before.mean().expand(len(tokenizer) - known), rtol=1e-3, atol=1e-3)
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_a_vocabulary_that_matches_is_left_alone(any_tiny):
    model, raw = load_language_model(any_tiny), AutoModel.from_pretrained(any_tiny)
    assert torch.equal(model.get_input_embeddings().weight, raw.get_input_embeddings().weight)
    assert len(load_tokenizer(any_tiny)) == raw.config.vocab_size


# --- counting ---------------------------------------------------------------------------------------------------


def test_tied_weights_count_once():
    model = load_language_model()
    assert model.lm_head.weight is model.transformer.wte.weight
    assert count_parameters(model)[1] == parameter_table(model)["parameters"].sum()


def test_the_table_lists_each_parameter_with_its_shape(any_tiny):
    model = freeze_body(load_classifier(LABELS, any_tiny))
    table = parameter_table(model).set_index("name")
    assert table.loc["score.weight"].tolist() == [(3, 32), 96, True]
    assert (table.loc[table["trainable"], "parameters"].sum(), table["parameters"].sum()) == count_parameters(model)


def test_no_other_module_names_a_part_of_gpt2():
    """Only `architecture` may, and `pretrain`, which builds the embedded GPT."""
    package = Path(course_utils.__file__).parent
    part = re.compile(r"n_embd|c_attn|\.transformer\b|wte|wpe|ln_f")
    files = {str(path.relative_to(package)): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    named = {name for name, text in files.items() if part.search(text)}
    assert {name for name in named if not name.startswith("pretrain")} == {"architecture.py"}
