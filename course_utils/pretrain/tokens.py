"""The corpus as token ids on the disk, and the batch that each step draws from them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from course_utils import QUIET
from course_utils.checkpoints import replace_safely
from course_utils.models import load_tokenizer
from course_utils.pretrain.settings import PretrainSettings, check_mix
from course_utils.pretrain.text import encode, fingerprint_corpus, hold_out, read_corpus, train_tokenizer


@dataclass(frozen=True)
class Tokens:
    """A tokenized corpus: by source its token ids to train on, those held out, and counts (`facts`)."""

    tokenizer: PreTrainedTokenizerBase
    train: dict[str, np.ndarray]
    held: dict[str, np.ndarray]
    facts: dict[str, dict]


def prepare_tokens(corpus: str, work: Path, settings: PretrainSettings) -> None:
    """Write tokenizer, `train_SOURCE.npy` and `held_SOURCE.npy` into `work`, unless they are there already.

    Raises ValueError when those there are of another corpus, or were made with another tokenizer.
    """
    made_of = {
        "corpus": fingerprint_corpus(corpus),
        "tokenizer": fingerprint_tokenizer(settings),
    }
    record = work / "sources.json"
    if record.exists():
        before = json.loads(record.read_text()).get("made_of", {})
        changed = [name for name, value in made_of.items() if before.get(name) != value]
        if changed:
            raise ValueError(
                f"The tokens in {work} were made of another {changed[0]} ({before.get(changed[0])}, now "
                f"{made_of[changed[0]]}): give another --work folder, or delete this one."
            )
        return
    sources = read_corpus(corpus)
    parts = {name: hold_out(documents, name) for name, documents in sources.items()}
    if settings.start is not None:
        tokenizer = load_tokenizer(settings.start)
    else:
        # One document in three is plenty to learn 8,000 merges from, and three times as fast.
        sample = (document for documents in sources.values() for document in documents[::3])
        tokenizer = train_tokenizer(sample, settings.vocabulary)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(work / "tokenizer")
    facts = {}
    for name, (train, held) in tqdm(parts.items(), desc="tokenize", disable=QUIET):
        train_ids, held_ids = encode(train, tokenizer), encode(held, tokenizer)
        np.save(work / f"train_{name}.npy", train_ids)
        np.save(work / f"held_{name}.npy", held_ids)
        facts[name] = {
            "documents": len(train), "held_out_documents": len(held), "tokens": len(train_ids),
            "held_out_tokens": len(held_ids), "held_out_bytes": sum(len(d.encode()) + 1 for d in held),
        }  # fmt: skip
    with replace_safely(record) as temporary:
        temporary.write_text(json.dumps({"made_of": made_of, "sources": facts}, indent=1))


def open_corpus(corpus: str, work: Path, settings: PretrainSettings) -> Tokens:
    """Tokenize a corpus, unless `work` has its tokens, and open it; raises ValueError if `settings` do not fit it."""
    prepare_tokens(corpus, work, settings)
    tokens = load_tokens(work)
    source_shares(tokens.train, settings.mix)
    check_lengths(tokens, settings.context)
    return tokens


def fingerprint_tokenizer(settings: PretrainSettings) -> str:
    """Say which tokenizer a run has: a hash of the one it takes over, or how the one it learns is learned."""
    if settings.start is None:
        return f"{settings.vocabulary} tokens learned from the corpus"
    rules = json.dumps(load_tokenizer(settings.start).get_vocab(), sort_keys=True)
    return hashlib.sha256(rules.encode()).hexdigest()[:16]


def load_tokens(work: Path) -> Tokens:
    """Open what `prepare_tokens` wrote; the ids stay on the disk until they are used."""
    facts = json.loads((work / "sources.json").read_text())["sources"]
    arrays = [
        {name: np.load(work / f"{part}_{name}.npy", mmap_mode="r") for name in facts} for part in ("train", "held")
    ]
    return Tokens(AutoTokenizer.from_pretrained(work / "tokenizer"), *arrays, facts)


def check_lengths(tokens: Tokens, context: int) -> None:
    """Raise ValueError when a source is shorter than one window of `context` tokens, for training or for testing."""
    for name in tokens.facts:
        for part, ids in {"to train on": tokens.train[name], "held out": tokens.held[name]}.items():
            if len(ids) < context:
                raise ValueError(
                    f"The source {name!r} has {len(ids)} tokens {part}, fewer than one window of {context}: add text, "
                    "join it to another source, or take a smaller context."
                )


def source_shares(tokens: dict[str, np.ndarray], mix: dict[str, float] | None) -> dict[str, float]:
    """Give each source its share of the batches: that of the mix, or of the tokens; they add up to 1.

    Raises ValueError for a mix that does not fit the sources.
    """
    if mix is None:
        weights = {name: len(tokens[name]) for name in sorted(tokens)}
    else:
        check_mix(mix, list(tokens))
        weights = {name: mix.get(name, 0.0) for name in sorted(tokens)}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def draw_batch(tokens: dict[str, np.ndarray], settings, step: int) -> torch.Tensor:
    """Draw the batch of one step, shape (batch_size, context).

    It depends on seed and step alone, so a resumed run sees what an unbroken one would have seen.
    """
    rng = np.random.default_rng([settings.seed, step])
    shares = source_shares(tokens, settings.mix)
    rows = []
    for i in rng.choice(len(shares), size=settings.batch_size, p=list(shares.values())):
        ids = tokens[list(shares)[i]]
        start = rng.integers(0, len(ids) - settings.context + 1)
        rows.append(ids[start : start + settings.context].astype(np.int64))
    return torch.from_numpy(np.stack(rows))
