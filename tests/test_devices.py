"""bf16 where it pays: on processors built for it, for wide models only, that leaves weights and losses in fp32."""

import pytest
import torch

from course_utils import devices
from course_utils.evaluation import predict_logits
from course_utils.models import load_classifier
from course_utils.training import add_gradients


@pytest.fixture
def model(any_tiny):
    return load_classifier(["a", "b"], any_tiny, dropout=0.0)


@pytest.fixture
def narrow_is_wide(monkeypatch):
    for width in ("NARROW", "WIDE"):
        monkeypatch.setattr(devices, width, 1)


def in_bf16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


@pytest.mark.parametrize("pays", [True, False])
def test_bf16_is_used_only_where_it_pays(model, narrow_is_wide, monkeypatch, pays):
    monkeypatch.setattr(devices, "bf16_pays", lambda kind: pays)
    with devices.mixed_precision(model):
        assert in_bf16() == pays
    assert not in_bf16()


def test_narrow_models_stay_in_fp32(model, monkeypatch):
    monkeypatch.setattr(devices, "bf16_pays", lambda kind: True)
    with devices.mixed_precision(model):
        assert not in_bf16()


def test_models_in_between_train_in_bf16_and_predict_in_fp32(model, monkeypatch):
    monkeypatch.setattr(devices, "bf16_pays", lambda kind: True)
    monkeypatch.setattr(devices, "NARROW", model.config.hidden_size)
    for training in (True, False):
        with devices.mixed_precision(model.train(training)):
            assert in_bf16() == training


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_is_named_is_used_whatever_pays(model, narrow_is_wide, monkeypatch, precision):
    monkeypatch.setattr(devices, "bf16_pays", lambda kind: precision == "fp32")
    with devices.mixed_precision(model, precision):
        assert in_bf16() == (precision == "bf16")


@pytest.mark.parametrize(
    "reported, pays",
    [
        ({"avx512_f": True, "avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"sve_bf16": True}, True),
        ({"avx2": True, "avx512_bf16": False}, False),
        ({"neon": True, "bf16": True}, False),  # Apple's: PyTorch does not multiply by these
    ],
)  # fmt: skip
def test_what_the_processor_reports_decides(monkeypatch, reported, pays):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: reported)
    assert devices.bf16_pays() == pays


def test_a_gpu_that_only_emulates_bf16_does_not_count(monkeypatch):
    for supported in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)  # noqa: B023
        assert devices.bf16_pays("cuda") == supported
    assert not devices.bf16_pays("mps")


def test_logits_and_gradients_stay_fp32_and_near_those_of_fp32(model, few, narrow_is_wide, monkeypatch):
    rows = few["train"]["input_ids"][:4]
    batch = {"input_ids": torch.tensor([ids[:3] for ids in rows]), "labels": torch.tensor([0, 1, 0, 1])}

    def run(pays: bool):
        monkeypatch.setattr(devices, "bf16_pays", lambda kind: pays)
        model.zero_grad()
        loss = add_gradients(model, [batch])
        return predict_logits(model, rows), loss, model.score.weight.grad.clone()

    (exact, loss, gradient), (rounded, rounded_loss, rounded_gradient) = run(False), run(True)
    assert rounded.dtype == rounded_gradient.dtype == model.score.weight.dtype == torch.float32
    assert torch.allclose(exact, rounded, atol=0.05) and not torch.equal(exact, rounded)
    assert abs(loss - rounded_loss) < 0.02
    assert torch.allclose(gradient, rounded_gradient, atol=0.05)
