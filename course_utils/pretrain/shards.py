"""Texts and a teacher's vectors on the disk, and the batches that a student gets from them.

A shard is what a teacher reads and a student learns from as one piece. `texts_00000.tsv` has a line for each text: the
source, a tab, the text; `vectors_00000.npy` its vector in the same row. The shard `held_out` has texts of documents
that no stage trains on.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from course_utils.checkpoints import replace_safely

HELD_OUT = "held_out"


def write_shard(work: Path, name: str, rows: list[tuple[str, str]]) -> None:
    """Write one shard, the shortest text first: neighbours of like length need no padding."""
    rows = sorted(rows, key=lambda row: (len(row[1].split()), row))
    with replace_safely(work / f"texts_{name}.tsv") as temporary:
        temporary.write_text("".join(f"{source}\t{text}\n" for source, text in rows), encoding="utf-8")


def read_shard(work: Path, name: str) -> tuple[list[str], list[str]]:
    """Read one shard: (sources, texts)."""
    rows = (work / f"texts_{name}.tsv").read_text(encoding="utf-8").split("\n")[:-1]
    sources, texts = zip(*(row.split("\t", 1) for row in rows), strict=True)
    return list(sources), list(texts)


def read_facts(work: Path, stage: str) -> dict:
    """Read how the texts ("texts") or the vectors ("teacher") in `work` were made; FileNotFoundError without them."""
    path = work / f"{stage}.json"
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}: run the stages `texts` and `teach` before.")
    return json.loads(path.read_text())


def read_batches(
    work: Path, tokenizer, batch_size: int, seed: int, first: int
) -> Iterator[tuple[list[list[int]], torch.Tensor]]:
    """Yield the batches of step `first` and all later ones: token ids by text, and the teacher's vectors.

    Shards come in order, over and over. Inside one, texts of like length go together, and the batches are shuffled;
    that depends on seed, round and shard alone. Raises FileNotFoundError for a shard that the teacher has not read.
    """
    facts = read_facts(work, "texts")
    starts = range(0, facts["texts"], facts["shard_size"])
    counts = [-(-min(facts["shard_size"], facts["texts"] - start) // batch_size) for start in starts]
    passes, skip = divmod(first, sum(counts))
    while True:
        for shard, count in enumerate(counts):
            if skip >= count:
                skip -= count
                continue
            yield from batch_shard(work, f"{shard:05d}", tokenizer, count, [seed, passes, shard], skip)
            skip = 0
        passes += 1


def batch_shard(work: Path, name: str, tokenizer, count: int, seed: list[int], skip: int) -> Iterator:
    """Yield a shard's batches, `count` of nearly equal size, without the first `skip`."""
    ids, vectors = load_shard(work, name, tokenizer)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(ids))  # so that texts of one length meet others in another pass
    order = order[np.argsort([len(ids[i]) for i in order], kind="stable")]
    batches = np.array_split(order, count)
    for number in rng.permutation(count)[skip:]:
        yield [ids[i] for i in batches[number]], vectors[batches[number]]


def load_shard(work: Path, name: str, tokenizer) -> tuple[list[list[int]], torch.Tensor]:
    """Read one shard: the texts' token ids and the teacher's vectors (texts, size), float32."""
    path = work / f"vectors_{name}.npy"
    if not path.exists():
        raise FileNotFoundError(f"The teacher has not read shard {name} yet: let `teach` go on, then try again.")
    return tokenizer(read_shard(work, name)[1]).input_ids, torch.from_numpy(np.load(path).astype(np.float32))
