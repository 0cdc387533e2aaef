"""The benchmark compares like with like."""

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from course_utils.architecture import add_lora, frozen_blocks
from course_utils.frozen import remember_states
from course_utils.models import load_tokenizer
from course_utils.pipeline import collate
from course_utils.results import RESULTS

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import means
import run
import ways

BATCH = [{"input_ids": [5, 6, 7], "label": 0}, {"input_ids": [8, 9], "label": 3}]


def collect_gradients(step, model, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    step(model, batch)
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_all_ways_begin_with_the_same_weights(tiny):
    ours, plain = ways.build_ours(tiny), ways.build_plain(tiny)
    ids = collate(BATCH, ours.config.pad_token_id)["input_ids"]
    mask = (ids != ours.config.pad_token_id).long()
    torch.testing.assert_close(ours(input_ids=ids).logits, plain(input_ids=ids, attention_mask=mask).logits)


@pytest.mark.parametrize("way", ways.WAYS)
def test_every_way_trains(tiny, few, way):
    tokenizer, rows = load_tokenizer(tiny), few["train"].select(range(8))
    before = ways.build_plain(tiny).score.weight
    network, seconds = ways.WAYS[way](tiny, rows, tokenizer, 4, 0)
    assert seconds > 0 and not torch.equal(network.score.weight, before)


def test_tickets_come_again_when_there_are_too_few(tokenizer):
    train, _ = ways.load_data(tokenizer, 2000)
    assert len(train) == 2000 and train[1630]["text"] == train[0]["text"]


def test_packing_gives_the_same_gradients(tiny, monkeypatch):
    monkeypatch.setattr(means, "classifier", lambda: ways.build_ours(tiny).eval())
    model = means.classifier()
    batch = collate(BATCH, model.config.pad_token_id)
    expected = collect_gradients(means.plain_step, model, batch)
    torch.testing.assert_close(collect_gradients(means.packed, model, batch), expected, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(collect_gradients(means.masked, model, batch), expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("fused", [True, False])
def test_adamw_is_fused_on_one_side_only(tiny, few, fused):
    steps = means.Steps(partial(ways.build_ours, tiny), means.auto, few["train"], order=means.random_order, fused=fused)
    assert all(bool(group["fused"]) == fused for group in steps.optimizer.param_groups)
    assert steps.time() > 0


def test_what_lesson_5_says_of_the_benchmark_was_measured():
    """Ratios and shares, never seconds, which are another machine's affair."""
    kept = json.loads((RESULTS / "benchmark.json").read_text())
    ratios, share = kept["ratios"], kept["matmul_share"]
    assert 2.5 < ratios["trainer"] < 3.5 < ratios["textbook_loop"] and 1.25 < ratios["trainer_tuned"] < 1.45
    assert share["fp32"] > 0.55 and kept["smollm2"]["ratios"]["trainer"] == pytest.approx(2.6, abs=0.05)
    table = kept["gpt2-mini"]["ways"]
    assert all(0.285 < way["macro_f1"] < 0.345 for way in table.values())
    assert 1 < table["course"]["peak_mib"] / table["trainer"]["peak_mib"] < 1.15
    larger = kept["smollm2"]
    assert larger["rounds"] == 2
    assert [round(larger["ways"][way]["macro_f1"], 2) for way in ("course", "trainer")] == [0.14, 0.21]
    assert {row["means"]: row["used"] for row in kept["means"]} == {name: m[2] for name, m in means.MEANS.items()}
    assert all(row["ratio"] < 1.04 for row in kept["means"] if not row["used"])
    assert min(row["ratio"] for row in kept["means"] if row["used"]) > 0.94  # padding to eights saves memory
    difference = kept["precisions"]["difference"]
    mean, half = difference["mean"], difference["half"]
    assert (round(mean - half, 3), round(mean + half, 3)) == (0.002, 0.021)
    gains = {row["means"]: row["ratio"] for row in kept["means"]}
    both, products = gains["bf16, with attention by products"], gains["attention by products beside bf16"]
    assert both / products == pytest.approx(1.15, abs=0.01)
    growth = kept["growth"]
    assert growth["sizes"][-1]["rows"] == 100 * growth["sizes"][0]["rows"] and growth["power"] < 1.05
    assert growth["sizes"][-1]["peak_mib"] < 1.2 * growth["sizes"][0]["peak_mib"]


def test_what_lesson_10_says_of_the_means_with_smollm2_was_measured():
    """On a processor without bf16, so without that row."""
    rows = json.loads((RESULTS / "benchmark.json").read_text())["smollm2 means"]["means"]
    gains = {row["means"]: row["ratio"] for row in rows}
    assert list(gains) == [name for name in means.LARGER if "bf16" not in name]
    length, mask, frozen, stored, lora = gains.values()
    assert 1 < length < 1.2 and mask == pytest.approx(1.13, abs=0.01)
    assert 1.6 < frozen < stored < 2.1 and lora == pytest.approx(3, abs=0.1)


@pytest.fixture
def small_larger(tiny_llama, monkeypatch):
    """The means of the larger model, on a Llama of three blocks, of which one is frozen."""
    monkeypatch.setattr(means, "load_classifier", lambda *_: ways.build_ours(tiny_llama))
    monkeypatch.setattr(means, "add_lora", lambda model, layers: add_lora(model, layers=[1, 2]))


@pytest.mark.parametrize("name", means.LARGER)
def test_each_means_of_a_larger_model_can_be_measured(few, small_larger, name):
    (row,) = means.measure_means(few["train"], 1, {name: means.LARGER[name]}, means.larger, steps=2)
    assert row["means"] == name and row["ratio"] > 0


def test_what_the_means_of_a_larger_model_are_called_is_what_they_do(few, small_larger):
    def build(name):
        usual = {"build": means.larger, "step": means.auto, "train": few["train"]}
        return [means.Steps(**(usual | own)) for own in means.LARGER[name][:2]]

    def count_trained(steps):
        return sum(p.numel() for p in steps.parameters)

    for name in ("15 of 30 blocks frozen", "15 of 30 blocks frozen, their states stored"):
        frozen, whole = build(name)
        assert len(frozen_blocks(frozen.model)) == 1 and not frozen_blocks(whole.model), name
        assert (frozen.context is remember_states) == ("stored" in name) and whole.context is nullcontext, name
    lora, whole = build("15 of 30 frozen and stored, LoRA in the others")
    assert lora.context is remember_states and count_trained(lora) < count_trained(whole) / 10
    bare, masked = build("no mask on right padding")
    assert masked.step is means.masked and bare.step is not means.masked
    assert {steps.model.config._attn_implementation for steps in (bare, masked)} == {"sdpa"}
    buckets, mixed = (
        sum(batch["input_ids"].numel() for batch in steps.batches) for steps in build("batches of like length")
    )
    assert buckets < mixed  # less padding
    auto, plain = build("bf16, with attention by products")
    assert auto.step is means.auto and plain.step is means.fp32


def test_a_quick_trial_of_the_larger_models_takes_one_step_or_two(monkeypatch):
    monkeypatch.setattr(run, "compare_ways", lambda model, ways, rows, batch, rounds: (rows / batch, rounds))
    for piece, steps in (("smollm2", 16), ("gpt2", 32)):
        ((whole,), (quick,)) = (run.PIECES[piece](quick).values() for quick in (False, True))
        assert whole == (steps, 2) and quick == (2, 1)


def test_a_folder_for_the_results_that_is_not_there_is_named_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "others", "--out", str(tmp_path / "none" / "trial.json")])
    monkeypatch.setattr(run, "run_script", lambda code: pytest.fail("measured all the same"))
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 2 and "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_bytes_on_every_system(monkeypatch, platform, unit):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=500_000))
    monkeypatch.setattr(sys, "platform", platform)
    assert ways.peak_memory() == 500_000 * unit


def test_ratios_and_work_are_computed_from_the_runs():
    runs = [
        {"seconds": seconds, "peak_mib": 100, "macro_f1": 0.5, "rows": 10, "tokens": 1000, "matrices": 10**6}
        for seconds in (1.0, 2.0, 9.0)
    ]
    summary = run.summarize_runs(runs)
    assert (summary["seconds"], summary["examples_per_second"], summary["gflops"]) == (2.0, 5.0, 3.0)
    assert run.share_of_rate(3.0, {"fp32": 6.0}) == {"fp32": 0.5}
