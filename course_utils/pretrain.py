"""How the embedded GPT was made: pre-train a small GPT-2 on plain text, from the first byte to the saved folder.

    python -m course_utils.pretrain --corpus FOLDER --out data/gpt2-mini

The folder holds `.txt` or `.txt.xz` files, one source each, documents separated by a line `<|endoftext|>`. A name
that is no folder is taken as a data set of the hub and streamed. Work in progress (tokens, checkpoint) lies in
`--work`; kill the command at any moment and start it again, and it goes on with the same loss curve.
`torchrun --nproc_per_node 2 -m course_utils.pretrain ...` shares every step among processes.
"""

import argparse
import json
import lzma
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from tokenizers import ByteLevelBPETokenizer
from tqdm.auto import tqdm
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from course_utils import QUIET
from course_utils.checkpoints import load_checkpoint, replace_safely, save_checkpoint
from course_utils.models import load_language_model, load_tokenizer, locate_model, set_dropout
from course_utils.pipeline import make_optimizer, make_scheduler

END_OF_TEXT, PAD = "<|endoftext|>", "<|pad|>"


@dataclass(frozen=True)
class PretrainSettings:
    """Every choice of a pre-training run. The model card of `data/gpt2-mini` names the ones that made it.

    `mix` gives each source its share of the batches (None: in proportion to its tokens). One step sees
    `batch_size * context` tokens. The learning rate warms up over `warmup_steps`, holds, and falls linearly to
    zero over the last `decay_share` of `steps`: as long as the fall has not begun, `steps` may be changed when a
    run is resumed (Hu et al. 2024, MiniCPM, arXiv:2404.06395, call this warm-up, stable, decay).

    With `start`, the name or folder of a saved GPT, training goes on from its weights with its tokenizer and its
    architecture; vocabulary, width, layers and heads are then not looked at. Take another `seed` than it had, or it
    reads the same batches again.
    """

    vocabulary: int = 8192
    context: int = 128
    width: int = 256
    layers: int = 6
    heads: int = 4
    steps: int = 3_600
    batch_size: int = 32
    learning_rate: float = 2e-3
    muon_weight_decay: float = 0.1
    warmup_steps: int = 100
    decay_share: float = 0.3
    clip: float = 1.0
    seed: int = 0
    mix: dict[str, float] | None = None
    start: str | None = None


# --- text -> tokens ---------------------------------------------------------------------------------------------


def read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of one `.txt` or `.txt.xz` file, split at lines that say `<|endoftext|>`."""
    lines = []
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as file:
        for line in file:
            if line.strip() != END_OF_TEXT:
                lines.append(line)
            elif lines:
                yield "".join(lines).strip()
                lines = []
    if lines:
        yield "".join(lines).strip()


def read_corpus(corpus: str, limit: int = 50_000) -> dict[str, list[str]]:
    """Read all documents, by source: a folder's text files, or else the `text` column of a hub data set.

    A hub data set is streamed, its first `limit` documents are taken. Raises FileNotFoundError when a folder
    holds no text files.
    """
    folder = Path(corpus)
    if not folder.is_dir():
        from datasets import load_dataset

        stream = load_dataset(corpus, split="train", streaming=True).take(limit)
        return {corpus.rsplit("/", 1)[-1]: [row["text"] for row in stream]}
    paths = sorted([*folder.glob("*.txt"), *folder.glob("*.txt.xz")])
    if not paths:
        raise FileNotFoundError(f"No .txt or .txt.xz files in {folder}: put the text to pre-train on there.")
    return {path.name.split(".")[0]: list(read_documents(path)) for path in paths}


def hold_out(documents: list[str]) -> tuple[list[str], list[str]]:
    """Keep about one document in a hundred, evenly spread, but at least two, out of training: (train, held out)."""
    every = max(2, min(100, len(documents) // 2))
    held = documents[every // 2 :: every]
    return [d for i, d in enumerate(documents) if i % every != every // 2], held


def train_tokenizer(documents: Iterator[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE like GPT-2's (Radford et al. 2019), with a pad token of its own."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(documents, vocab_size=vocabulary, special_tokens=[END_OF_TEXT, PAD])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, unk_token=END_OF_TEXT,
        pad_token=PAD, padding_side="right",
    )  # fmt: skip


def encode(documents: list[str], tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Join documents into one row of token ids, an end-of-text token after each."""
    pieces = []
    for start in range(0, len(documents), 256):
        for ids in tokenizer(documents[start : start + 256], split_special_tokens=True).input_ids:
            pieces.append(np.array([*ids, tokenizer.eos_token_id], dtype=np.uint16))
    return np.concatenate(pieces)


def prepare_tokens(corpus: str, work: Path, settings: PretrainSettings) -> None:
    """Write tokenizer, `train_SOURCE.npy` and `held_SOURCE.npy` into `work`, unless they are there already."""
    if (work / "sources.json").exists():
        return
    sources = read_corpus(corpus)
    if settings.start is not None:
        tokenizer = load_tokenizer(settings.start)
    else:
        # One document in three is plenty to learn 8,000 merges from, and three times as fast.
        sample = (document for documents in sources.values() for document in documents[::3])
        tokenizer = train_tokenizer(sample, settings.vocabulary)
    tokenizer.save_pretrained(work / "tokenizer")
    facts = {}
    for name, documents in tqdm(sources.items(), desc="tokenize"):
        train, held = hold_out(documents)
        train_ids, held_ids = encode(train, tokenizer), encode(held, tokenizer)
        np.save(work / f"train_{name}.npy", train_ids)
        np.save(work / f"held_{name}.npy", held_ids)
        facts[name] = {
            "documents": len(train), "held_out_documents": len(held), "tokens": len(train_ids),
            "held_out_tokens": len(held_ids), "held_out_bytes": sum(len(d.encode()) + 1 for d in held),
        }  # fmt: skip
    with replace_safely(work / "sources.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1))


# --- tokens -> batches ------------------------------------------------------------------------------------------


def draw_batch(tokens: dict[str, np.ndarray], settings: PretrainSettings, step: int) -> torch.Tensor:
    """Draw the batch of one step, shape (batch_size, context).

    It depends on seed and step alone, so a resumed run sees what an unbroken one would have seen.
    """
    rng = np.random.default_rng([settings.seed, step])
    names = sorted(tokens)
    weights = np.array([(settings.mix or {}).get(name, 0 if settings.mix else len(tokens[name])) for name in names])
    chosen = rng.choice(len(names), size=settings.batch_size, p=weights / weights.sum())
    rows = []
    for name in (names[i] for i in chosen):
        start = rng.integers(0, len(tokens[name]) - settings.context + 1)
        rows.append(tokens[name][start : start + settings.context].astype(np.int64))
    return torch.from_numpy(np.stack(rows))


# --- model and training -----------------------------------------------------------------------------------------


def build_model(settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """Build GPT-2's architecture with random weights, or take those of `start`.

    No dropout: each text is seen about once, nothing overfits.
    """
    if settings.start is not None:
        model = set_dropout(load_language_model(settings.start), 0.0).train()
        model.config.use_cache = False
        return model
    torch.manual_seed(settings.seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=settings.vocabulary, n_positions=settings.context, n_embd=settings.width,
            n_layer=settings.layers, n_head=settings.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            # The tanh form is the same function as GPT-2's "gelu_new", computed by one fused kernel.
            activation_function="gelu_pytorch_tanh", bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, use_cache=False,
        )
    )  # fmt: skip


def orthogonalize(gradient: torch.Tensor, coefficients: tuple, steps: int, eps: float) -> torch.Tensor:
    """Replace a matrix's singular values by values near 1: the heart of Muon, by Newton-Schulz iteration.

    It takes the place of PyTorch's own, which computes in bfloat16: most CPUs can only emulate that, and there it made
    a whole step six times slower.
    """
    a, b, c = coefficients
    wide = gradient.size(0) <= gradient.size(1)
    matrix = gradient if wide else gradient.T
    matrix = matrix / matrix.norm().clamp(min=eps)  # no singular value above 1
    for _ in range(steps):
        square = matrix @ matrix.T
        matrix = a * matrix + (b * square + c * square @ square) @ matrix
    return matrix if wide else matrix.T


def build_optimizers(model: GPT2LMHeadModel, settings: PretrainSettings) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices (Jordan et al. 2024), AdamW for embeddings, biases and norms.

    With `match_rms_adamw` Muon's updates have AdamW's size, so both take one learning rate
    (Liu et al. 2025, arXiv:2502.16982).
    """
    if model.device.type == "cpu":
        torch.optim._muon._zeropower_via_newtonschulz = orthogonalize
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2]
    in_blocks = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in in_blocks]
    muon = torch.optim.Muon(
        matrices, lr=settings.learning_rate, weight_decay=settings.muon_weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, torch.optim.AdamW(others, lr=settings.learning_rate, weight_decay=0.0, fused=True)]


def scheduled_rate(step: int, settings: PretrainSettings) -> float:
    """The learning rate of one step: warm up, hold, fall to zero."""
    warmup = (step + 1) / settings.warmup_steps
    decay = (settings.steps - step) / (settings.decay_share * settings.steps)
    return settings.learning_rate * min(1.0, warmup, decay)


@torch.no_grad()
def bits_per_byte(model, held: np.ndarray, byte_count: int, windows: int | None = None) -> float:
    """Bits the model needs for each byte of held-out text, in windows of the model's context without overlap.

    Bits per byte, unlike the loss per token, can be compared across tokenizers. `windows` looks at a sample of
    the windows only.
    """
    context = model.config.n_positions
    rows = torch.from_numpy(held[: len(held) // context * context].astype(np.int64)).view(-1, context)
    if windows is not None and windows < len(rows):
        rows = rows[torch.linspace(0, len(rows) - 1, windows).long()]
    model.eval()
    losses = [model(input_ids=b, labels=b).loss.item() * len(b) for b in rows.to(model.device).split(32)]
    model.train()
    return sum(losses) / len(rows) / math.log(2) * len(held) / byte_count


def pretrain(corpus: str, out: Path, work: Path, settings: PretrainSettings, bf16: bool, compiled: bool) -> None:
    """Run or resume one pre-training, then write the folder `out` in the hub's format.

    A checkpoint is written every 250 steps, so a kill costs at most that many.
    """
    accelerator = Accelerator()
    torch.set_float32_matmul_precision("high")  # on a GPU: tensor cores for fp32 too
    work.mkdir(parents=True, exist_ok=True)
    with accelerator.main_process_first():
        prepare_tokens(corpus, work, settings)
    facts = json.loads((work / "sources.json").read_text())
    train = {name: np.load(work / f"train_{name}.npy", mmap_mode="r") for name in facts}
    held = {name: np.load(work / f"held_{name}.npy", mmap_mode="r") for name in facts}
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")

    model = build_model(settings, tokenizer).to(accelerator.device)
    optimizers = build_optimizers(model, settings)
    checkpoint = work / "checkpoint.safetensors"
    progress = {"step": 0, "seconds": 0.0, "loss": [], "bits_per_byte": []}
    if checkpoint.exists():
        progress, _ = load_checkpoint(checkpoint, model, optimizers)
        accelerator.print(f"Going on from step {progress['step']} of {settings.steps}.")
    if compiled:
        model.compile()
    wrapped = accelerator.prepare(model)

    bar = tqdm(
        total=settings.steps, initial=progress["step"], unit="step", disable=QUIET or not accelerator.is_main_process
    )
    clock, first_seconds, first_step = time.monotonic(), progress["seconds"], progress["step"]
    for step in range(progress["step"], settings.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = scheduled_rate(step, settings)
        # Each process takes its own rows of the step's batch.
        rows = draw_batch(train, settings, step)[accelerator.process_index :: accelerator.num_processes]
        rows = rows.to(accelerator.device)
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=bf16):
            loss = wrapped(input_ids=rows, labels=rows).loss
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(wrapped.parameters(), settings.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

        progress["step"] = step + 1
        progress["seconds"] = first_seconds + time.monotonic() - clock
        progress["loss"].append(accelerator.reduce(loss.detach(), "mean").item())
        recent = sum(progress["loss"][-100:]) / len(progress["loss"][-100:])
        speed = (step + 1 - first_step) * settings.batch_size * settings.context / (time.monotonic() - clock)
        bar.set_postfix_str(f"loss {recent:.3f}, {speed:,.0f} tokens/s")
        bar.update()
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            if accelerator.is_main_process:
                scores = {n: bits_per_byte(model, held[n], facts[n]["held_out_bytes"], windows=64) for n in facts}
                progress["bits_per_byte"].append({"step": step + 1, **scores})
                bar.write(f"step {step + 1}: bits per byte " + ", ".join(f"{n} {s:.3f}" for n, s in scores.items()))
                save_checkpoint(checkpoint, model, optimizers, progress)
            accelerator.wait_for_everyone()
    bar.close()
    if accelerator.is_main_process:
        save_model(model, tokenizer, out)
        facts_of_run = {"processes": accelerator.num_processes, **report(model, held, facts, progress, settings)}
        (out / "pretraining.json").write_text(json.dumps(facts_of_run, indent=1))


def adapt(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, texts: list[str], epochs: int = 3,
    learning_rate: float = 1e-3, batch_size: int = 16, seed: int = 0,
) -> list[float]:  # fmt: skip
    """Go on pre-training with the texts of a task, whose labels it does not need; return the loss of every step.

    Changes the model in place. Gururangan et al. 2020, Don't Stop Pretraining, arXiv:2004.10964.
    """
    context = model.config.n_positions
    ids = torch.from_numpy(encode(texts, tokenizer).astype(np.int64))
    rng = np.random.default_rng(seed)
    steps_per_epoch = max(1, len(ids) // (context * batch_size))
    optimizer = make_optimizer(model, learning_rate)
    scheduler = make_scheduler(optimizer, epochs * steps_per_epoch)
    losses = []
    for _ in tqdm(range(epochs * steps_per_epoch), desc="adapt", unit="step", disable=QUIET):
        starts = rng.integers(0, max(1, len(ids) - context + 1), size=batch_size)
        rows = torch.stack([ids[start : start + context] for start in starts])
        loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def save_model(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the folder that `from_pretrained` loads: config, fp16 weights, tokenizer."""
    # fp16 halves the file; the loaders turn it back into fp32.
    clone = GPT2LMHeadModel(model.config)
    clone.load_state_dict(model.state_dict())
    clone.half().save_pretrained(out)
    tokenizer.model_max_length = model.config.n_positions
    tokenizer.save_pretrained(out)


def report(model, held: dict, facts: dict, progress: dict, settings: PretrainSettings) -> dict:
    """All that the model card says in numbers: settings, sources, time, curves, bits per byte of held-out text."""
    scores = {name: bits_per_byte(model, held[name], facts[name]["held_out_bytes"]) for name in facts}
    total = sum(fact["held_out_bytes"] for fact in facts.values())
    losses = progress["loss"]
    before = Path(locate_model(settings.start or "")) / "pretraining.json"
    return {
        "continued_from": json.loads(before.read_text()) if settings.start and before.exists() else None,
        "settings": asdict(settings),
        "sources": facts,
        "tokens_seen": len(losses) * settings.batch_size * settings.context,
        "seconds": round(progress["seconds"]),
        "bits_per_byte": scores,
        "bits_per_byte_overall": sum(scores[n] * facts[n]["held_out_bytes"] for n in facts) / total,
        "bits_per_byte_curve": progress["bits_per_byte"],
        "loss_curve": [round(float(np.mean(losses[i : i + 50])), 4) for i in range(0, len(losses), 50)],
    }


def parse_mix(text: str) -> dict[str, float]:
    """Read "wikipedia=0.4,dialogues=0.2" into a dict."""
    try:
        return {name: float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no mix: write NAME=SHARE,NAME=SHARE") from None


def main() -> None:
    """Read the command line and pre-train."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.pretrain", description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", required=True, help="folder of .txt or .txt.xz files, or a data set of the hub")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the finished model to")
    parser.add_argument("--work", type=Path, default=Path("pretraining"), help="folder for tokens and the checkpoint")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 (not faster on every machine)")
    parser.add_argument("--compile", action="store_true", help="compile the model first (needs a C++ compiler)")
    for field in fields(PretrainSettings):
        kind = {"mix": parse_mix, "start": str}.get(field.name, type(field.default))
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    options = vars(parser.parse_args())
    settings = PretrainSettings(**{field.name: options[field.name] for field in fields(PretrainSettings)})
    try:
        pretrain(options["corpus"], options["out"], options["work"], settings, options["bf16"], options["compile"])
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\nStopped. The same command goes on from the last checkpoint in {options['work']}.\n")


if __name__ == "__main__":
    main()
