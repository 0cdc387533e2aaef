"""finetune: from a file of labelled texts to a folder with a classifier, its report and its model card."""

import datetime
import importlib.metadata
import platform
import shlex
import shutil
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from datasets import DatasetDict
from peft import PeftModel
from safetensors import SafetensorError

from course_utils import report
from course_utils.architecture import add_lora, body_parts, context_length, count_parameters, freeze_below
from course_utils.checkpoints import read_progress
from course_utils.cli.estimate import HEAD_ROWS, choose_pooling, choose_settings, expected_seconds, in_words
from course_utils.cli.folders import CHECKPOINT, begin, check_out, finish, read_run, unfinished, write_json
from course_utils.cli.measure import compare, measure_baselines, plain, test_facts
from course_utils.cli.memory import fit, move_if_it_fits
from course_utils.cli.prepare import read_splits, tokenize_splits
from course_utils.cli.show import is_first, say, say_table, show_score
from course_utils.devices import mixed_precision, pick_device, processes
from course_utils.evaluation import evaluate
from course_utils.frozen import start_head
from course_utils.history import Diverged, FineTuneSettings, History, check_settings
from course_utils.models import load_classifier, load_tokenizer, save_classifier
from course_utils.sharing import check_sharding, home
from course_utils.training import fine_tune

CHOICES = ("learning_rate", "epochs", "batch_size", "accumulate", "patience", "seed")
PACKAGES = ("torch", "transformers", "datasets", "scikit-learn")


def run(options: Namespace) -> int:
    """Do all of it; return the exit status. Raises OSError or ValueError, in one sentence, with nothing written."""
    start, out = time.perf_counter(), Path(options.out)
    files = [Path(path) for path in (options.data, options.validation, options.test) if path]
    check_out(out, files, options.overwrite, options.resume)
    settings = choose_settings(options.model, options.lora, {name: getattr(options, name) for name in CHOICES})
    check_settings(settings)
    options.pooling = options.pooling or choose_pooling(options.model)
    check_sharding()
    tokenizer = load_tokenizer(options.model)
    splits, about_data = read_splits(options)
    labels = sorted(splits["train"]["label"].unique())
    model = build_model(options, labels)
    limit = min(options.max_tokens, tokenizer.model_max_length, context_length(model))
    data, tokens = tokenize_splits(splits, tokenizer, limit)
    del splits  # their texts are in the data set
    about_data |= tokens | {"notes": about_data["notes"] + tokens["notes"]}
    show_data(about_data)
    run = choices(options, settings, about_data)
    settings, run["fitted"] = fit(model, settings, about_data["longest_used"], read_run(out) if options.resume else {})
    facts = {
        "format": 1,
        "name": out.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": "python -m course_utils " + shlex.join(options.words),
        "model": describe_model(options, model),
        "labels": labels,
        "data": about_data,
        "settings": asdict(settings),
    }
    with explain_full_disk(out):
        work, going_on = begin(out, run, options.resume)
        try:
            expected = announce(model, data, settings, work if going_on else None)
            if options.head == "probe" and not going_on:
                start_head(model, data["train"], most=HEAD_ROWS)
            began = time.perf_counter()
            history, diverged = train(model, data, settings, work)
        except Diverged:  # before there were weights worth keeping
            if not going_on:
                shutil.rmtree(work, ignore_errors=True)
            raise
        if history.ended == "interrupted":
            return stop(options)
        if not is_first():
            return 2 if diverged else 0
        facts["history"] = asdict(history)
        facts["seconds"] = {"expected": expected, "training": time.perf_counter() - began, "resumed": going_on}
        facts["model"]["gradient_checkpointing"] = run["fitted"][2]
        measure(facts, move_if_it_fits(model), data, start)
        tokenizer.model_max_length = limit  # so that a pipeline with truncation=True cuts texts where training did
        write(facts, model, tokenizer, work)
        finish(work, out)
    show_result(facts, out)
    if diverged:
        print(f"finetune: {diverged} The folder has the best weights before that.", file=sys.stderr)
    return 2 if diverged else 0


# --- the model --------------------------------------------------------------------------------------------------


def build_model(options: Namespace, labels: list[str]):
    """Load the classifier, freeze what is to stay, and move it to where it belongs before training."""
    model = load_classifier(labels, options.model, seed=options.seed, pooling=options.pooling)
    blocks = len(body_parts(model).blocks)
    if options.freeze > blocks:
        raise ValueError(f"{options.model} has {blocks} blocks: --freeze takes a number from 0 to {blocks}.")
    if options.lora and options.freeze == blocks:
        raise ValueError("--lora needs blocks that are not frozen: give --freeze a smaller number.")
    if options.lora:
        model = add_lora(model, layers=range(options.freeze, blocks))
    elif options.freeze:
        freeze_below(model, options.freeze)
    return model.to(home())


def describe_model(options: Namespace, model) -> dict:
    """The facts about a model."""
    trainable, parameters = count_parameters(model)
    return {
        "name": options.model,
        "type": model.config.model_type,
        "parameters": parameters,
        "trainable": trainable,
        "pooling": options.pooling,
        "head": options.head,
        "lora": options.lora,
        "frozen_blocks": options.freeze,
        "device": pick_device().type,
        "processes": processes().num_processes,
        "precision": "bf16" if isinstance(mixed_precision(model, kind=pick_device().type), torch.autocast) else "fp32",
    }


def choices(options: Namespace, settings: FineTuneSettings, about_data: dict) -> dict:
    """What must be the same for a stopped run to go on; the rows themselves are in the checkpoint's fingerprint."""
    own = {name: getattr(options, name) for name in ("model", "pooling", "head", "lora", "freeze")}
    return own | {"max_tokens": about_data["max_tokens"], "rows": about_data["rows_used"]} | asdict(settings)


# --- training ---------------------------------------------------------------------------------------------------


def announce(model, data: DatasetDict, settings: FineTuneSettings, work: Path | None) -> float | None:
    """Say how long training will take before it starts; return the seconds, None for a run that is done already."""
    history = read_progress(work / CHECKPOINT)["history"] if work else {"loss": [], "ended": "running"}
    done = len(history["loss"])
    if history["ended"] != "running":
        say(f"The training is done already, after {done:,} steps.")
        return None
    say("Timing the first steps ...")
    seconds = expected_seconds(model, data["train"], data["validation"], settings, done)
    again = f"Going on after step {done:,}: " if done else ""
    say(f"{again}expected time of training: about {in_words(seconds)} on {pick_device().type}, less if it stops early.")
    return seconds


def train(model, data: DatasetDict, settings: FineTuneSettings, work: Path) -> tuple[History, Diverged | None]:
    """Train with checkpoints until the end, Ctrl-C or divergence; return the history, and the divergence if any.

    Raises Diverged where that happens before the first validation: then there are no weights worth keeping.
    """
    try:
        with note_signals() as asked:

            def on_step(history: History) -> None:
                if asked:
                    history.ended = "interrupted"

            checkpoint = work / CHECKPOINT
            return fine_tune(model, data["train"], data["validation"], settings, checkpoint, on_step), None
    except Diverged as error:
        if error.history.best is None:
            raise
        error.history.ended = "diverged"
        return error.history, error


@contextmanager
def note_signals() -> Iterator[list[int]]:
    """Within this context Ctrl-C (or SIGTERM, as from Slurm) is only noted, in a list; a second one stops at once."""
    asked: list[int] = []

    def note(number, _frame):
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("\nStopping after this step, to save first; once more stops at once.", file=sys.stderr, flush=True)

    if threading.current_thread() is not threading.main_thread() or processes().num_processes > 1:
        yield asked  # signals go to the main thread only; and several processes might not stop after the same step
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(options: Namespace) -> int:
    """Say what is saved after Ctrl-C, which is less after a second one, and how to go on."""
    words = [word for word in options.words if word != "--resume"]
    checkpoint = unfinished(Path(options.out)) / CHECKPOINT
    steps = len(read_progress(checkpoint)["history"]["loss"]) if checkpoint.exists() else 0
    saved = f"Stopped and saved after step {steps:,}" if steps else "Stopped before anything was saved"
    if is_first():
        command = f"python -m course_utils {shlex.join([*words, '--resume'])}"
        print(f"{saved}. Go on with:\n  {command}", file=sys.stderr)
    return 130


@contextmanager
def explain_full_disk(out: Path) -> Iterator[None]:
    """Turn a failed write into a sentence that says what is left."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read what is printed has had enough
    except (SafetensorError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0].rstrip(".")
        raise OSError(
            f"Writing the run to {str(out)!r} failed ({reason}): its last good checkpoint is kept, so make room there "
            "and go on with --resume."
        ) from None


# --- the result -------------------------------------------------------------------------------------------------


def measure(facts: dict, model, data: DatasetDict, start: float) -> None:
    """Evaluate on the test, once, and add everything that follows from it to the facts."""
    say(f"Evaluating on {len(data['test']):,} test rows, the model and the baselines ...")
    began = time.perf_counter()
    result = evaluate(model, data["test"])
    seconds = time.perf_counter() - began
    facts["test"] = test_facts(result, list(data["test"]["text"]))
    facts["baselines"], tfidf = measure_baselines(data)
    facts |= compare(result, tfidf, facts["baselines"], seconds)
    facts["seconds"] |= {"evaluation": seconds, "total": time.perf_counter() - start}
    facts["versions"] = {"python": platform.python_version()}
    facts["versions"] |= {name: importlib.metadata.version(name) for name in PACKAGES}
    facts["versions"]["course"] = importlib.metadata.version("fine-tuning-a-gpt")
    facts["license"] = None
    for row in facts["history"]["validations"]:
        row["validation_loss"] = plain(row["validation_loss"])


def write(facts: dict, model, tokenizer, work: Path) -> None:
    """Write weights, tokenizer, report and model card into the working folder."""
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()  # nobody needs the matrices apart any more
    save_classifier(model.cpu(), tokenizer, work)
    # safetensors writes for its owner's eyes only; a web server, for one, must read the weights, too.
    (work / "model.safetensors").chmod((work / "config.json").stat().st_mode)
    write_json(work / "report.json", facts)
    report.write_model_card(facts, work)
    report.write_report(facts, work)


def show_data(about: dict) -> None:
    """Print what was found in the data."""
    splits = about["splits"]
    labels = sorted(splits["train"]["labels"], key=splits["train"]["labels"].get, reverse=True)
    rows = [[label, *(splits[name]["labels"].get(label, 0) for name in splits)] for label in labels[:20]]
    rows.append(["all", *(split["rows"] for split in splits.values())])
    say(f"{about['rows_read']:,} rows read, {about['rows_used']:,} used, {len(labels)} labels.")
    say_table("Rows of each label", ["label", *splits], rows)
    if len(labels) > 20:
        say(f"... and {len(labels) - 20} labels more.")
    for row in about["cleaning"]:
        if row["rows"]:
            say(f"{row['kind']}: {row['rows']:,} row(s), {row['action']}.")
    say(about["leaks"]["action"], *about["notes"])


def show_result(facts: dict, out: Path) -> None:
    """Print the scores, the verdict, and what to do with the folder."""
    test, baselines = facts["test"], facts["baselines"]
    scores = {facts["model"]["name"]: test, "TF-IDF": baselines["tfidf"], "commonest label": baselines["majority"]}
    rows = [[name, show_score(s["macro_f1"]), show_score(s["accuracy"])] for name, s in scores.items()]
    say_table(f"{test['rows']:,} test rows, with 95 % intervals", ["", "macro-F1", "accuracy"], rows)
    since = " since the run went on" if facts["seconds"]["resumed"] else ""
    took = f"Training took {in_words(facts['seconds']['training'])}{since}."
    say(facts["verdict"]["sentence"], f"{took} Written: {out}")
    if facts["model"]["pooling"] == "mean":
        say("With --pooling mean, load the folder by course_utils.models.load_fine_tuned, not by transformers alone.")
    say(f"Next: open {out / 'report.html'}, or run python -m course_utils predict {shlex.quote(str(out))} FILE")
