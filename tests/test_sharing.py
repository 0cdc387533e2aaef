"""A model in parts (FSDP2), two processes: the losses of one, whole weights at the end, resumed after SIGKILL."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cli_data import COLUMNS
from datasets import concatenate_datasets
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from course_utils import sharing
from course_utils.architecture import add_lora, freeze_below
from course_utils.cli import main, memory
from course_utils.evaluation import predict_logits
from course_utils.frozen import remember_states
from course_utils.models import load_classifier, load_fine_tuned
from course_utils.training import FineTuneSettings, fine_tune

ROOT = Path(__file__).resolve().parent.parent
# 27 rows in batches of 6: the last of three rows. 129 rows of validation: 65 and 64, so two forward passes and one.
SETTINGS = FineTuneSettings(learning_rate=1e-3, epochs=3, batch_size=6, accumulate=2, patience=None)
KINDS = ("whole", "llama", "lora", "frozen", "checkpointing")
SCRIPT = """
import json, sys
from course_utils.sharing import check_sharding
check_sharding()
from datasets import load_from_disk
from course_utils import training
from course_utils.cli import main
from course_utils.devices import processes
from test_sharing import KINDS, SETTINGS, prepare

folder, words = sys.argv[1], sys.argv[2:]
data, copy = load_from_disk(folder + "/data"), training.copy_weights
kept = []


def copy_weights(model):
    kept.append(sum(p.to_local().numel() for p in model.parameters()))
    return copy(model)


training.copy_weights = copy_weights
facts = {}
for kind in KINDS:
    model = prepare(kind, folder, data["train"].features["label"].names)
    count = sum(p.numel() for p in model.parameters())
    history = training.fine_tune(model, data["train"], data["validation"], SETTINGS)
    facts[kind] = {"loss": history.loss, "validations": history.validations, "kept": kept[-1] / count}
    facts[kind]["weights"] = [p.double().sum().item() for p in model.parameters()]
json.dump(facts, open(f"{folder}/rank{processes().process_index}.json", "w"))
sys.exit(main(words))
"""
KILLED = """
import os, signal, sys
from course_utils import training
from course_utils.cli import main
from course_utils.devices import processes

saves, save = [], training.save_run
def save_run(*arguments):
    save(*arguments)
    saves.append(1)
    if len(saves) == 2 and processes().process_index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
training.save_run = save_run
sys.exit(main(sys.argv[1:]))
"""


def prepare(kind, folder, labels):
    """A tiny classifier: of GPT-2, of Llama, with LoRA, with a frozen block, or with gradient checkpointing."""
    model = load_classifier(labels, f"{folder}/{'llama' if kind == 'llama' else 'gpt2'}")
    if kind == "lora":
        return add_lora(model)
    if kind == "frozen":
        return freeze_below(model, 1)
    if kind == "checkpointing":
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model


def launch(*words):
    """Run something in two processes as docs/several_machines.md says; the port is any that is free."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--use_fsdp", "--fsdp_version", "2"]
    command += ["--num_processes", "2", "--main_process_port", "0", *map(str, words)]
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=240)


def command_line(good, tiny, out):
    words = ["finetune", good, *COLUMNS, "--model", tiny, "--out", out, "--epochs", "3", "--max-tokens", "24"]
    return list(map(str, words))


@pytest.fixture(scope="module")
def data(few):
    data = few.select_columns(["input_ids", "label"])
    rows = concatenate_datasets([data["validation"]] * 10)
    data["train"], data["validation"] = data["train"].select(range(27)), rows.select(range(129))
    return data


@pytest.fixture(scope="module")
def two(data, good, tiny, tiny_llama, tmp_path_factory):
    """What two processes found; and the folder where `out` was written by the command."""
    folder = tmp_path_factory.mktemp("two")
    data.save_to_disk(folder / "data")
    (folder / "gpt2").symlink_to(tiny)
    (folder / "llama").symlink_to(tiny_llama)
    (folder / "script.py").write_text(SCRIPT)
    done = launch(folder / "script.py", folder, *command_line(good, tiny, folder / "out"))
    assert done.returncode == 0, done.stderr[-3000:]
    return *(json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)), folder


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_with_a_part_each_give_the_losses_of_one(two, data, kind):
    first, second, folder = two
    model = prepare(kind, folder, data["train"].features["label"].names)
    wanted = fine_tune(model, data["train"], data["validation"], SETTINGS)
    assert first[kind]["loss"] == pytest.approx(wanted.loss, abs=1e-5)
    assert len(wanted.loss) == 9
    for a, b in zip(first[kind]["validations"], wanted.validations, strict=True):
        for name in ("step", "train_loss", "validation_loss", "accuracy", "macro_f1"):
            assert a[name] == pytest.approx(b[name], abs=1e-5), name
    weights = [p.double().sum().item() for p in model.parameters()]
    assert first[kind]["weights"] == pytest.approx(weights, abs=1e-3)
    assert first[kind]["loss"] == second[kind]["loss"] and first[kind]["weights"] == second[kind]["weights"]
    assert first[kind]["kept"] + second[kind]["kept"] == pytest.approx(1)  # each process had its part, and no more
    assert 0.45 < first[kind]["kept"] < 0.55


def test_the_command_writes_an_ordinary_model(two, data, mine):
    folder = two[2] / "out"
    parts, one = (json.loads((path / "report.json").read_text()) for path in (folder, mine))
    assert parts["model"]["processes"] == 2
    assert parts["history"]["loss"] == pytest.approx(one["history"]["loss"], abs=1e-5)
    assert parts["history"]["best_step"] == one["history"]["best_step"]
    assert parts["test"]["macro_f1"] == one["test"]["macro_f1"]
    alone, whole = AutoModelForSequenceClassification.from_pretrained(folder), load_fine_tuned(mine)[0]
    ids = data["validation"][:20]["input_ids"]
    torch.testing.assert_close(predict_logits(alone, ids), predict_logits(whole, ids), atol=1e-5, rtol=0)
    assert (folder / "config.json").read_text() == (mine / "config.json").read_text()


def test_a_killed_run_goes_on_bit_for_bit(two, good, tiny, tmp_path):
    (tmp_path / "script.py").write_text(KILLED)
    words = command_line(good, tiny, tmp_path / "out")
    assert launch(tmp_path / "script.py", *words).returncode != 0
    saved = load_file(tmp_path / "out.unfinished" / "checkpoint.safetensors")
    whole = load_file(Path(tiny) / "model.safetensors")
    assert {saved[f"{kind}.{name}"].shape for kind in ("model", "optimizer.0.exp_avg", "extra.best") for name in
            ["transformer.wte.weight"]} == {whole["transformer.wte.weight"].shape}  # fmt: skip
    done = launch("-m", "course_utils", *words, "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Going on after step" in done.stdout
    unbroken = two[2] / "out"
    histories = [json.loads((out / "report.json").read_text())["history"] for out in (unbroken, tmp_path / "out")]
    assert histories[0]["loss"] == histories[1]["loss"] and histories[0]["best_step"] == histories[1]["best_step"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()


REFUSED = [
    ({}, "FSDP2 only"),
    ({"FSDP_VERSION": "1"}, "FSDP2 only"),
    ({"FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params"),
    ({"FSDP_VERSION": "2", "FSDP_ACTIVATION_CHECKPOINTING": "true"}, "fsdp_activation_checkpointing"),
]


@pytest.mark.parametrize(("variables", "said"), REFUSED)
def test_what_would_not_be_followed_is_refused_before_anything_is_written(
    good, tiny, tmp_path, monkeypatch, capsys, variables, said
):
    for name, value in {"ACCELERATE_USE_FSDP": "true", **variables}.items():
        monkeypatch.setenv(name, value)
    assert main(command_line(good, tiny, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_that_only_the_first_process_loaded_is_refused(monkeypatch):
    for name in ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    with pytest.raises(ValueError, match="before loading"):
        sharing.check_sharding(loaded=True)
    sharing.check_sharding()
    sharing.check_sharding(loaded=True)


def test_a_model_that_remembers_states_is_refused_and_keeps_its_weights(tiny):
    model = freeze_below(load_classifier(["a", "b"], tiny), 1)
    with remember_states(model), pytest.raises(ValueError, match="remember_states"), sharing.cut_up(model):
        pass
    assert all(p.numel() for p in model.parameters())


def test_handing_over_takes_the_same_memory_and_keeps_shared_weights_shared(tiny):
    model = load_classifier(["a", "b"], tiny)
    model.twin = model.score
    places, config = [p.data_ptr() for p in model.parameters()], model.config
    taken = sharing.hand_over(model)
    assert [p.data_ptr() for p in taken.parameters()] == places and taken.twin is taken.score
    assert not any(p.numel() for p in model.parameters()) and model.config is config
    sharing.put_together(taken, model)
    assert [p.data_ptr() for p in model.parameters()] == places and model.twin is model.score


def test_the_estimate_falls_with_the_number_of_processes(tiny, monkeypatch):
    model, fixed = load_classifier(["a", "b"], tiny), []
    monkeypatch.setattr(memory, "wants_parts", lambda: True)
    for count in (2, 4):
        monkeypatch.setattr(memory, "processes", lambda count=count: SimpleNamespace(num_processes=count))
        fixed.append(memory.measure_memory(model).fixed)
    weights = sum(p.nbytes for p in model.parameters())
    assert fixed[0] - fixed[1] == pytest.approx(5 * weights / 4)  # weights, gradient, two means, best weights


def test_one_process_ignores_the_configuration(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert not sharing.wants_parts()
