"""Two processes, started by torchrun as a user would: the losses of one, one result for all, one writer."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course_utils.frozen import start_head
from course_utils.models import load_classifier, load_language_model, load_tokenizer
from course_utils.training import FineTuneSettings, adapt, fine_tune

# 27 rows in batches of 6: five batches an epoch, the last of three rows; 13 rows of validation.
SETTINGS = FineTuneSettings(learning_rate=1e-3, epochs=3, batch_size=6, accumulate=2, patience=None)
SCRIPT = """
import json, sys
from course_utils.devices import processes
from datasets import load_from_disk
from course_utils import checkpoints
from course_utils.frozen import start_head
from course_utils.models import load_classifier, load_language_model, load_tokenizer
from course_utils.training import FineTuneSettings, adapt, fine_tune

folder, tiny, pooling = sys.argv[1:4]
writes, save = [], checkpoints.save_checkpoint
checkpoints.save_checkpoint = lambda *args: (writes.append(1), save(*args))
data = load_from_disk(folder + "/data")
model = start_head(load_classifier(data["train"].features["label"].names, tiny, pooling=pooling), data["train"])
settings = FineTuneSettings(**json.load(open(folder + "/settings.json")))
history = fine_tune(model, data["train"], data["validation"], settings, folder + "/run.safetensors")
facts = {"loss": history.loss, "validations": history.validations, "writes": len(writes)}
facts["weights"] = sum(p.double().sum().item() for p in model.parameters())
texts = json.load(open(folder + "/texts.json"))
facts["adapting"] = adapt(load_language_model(tiny), load_tokenizer(tiny), texts, batch_size=6, context=32)
json.dump(facts, open(f"{folder}/rank{processes().process_index}.json", "w"))
"""


def run_in_two(folder, tiny, pooling):
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [*command, str(folder / "script.py"), str(folder), tiny, pooling],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_give_the_losses_of_one(few, tiny, tmp_path, pooling="mean"):
    data = few.select_columns(["input_ids", "label"])
    data["train"], data["validation"] = data["train"].select(range(27)), data["validation"].select(range(13))
    model = start_head(load_classifier(data["train"].features["label"].names, tiny, pooling=pooling), data["train"])
    wanted = fine_tune(model, data["train"], data["validation"], SETTINGS)

    data.save_to_disk(tmp_path / "data")
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS.__dict__))
    texts = few["train"]["text"][:25]  # with the tokens of these, the last row would not be full
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    first, second = run_in_two(tmp_path, tiny, pooling)
    assert first["loss"] == pytest.approx(wanted.loss, abs=1e-5)
    assert len(wanted.loss) == 9
    for a, b in zip(first["validations"], wanted.validations, strict=True):
        for name in ("step", "train_loss", "validation_loss", "accuracy", "macro_f1"):
            assert a[name] == pytest.approx(b[name], abs=1e-5), name
    weights = sum(p.double().sum().item() for p in model.parameters())
    assert first["weights"] == pytest.approx(weights, abs=1e-2)
    adapting = adapt(load_language_model(tiny), load_tokenizer(tiny), texts, batch_size=6, context=32)
    assert first["adapting"] == pytest.approx(adapting, abs=1e-5)
    assert first["loss"] == second["loss"] and first["weights"] == second["weights"]
    assert (first["writes"], second["writes"]) == (3, 0)
    # A finished run of two processes is not one of one process.
    with pytest.raises(ValueError, match="other processes"):
        fine_tune(model, data["train"], data["validation"], replace(SETTINGS), tmp_path / "run.safetensors")
    assert torch.isfinite(torch.tensor(first["loss"])).all()
