"""The folder that a run writes: whole or not at all, never over another one by accident.

A run in progress lives beside its place, in `NAME.unfinished`, with its checkpoint. When all is written there, the
folder is renamed to `NAME`, which takes an instant.
"""

import json
import os
import shutil
from pathlib import Path

from course_utils.checkpoints import replace_safely
from course_utils.devices import processes

CHECKPOINT, RUN = "checkpoint.safetensors", "run.json"


def unfinished(out: Path) -> Path:
    """Where a run works before its folder is complete."""
    return out.with_name(out.name + ".unfinished")


def check_out(out: Path, inputs: list[Path], overwrite: bool, resume: bool) -> None:
    """Refuse a folder that would cost something: an input, another run, a place where nothing can be written.

    Raises ValueError or OSError, in one sentence, and changes nothing.
    """
    if not out.name:
        raise ValueError("--out names no folder: give it a name, such as runs/mine.")
    work = unfinished(out)
    for path in inputs:
        if path.resolve() == out.resolve() or out.resolve() in path.resolve().parents:
            raise ValueError(f"--out {str(out)!r} holds the input {str(path)!r}, which it would replace: name another.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {str(out)!r} is a file: name a folder that does not exist yet.")
    if out.exists() and not overwrite:
        raise ValueError(f"--out {str(out)!r} exists: name another folder, or add --overwrite to replace it.")
    if out.exists() and any(out.iterdir()) and not (out / "report.json").exists():
        raise ValueError(f"--out {str(out)!r} is no folder of this command, so it is not overwritten: name another.")
    if (work / RUN).exists() and not (overwrite or resume):
        raise ValueError(
            f"{str(work)!r} holds a run that was stopped: add --resume to go on with it, or --overwrite to start anew."
        )
    if work.exists() and not is_ours(work):
        raise ValueError(
            f"{str(work)!r} is no folder of this command, but a run would work there and delete what it holds: name "
            "another --out."
        )
    if out.is_symlink() or os.path.ismount(out):
        raise ValueError(
            f"--out {str(out)!r} is a link or a disk of its own, which no new folder can replace: name a folder in it."
        )
    try:
        str(out).encode()
    except UnicodeEncodeError:  # a model cannot be saved there
        raise ValueError(f"--out {str(out)!r} has a name that is no UTF-8 text: name another.") from None
    parent = next(p for p in out.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"Nothing can be written in {str(parent)!r}: name another place with --out.")


def is_ours(work: Path) -> bool:
    """Whether a folder is that of a run: it has a run's files, or nothing but what a killed process leaves."""
    names = {path.name for path in work.iterdir()} if work.is_dir() else {"a file"}
    return bool(names & {CHECKPOINT, RUN}) or all(name.startswith(".") for name in names)


def begin(out: Path, run: dict, resume: bool) -> tuple[Path, bool]:
    """Make the working folder, with a note of what is run; return it, and whether there is a checkpoint to go on with.

    Of several processes, which share the disk, the first one does it. Raises ValueError when the run to resume was
    another one.
    """
    work = unfinished(out)
    going_on = resume and (work / RUN).exists()
    if going_on:
        refuse_other_run(out, run)
    processes().wait_for_everyone()  # until all have looked
    if processes().is_main_process:
        if work.exists() and not going_on:
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
        for leftover in work.glob(".*"):  # ours or safetensors', of a process that was killed while it wrote
            leftover.unlink()
        write_json(work / RUN, run)
    processes().wait_for_everyone()
    return work, going_on and (work / CHECKPOINT).exists()


def read_run(out: Path) -> dict:
    """The choices of a stopped run; none where there is no such run. Raises ValueError for a damaged file."""
    path = unfinished(out) / RUN
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        raise ValueError(f"{str(path)!r} is damaged: add --overwrite to start anew.") from None


def refuse_other_run(out: Path, run: dict) -> None:
    """Raise ValueError when a stopped run had other choices than these."""
    saved, work = read_run(out), unfinished(out)
    changed = [key for key in run if saved.get(key) != run[key]]
    if changed:
        key = changed[0]
        raise ValueError(
            f"The run in {str(work)!r} had another {key.replace('_', '-')} ({saved.get(key)!r}, now {run[key]!r}): "
            "give the same to go on with it, or --overwrite in place of --resume to start anew."
        )


def finish(work: Path, out: Path) -> None:
    """Put the complete folder in its place; an older one there goes only when the new one stands."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    os.replace(work, out)
    shutil.rmtree(old, ignore_errors=True)
    for name in (CHECKPOINT, RUN):
        (out / name).unlink(missing_ok=True)


def write_json(path: Path, content: dict) -> None:
    """Write a dict as JSON, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with replace_safely(path) as temporary:
        # A file's name need not be UTF-8: what cannot be encoded becomes \udc80 to \udcff, as JSON writes it, too.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
