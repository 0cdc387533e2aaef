"""What makes training faster changes nothing but rounding, and only where it is asked for."""

import copy

import pytest
import torch
from torch.nn import functional as F

from course_utils import speed, training
from course_utils.architecture import add_lora, body_parts, freeze_body
from course_utils.history import FineTuneSettings
from course_utils.models import load_classifier, load_fine_tuned, load_tokenizer, save_classifier
from course_utils.speed import ATTENTION, attend


@pytest.fixture
def model(any_tiny):
    return load_classifier(["a", "b"], any_tiny, dropout=0.0)


@pytest.fixture
def batch(model):
    pad = model.config.pad_token_id
    ids = torch.tensor([[5, 6, 7, 8, 9], [7, 5, pad, pad, pad], [9, 9, 6, pad, pad]])
    return {"input_ids": ids, "labels": torch.tensor([0, 1, 1])}


def textbook_gradients(model, batch) -> dict[str, torch.Tensor]:
    """Those of a step that knows no shortcut."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    F.cross_entropy(plain(input_ids=batch["input_ids"]).logits, batch["labels"]).backward()
    return {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}


def count_tokens_in_mlps(model, batch) -> list[int]:
    counts = []
    for block in body_parts(model).blocks:
        first = next(block.mlp.children())
        first.register_forward_pre_hook(lambda _, inputs: counts.append(inputs[0].shape[:-1].numel()))
    training.classification_loss(model, batch).backward()
    return counts


@pytest.mark.parametrize("change", [lambda model: model, freeze_body, add_lora])
def test_gradients_are_those_of_the_textbooks_step(model, batch, change):
    model = change(model)
    expected = textbook_gradients(model, batch)
    training.add_gradients(model, [batch], precision="fp32")
    torch.testing.assert_close({name: p.grad for name, p in model.named_parameters() if name in expected}, expected)


def test_in_bf16_gradients_differ_by_rounding_only(model, batch):
    expected = textbook_gradients(model, batch)
    training.add_gradients(model, [batch], precision="bf16")
    for name, p in model.named_parameters():
        assert F.cosine_similarity(p.grad.flatten(), expected[name].flatten(), dim=0) > 0.98
    assert any(not torch.equal(p.grad, expected[name]) for name, p in model.named_parameters())


def test_the_last_mlp_computes_only_what_the_head_reads(model, batch):
    *below, last = count_tokens_in_mlps(model, batch)
    assert set(below) == {batch["input_ids"].numel()} and last == len(batch["input_ids"])


def test_all_tokens_are_computed_where_all_are_read(any_tiny, model, batch):
    mean = load_classifier(["a", "b"], any_tiny, pooling="mean")
    assert set(count_tokens_in_mlps(mean, batch)) == {batch["input_ids"].numel()}
    assert set(count_tokens_in_mlps(freeze_body(model), batch)) == {batch["input_ids"].numel()}


def test_gradient_checkpointing_computes_everything_twice_and_the_same(model, batch):
    expected = textbook_gradients(model, batch)
    model.activation_checkpointing_enable()
    training.add_gradients(model, [batch], precision="fp32")
    torch.testing.assert_close({name: p.grad for name, p in model.named_parameters()}, expected)


def test_a_model_is_as_before_when_the_shortcut_is_over(model, batch):
    mlp = body_parts(model).blocks[-1].mlp
    with pytest.raises(ZeroDivisionError), speed.skip_unread_tokens(model, batch["input_ids"]):
        assert "forward" in vars(mlp)
        raise ZeroDivisionError
    assert "forward" not in vars(mlp)


@pytest.mark.parametrize("options", [{"mask": "some"}, {"dropout": 0.1}, {"length": speed.SHORT + 1}])
def test_on_a_cpu_attention_is_computed_in_fp32_and_handed_on_in_bf16(monkeypatch, options):
    dtypes = []

    def note(module, query, key, value, mask, **options):
        dtypes.extend([query.dtype, key.dtype, value.dtype])
        return query @ key.mT @ value, None

    monkeypatch.setattr(speed, "sdpa_attention_forward", note)
    states = torch.randn(1, 2, options.pop("length", 3), 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert attend(None, states, states, states, options.pop("mask", None), **options)[0].dtype == torch.bfloat16
    assert set(dtypes) == {torch.float32}


@pytest.mark.parametrize("heads", [4, 2])
def test_attention_of_short_texts_by_products_is_that_of_pytorch(heads):
    """Also where heads share keys and values, as in Llama; the gradients, too."""
    torch.manual_seed(0)
    query = torch.randn(2, 4, 9, 8, dtype=torch.bfloat16, requires_grad=True)
    key, value = (torch.randn(2, heads, 9, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        states, _ = attend(None, query, key, value, None, scaling=0.3)
    expected = F.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), is_causal=True, scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    assert states.dtype == torch.bfloat16 and states.is_contiguous()
    torch.testing.assert_close(states.float(), expected, atol=0.02, rtol=0.02)
    ours = torch.autograd.grad(states.float().square().sum(), [query, key, value], retain_graph=True)
    theirs = torch.autograd.grad(expected.square().sum(), [query, key, value])
    torch.testing.assert_close(ours, theirs, atol=0.1, rtol=0.05)


def test_lengths_are_padded_to_eights_in_bf16_only():
    ids = torch.tensor([[5, 6, 7], [5, 1, 1]])
    assert speed.pad_to_eights(ids, 1, context=128) is ids
    with torch.autocast("cpu", torch.bfloat16):
        padded = speed.pad_to_eights(ids, 1, context=128)
        assert padded.shape == (2, 8) and torch.equal(padded[:, :3], ids) and (padded[:, 3:] == 1).all()
        assert speed.pad_to_eights(padded, 1, context=128).shape == (2, 8)
        assert speed.pad_to_eights(ids, 1, context=5).shape == (2, 5)


def test_a_saved_folder_says_nothing_of_the_attention(model, any_tiny, tmp_path):
    assert model.config._attn_implementation == ATTENTION
    save_classifier(model, load_tokenizer(any_tiny), tmp_path)
    assert ATTENTION not in (tmp_path / "config.json").read_text()
    assert load_fine_tuned(tmp_path)[0].config._attn_implementation == ATTENTION


def test_a_run_can_be_told_its_precision(few, any_tiny, monkeypatch):
    monkeypatch.setattr("course_utils.devices.bf16_pays", lambda kind: True)
    monkeypatch.setattr("course_utils.devices.NARROW", 1)
    losses = {}
    for precision in ("fp32", "bf16", "auto"):
        model = load_classifier(few["train"].features["label"].names, any_tiny, dropout=0.0)
        settings = FineTuneSettings(steps=3, precision=precision)
        losses[precision] = training.fine_tune(model, few["train"], few["validation"], settings).loss
    assert losses["auto"] == losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
    with pytest.raises(ValueError, match="precision is one of auto, fp32, bf16, not 'half'"):
        training.fine_tune(model, few["train"], few["validation"], FineTuneSettings(precision="half"))
