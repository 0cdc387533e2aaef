"""Lesson 5: a run that crashed goes on with the same losses; a checkpoint of another run changes nothing."""

from dataclasses import replace

import pytest
import torch

from course_utils import checkpoints
from course_utils.architecture import add_lora, freeze_below
from course_utils.checkpoints import random_states, read_progress, replace_safely, restore_random_states
from course_utils.models import load_classifier
from course_utils.training import FineTuneSettings, fine_tune

SETTINGS = FineTuneSettings(learning_rate=1e-3, epochs=3, batch_size=8, patience=None)


class Crash(Exception):
    pass


def crash_at(step):
    def on_step(history):
        if len(history.loss) == step:
            raise Crash

    return on_step


@pytest.fixture
def make(tiny, few):
    def make(**options):
        return load_classifier(few["train"].features["label"].names, tiny, **options)

    return make


@pytest.mark.parametrize("seconds", [60, 0])
def test_a_run_that_crashed_goes_on_with_the_same_losses(make, few, tmp_path, monkeypatch, seconds):
    """With dropout, so that the random state must have been saved; from the last epoch's end or the last step."""
    monkeypatch.setattr("course_utils.training.SAVE_SECONDS", seconds)
    path = tmp_path / "run.safetensors"
    whole = make(dropout=0.1)
    wanted = fine_tune(whole, few["train"], few["validation"], SETTINGS)
    with pytest.raises(Crash):
        fine_tune(make(dropout=0.1), few["train"], few["validation"], SETTINGS, path, on_step=crash_at(6))
    assert len(read_progress(path)["history"]["loss"]) == (4 if seconds else 5)  # four steps make an epoch
    model = make(seed=99, dropout=0.1)  # whatever is in the model, the checkpoint replaces it
    history = fine_tune(model, few["train"], few["validation"], SETTINGS, path)
    assert history.loss == wanted.loss
    assert history.learning_rate == wanted.learning_rate
    assert history.best_step == wanted.best_step
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole.parameters(), strict=True))


def test_a_finished_run_is_not_trained_again(make, few, tmp_path):
    path, settings = tmp_path / "run.safetensors", replace(SETTINGS, epochs=1)
    first = fine_tune(make(), few["train"], few["validation"], settings, path)
    steps = []
    again = fine_tune(make(), few["train"], few["validation"], settings, path, on_step=lambda h: steps.append(h))
    assert (again.loss, again.ended, steps) == (first.loss, "finished", [])


REFUSED = {
    "other settings": (lambda m: m, {"settings": replace(SETTINGS, learning_rate=1e-4)}, "other learning_rate:"),
    "other rows": (lambda m: m, {"train": "half"}, "other data:"),
    "more is trained": (lambda m: m, {}, "other parameters were trained"),
    "less is trained": (lambda m: freeze_below(m, 2), {}, "other parameters were trained"),
    "LoRA": (add_lora, {}, "another model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_checkpoint_of_another_run_is_refused_and_changes_nothing(make, few, tmp_path, name):
    """In today's fused AdamW the state of other parameters, taken by position, would end the interpreter."""
    change, options, words = REFUSED[name]
    path = tmp_path / "run.safetensors"
    fine_tune(freeze_below(make(), 1), few["train"], few["validation"], SETTINGS, path)
    model = change(
        make(seed=5) if name in ("LoRA", "more is trained", "less is trained") else freeze_below(make(seed=5), 1)
    )
    before = {n: p.clone() for n, p in model.named_parameters()}
    train = few["train"].select(range(16)) if options.get("train") else few["train"]
    with pytest.raises(ValueError, match=words) as error:
        fine_tune(model, train, few["validation"], options.get("settings", SETTINGS), path)
    assert "\n" not in str(error.value)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_step(make, few, tmp_path):
    for path in (tmp_path / "nowhere" / "run.safetensors", tmp_path):
        with pytest.raises(ValueError, match="must be a file in a folder that exists"):
            fine_tune(make(), few["train"], few["validation"], SETTINGS, path, on_step=pytest.fail)


def test_a_damaged_checkpoint_is_refused_in_a_sentence(make, few, tmp_path):
    path = tmp_path / "run.safetensors"
    fine_tune(make(), few["train"], few["validation"], replace(SETTINGS, steps=1), path)
    for content in (path.read_bytes()[:1000], b"", b"no checkpoint at all"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no checkpoint, or a damaged one"):
            fine_tune(make(), few["train"], few["validation"], replace(SETTINGS, steps=1), path)


def test_optimizer_states_go_by_name(make, few, tmp_path):
    path = tmp_path / "run.safetensors"
    fine_tune(make(), few["train"], few["validation"], replace(SETTINGS, steps=1), path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = set(file.keys())
    wanted = {f"optimizer.0.exp_avg.{name}" for name, _ in make().named_parameters()}
    assert wanted <= names


def test_the_random_state_of_an_accelerator_is_saved_too(monkeypatch):
    """With a pretended device module, because a test cannot count on a GPU."""

    class Device:
        state = torch.tensor([1, 2, 3], dtype=torch.uint8)

        def get_rng_state(self):
            return self.state

        def set_rng_state(self, state):
            self.state = state

        def is_available(self):
            return True

    device = Device()
    monkeypatch.setattr(torch, "get_device_module", lambda kind: device)
    states = random_states(torch.device("cuda"))
    assert set(states) == {"random.cpu", "random.cuda"}
    device.state, drawn = torch.zeros(3, dtype=torch.uint8), torch.rand(3)
    restore_random_states(states)
    assert device.state.tolist() == [1, 2, 3]
    assert torch.equal(torch.rand(3), drawn)


def test_a_fingerprint_sees_every_row_and_label(few):
    train = few["train"]
    same, other = checkpoints.fingerprint(train), checkpoints.fingerprint(train.select(range(1, len(train))))
    turned = train.map(lambda row: {"label": (row["label"] + 1) % 8})
    assert len({same, other, checkpoints.fingerprint(turned)}) == 3
    assert same == checkpoints.fingerprint(train.select(range(len(train))))


def test_a_failed_write_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(Crash), replace_safely(path) as temporary:
        temporary.write_text("half of the n")
        raise Crash
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
