"""How much memory training takes: the estimate beside what a step really took, and what is done where it is short."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course_utils.architecture import add_lora
from course_utils.cli import memory as m
from course_utils.history import FineTuneSettings
from course_utils.models import load_classifier
from course_utils.training import copy_weights

ROOT = Path(__file__).parent.parent
SETTINGS = FineTuneSettings(batch_size=12, accumulate=2)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can set a process's peak back")
def test_the_estimate_is_near_what_a_step_takes():
    command = [sys.executable, "-m", "tests.memory_of_a_step"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert [case["checkpointing"] for case in cases] == [False, True]
    for case in cases:
        assert 0.7 * case["taken"] < case["estimate"] < 2 * case["taken"], case


def test_measuring_leaves_model_and_random_numbers_as_they_were(tiny):
    model = load_classifier(["a", "b"], tiny, dropout=0.1)
    before, state = copy_weights(model), torch.get_rng_state()
    assert m.measure_memory(model) == m.measure_memory(model)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_lora_needs_less(tiny):
    whole, lora = load_classifier(["a", "b"], tiny), add_lora(load_classifier(["a", "b"], tiny))
    assert m.measure_memory(lora).fixed < m.measure_memory(whole).fixed / 5


def test_batches_get_smaller_until_they_fit_and_the_rows_of_a_step_stay():
    memory = m.Memory(fixed=1000, per_token=10, per_token_less=2)
    for free, rows, checkpointing in ((1e9, 12, False), (m.SPARE * 1601, 6, False), (m.SPARE * 1099, 4, True)):
        settings, chosen, said = m.fit_memory(memory, SETTINGS, longest=10, free=free)
        assert (settings.batch_size, chosen) == (rows, checkpointing), said
        assert settings.batch_size * settings.accumulate == 24
        assert settings == replace(SETTINGS, batch_size=rows, accumulate=24 // rows)
        assert ("in batches of" in said, "computed twice" in said) == (rows < 12, checkpointing)
    with pytest.raises(ValueError, match=r"even with one text at a time.*--lora"):
        m.fit_memory(memory, SETTINGS, longest=10, free=1000)


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    cpu = torch.device("cpu")
    (tmp_path / "max").write_text("2000000\n")
    (tmp_path / "current").write_text("500000\n")
    monkeypatch.setattr(m, "LIMIT", tmp_path / "max")
    monkeypatch.setattr(m, "USED", tmp_path / "current")
    assert m.free_memory(cpu) == 1_500_000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert m.free_memory(cpu) == 750_000
    (tmp_path / "max").write_text("max\n")
    assert m.free_memory(cpu) > 10_000_000


def test_a_resumed_run_keeps_what_was_chosen(tiny, capsys):
    model = load_classifier(["a", "b"], tiny)
    settings, chosen = m.fit(model, SETTINGS, 10, {"fitted": [4, 6, True]})
    assert (settings.batch_size, settings.accumulate, chosen) == (4, 6, [4, 6, True])
    assert model.is_activation_checkpointing and capsys.readouterr().out == ""
    assert m.fit(model, SETTINGS, 10, {})[1] == [12, 2, False]
    assert "GiB are free" in capsys.readouterr().out
