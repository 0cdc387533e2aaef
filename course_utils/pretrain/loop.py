"""The first stage: a language model learns from plain text, and can be killed at any moment."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.architecture import context_length
from course_utils.checkpoints import load_checkpoint, read_progress, save_checkpoint
from course_utils.models import locate_model
from course_utils.pretrain.model import build_model, build_optimizers, overall_bits, save_model, score_sources
from course_utils.pretrain.settings import PretrainSettings, check_resumed, scheduled_rate
from course_utils.pretrain.tokens import Tokens, check_lengths, draw_batch, open_corpus

SAVE_EVERY = 250  # steps: a kill costs at most so many


def pretrain(corpus: str, out: Path, work: Path, settings: PretrainSettings, compiled: bool = False) -> None:
    """Run or resume one pre-training, then write the folder `out` in the hub's format.

    Raises ValueError for a corpus too small to train or to test on, a mix that names no source of it, a `work` folder
    with tokens of another corpus, or a checkpoint in it made with other settings.
    """
    accelerator = Accelerator()
    torch.set_float32_matmul_precision("high")  # on a GPU: tensor cores for fp32 too
    with accelerator.main_process_first():
        tokens = open_corpus(corpus, work, settings)
    model = build_model(settings, tokens.tokenizer).to(accelerator.device)
    check_lengths(tokens, context_length(model))  # a model taken over is tested in its own context, which may be longer
    optimizers = build_optimizers(model, settings)
    checkpoint = work / "checkpoint.safetensors"
    progress = resume(checkpoint, model, optimizers, settings)
    if compiled:
        model.compile()
    for step in train(accelerator, model, optimizers, tokens, settings, progress):
        if step % SAVE_EVERY == 0 or step == settings.steps:
            if accelerator.is_main_process:
                progress["bits_per_byte"].append({"step": step, **score_sources(model, tokens, windows=64)})
                save_checkpoint(checkpoint, model, optimizers, progress)
            accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        save_model(model, tokens.tokenizer, out)
        facts = {"processes": accelerator.num_processes, **report(model, tokens, progress, settings)}
        (out / "pretraining.json").write_text(json.dumps(facts, indent=1))


def resume(checkpoint: Path, model, optimizers: list, settings) -> dict:
    """Load a checkpoint, if there is one, and return its progress; otherwise the progress of a run not begun.

    Raises ValueError, and changes nothing, if the checkpoint was made with settings that forbid going on.
    """
    if not checkpoint.exists():
        return {"step": 0, "seconds": 0.0, "loss": [], "bits_per_byte": [], "settings": asdict(settings)}
    progress = read_progress(checkpoint)
    check_resumed(progress.get("settings", {}), settings, progress["step"])
    load_checkpoint(checkpoint, model, optimizers)
    return {**progress, "settings": asdict(settings)}


def train(
    accelerator: Accelerator, model, optimizers: list, tokens: Tokens, settings: PretrainSettings, progress: dict
) -> Iterator[int]:
    """Take the steps that are left, note each in `progress`, and yield how many are done."""
    wrapped = accelerator.prepare(model)
    bar = show_bar(settings.steps, progress, accelerator.is_main_process)
    begun = time.monotonic() - progress["seconds"]
    for step in range(progress["step"], settings.steps):
        # Each process takes its own rows of the step's batch.
        rows = draw_batch(tokens.train, settings, step)[accelerator.process_index :: accelerator.num_processes]
        loss = take_step(accelerator, wrapped, optimizers, rows, settings, scheduled_rate(step, settings))
        progress["loss"].append(loss)
        progress |= {"step": step + 1, "seconds": time.monotonic() - begun}
        bar.set_postfix_str(f"loss {np.mean(progress['loss'][-100:]):.3f}")
        bar.update()
        yield step + 1
    bar.close()


def show_bar(steps: int, progress: dict, shown: bool) -> tqdm:
    """Open a progress bar at the step that is reached."""
    return tqdm(total=steps, initial=progress["step"], unit="step", disable=QUIET or not shown)


def take_step(accelerator, wrapped, optimizers: list, rows: torch.Tensor, settings, rate: float) -> float:
    """Take one optimizer step on this process's `rows` (rows, context); return the mean loss of all processes."""
    rows = rows.to(accelerator.device)
    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=settings.bf16):
        loss = wrapped(input_ids=rows, labels=rows).loss
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(wrapped.parameters(), settings.clip)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    return accelerator.reduce(loss.detach(), "mean").item()


def report(model, tokens: Tokens, progress: dict, settings: PretrainSettings) -> dict:
    """All that the model card says in numbers: settings, sources, time, curves, bits per byte of held-out text."""
    scores = score_sources(model, tokens)
    return {
        "continued_from": earlier_report(settings.start),
        "settings": asdict(settings),
        "sources": tokens.facts,
        "tokens_seen": progress["step"] * settings.batch_size * settings.context,
        "seconds": round(progress["seconds"]),
        "bits_per_byte": scores,
        "bits_per_byte_overall": overall_bits(scores, tokens.facts),
        "bits_per_byte_curve": progress["bits_per_byte"],
        "loss_curve": average_runs(progress["loss"]),
    }


def earlier_report(start: str | None) -> dict | None:
    """The report of the run that made `start`, if it has one."""
    if start is None:
        return None
    path = Path(locate_model(start)) / "pretraining.json"
    return json.loads(path.read_text()) if path.exists() else None


def average_runs(values: list[float], length: int = 50) -> list[float]:
    """The means of `length` values after another, to four digits: a curve short enough to keep."""
    return [round(float(np.mean(values[i : i + length])), 4) for i in range(0, len(values), length)]
