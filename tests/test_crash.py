"""A run may be killed at any moment, also while it writes: --resume gives what an unbroken run gives, bit for bit."""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from course_utils.checkpoints import read_progress
from course_utils.cli import main
from course_utils.data import take_per_label

resource = pytest.importorskip("resource", reason="Windows can neither fork nor limit a process")
ROOT = Path(__file__).resolve().parent.parent
KILLS = 20


def run_in_child(words: list[str], said: str, after_save: str | None) -> int:
    """What a child process does: the command, with a checkpoint after every step; its words go to a file."""
    from course_utils import training

    sys.stdout = sys.stderr = open(said, "a", encoding="utf-8")  # noqa: SIM115
    training.SAVE_SECONDS = 0
    if after_save is not None:
        save, saves = training.save_run, []

        def save_run(*arguments):
            save(*arguments)
            saves.append(1)
            if len(saves) == 5:
                globals()[after_save]()

        training.save_run = save_run
    status = main(words)
    sys.stdout.flush()
    return status


def forbid_large_files() -> None:
    """From now on no file may grow beyond 100 kB: a write then fails as it does on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def serve() -> None:
    """Import once, then fork a child for every line that comes: a run begins in a blink, not after five seconds."""
    import course_utils.cli.finetune  # noqa: F401

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(run_in_child(*json.loads(line)))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


class Server:
    """The other end of `serve`: one child at a time."""

    def __init__(self):
        command = [sys.executable, str(Path(__file__).resolve())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def start(self, words: list[str], said: Path, after_save: str | None = None) -> int:
        """Begin the command in a child; return its process id."""
        self.process.stdin.write(json.dumps([words, str(said), after_save]).encode() + b"\n")
        self.process.stdin.flush()
        return int(self.read())

    def read(self) -> bytes:
        """Read a line, byte by byte: a buffer would hide from `wait` what has come already."""
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self.process.stdout.fileno(), 1)
            assert byte, "the server of children has ended"
            line += byte
        return line

    def wait(self, seconds: float = 120) -> int | None:
        """The child's exit status; None if it is still running after so many seconds."""
        return int(self.read()) if select.select([self.process.stdout], [], [], seconds)[0] else None

    def run(self, words: list[str], said: Path, after_save: str | None = None) -> int | None:
        """Run the command in a child to its end; return its exit status."""
        self.start(words, said, after_save)
        return self.wait()


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.process.stdin.close()
    server.process.wait(10)


@pytest.fixture(scope="module")
def words(splits, tiny, tmp_path_factory):
    """The command without --out: three labels, dropout through the model's config, about 50 steps."""
    folder = tmp_path_factory.mktemp("crash")
    shutil.copytree(tiny, folder / "model")
    config = json.loads((folder / "model" / "config.json").read_text())
    config |= {"resid_pdrop": 0.1, "embd_pdrop": 0.1}  # so that the random state matters
    (folder / "model" / "config.json").write_text(json.dumps(config))
    rows = take_per_label(splits["train"][splits["train"]["label"].isin(["billing", "delivery", "fault"])], 30)
    rows.to_csv(folder / "data.csv", index=False)
    model = ["--model", str(folder / "model"), "--learning-rate", "1e-3", "--patience", "4"]
    return ["finetune", str(folder / "data.csv"), *model, "--head", "probe", "--epochs", "9", "--batch-size", "8"]


@pytest.fixture(scope="module")
def whole(server, words, tmp_path_factory):
    """What an unbroken run gives, and the seconds it takes."""
    folder = tmp_path_factory.mktemp("whole")
    assert server.run([*words, "--out", str(folder / "warm")], folder / "said") == 0
    began = time.perf_counter()
    assert server.run([*words, "--out", str(folder / "out")], folder / "said") == 0
    return folder / "out", time.perf_counter() - began


def outcome(folder: Path) -> tuple:
    """All that must be the same: weights to the last bit, history but for the seconds, the test's scores."""
    facts = json.loads((folder / "report.json").read_text())
    history = facts["history"]
    for row in history["validations"]:
        del row["seconds"]
    return (folder / "model.safetensors").read_bytes(), history, facts["test"]


def test_killed_at_twenty_random_moments_it_ends_as_an_unbroken_run(server, words, whole, tmp_path):
    unbroken, seconds = whole
    moments, kills, runs, steps = random.Random(), 0, 0, []
    while kills < KILLS:
        out = tmp_path / f"out{runs}"
        command, work = [*words, "--out", str(out), "--resume"], out.with_name(out.name + ".unfinished")
        while True:
            child = server.start(command, tmp_path / "said")
            status = server.wait(moments.uniform(0, seconds) if kills < KILLS else 120)
            if status is None:
                os.kill(child, signal.SIGKILL)
                status = server.wait()
                kills += 1
            if status == 0:
                break
            assert status == -signal.SIGKILL, (tmp_path / "said").read_text()[-2000:]
            assert not out.exists() or (out / "report.json").exists()
            if (work / "checkpoint.safetensors").exists():  # whatever moment it was, the checkpoint is whole
                steps.append(len(read_progress(work / "checkpoint.safetensors")["history"]["loss"]))
            if out.exists():  # killed in the instant after the folder got its name
                break
        runs += 1
        assert outcome(out) == outcome(unbroken)
        assert not work.exists() and not list(out.glob(".*"))
    assert any(0 < step < len(outcome(unbroken)[1]["loss"]) for step in steps)  # some fell into the training


def test_ctrl_c_saves_and_says_how_to_go_on(server, words, whole, tmp_path):
    out, said = tmp_path / "out", tmp_path / "said"
    command = [*words, "--out", str(out)]
    assert server.run(command, said, "press_ctrl_c") == 130
    assert not out.exists()
    checkpoint = tmp_path / "out.unfinished" / "checkpoint.safetensors"
    assert read_progress(checkpoint)["history"]["ended"] == "running"
    assert f"Stopped and saved after step {len(read_progress(checkpoint)['history']['loss'])}" in said.read_text()
    assert "--resume" in said.read_text().splitlines()[-1]
    assert server.run([*command, "--resume"], said) == 0
    assert outcome(out) == outcome(whole[0])
    # The clock of the stopped process is gone, and what is said of time says so.
    assert "since the run went on" in said.read_text() and "since the run went on" in (out / "report.html").read_text()
    assert "since the run went on" not in (whole[0] / "report.html").read_text()


def check_full_disk(server, words, whole, out: Path, said: Path, make_room, after_save: str | None = None) -> None:
    command = [*words, "--out", str(out)]
    assert server.run(command, said, after_save) == 2
    last = said.read_text().splitlines()[-1]
    assert last.startswith("finetune: Writing the run") and "last good checkpoint is kept" in last
    assert "Traceback" not in said.read_text()
    kept = out.with_name("out.unfinished")
    assert len(read_progress(kept / "checkpoint.safetensors")["history"]["loss"]) > 0
    assert not list(kept.glob(".*"))
    make_room()
    assert server.run([*command, "--resume"], said) == 0
    assert outcome(out) == outcome(whole[0])


def test_a_write_that_fails_leaves_the_last_good_checkpoint(server, words, whole, tmp_path):
    check_full_disk(server, words, whole, tmp_path / "out", tmp_path / "said", lambda: None, "forbid_large_files")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 6 MB in memory, where this process may mount one: one checkpoint fits, and no second beside it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=6m", "none", disk], capture_output=True).returncode
    ):
        pytest.skip("only root may mount a small disk here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(server, words, whole, small_disk, tmp_path):
    def make_room():
        subprocess.run(["mount", "-o", "remount,size=60m", small_disk], check=True)

    check_full_disk(server, words, whole, small_disk / "out", tmp_path / "said", make_room)


def test_other_rows_are_refused_although_they_are_as_many(server, words, tmp_path, capsys):
    out, said = tmp_path / "out", tmp_path / "said"
    data = tmp_path / "data.csv"
    shutil.copy(words[1], data)
    command = [words[0], str(data), *words[2:], "--out", str(out)]
    assert server.run(command, said, "press_ctrl_c") == 130
    rows = pd.read_csv(data)
    rows.loc[5, "text"] += " By the way, thank you."
    rows.to_csv(data, index=False)
    assert main([*command, "--resume"]) == 2
    assert "other data" in capsys.readouterr().err


if __name__ == "__main__":
    serve()
