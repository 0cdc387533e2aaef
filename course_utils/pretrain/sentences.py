"""Cut a corpus into short texts, one to three sentences (or dialogue turns) each, in the order of training.

What a sentence encoder can say something about is a sentence, not half a chapter.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from course_utils.checkpoints import replace_safely
from course_utils.pretrain.settings import check_mix
from course_utils.pretrain.shards import HELD_OUT, write_shard
from course_utils.pretrain.text import fingerprint_corpus, hold_out, read_corpus

# Shares of the texts. Dialogues are the smallest and the most repetitive source, textbooks the smallest of prose.
MIX = {"dialogues": 0.30, "wikipedia": 0.34, "books": 0.22, "openstax": 0.14}
SHARD = 8192  # texts: a minute of a teacher's work, so that a kill costs little
HELD_OUT_TEXTS = 4096
PASSES = 6

# The dots of "Mr." and of initials end no sentence.
SENTENCE_END = re.compile(r"(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\b[A-Z]\.)(?<=[.!?])\s+")


def split_units(documents: list[str]) -> list[list[str]]:
    """Cut each document into sentences, or, where most documents have short lines as dialogues do, into lines.

    Headings and other short lines of prose are left out.
    """
    lines = [[" ".join(line.split()) for line in document.split("\n") if line.strip()] for document in documents]
    lines = [rows for rows in lines if rows]
    if sum(sum(map(len, rows)) < 90 * len(rows) for rows in lines) > len(lines) / 2:
        return lines
    prose = ([line for line in rows if len(line) > 60] for rows in lines)
    return [[sentence for line in rows for sentence in SENTENCE_END.split(line)] for rows in prose]


def group_units(units: list[list[str]], rng: random.Random) -> Iterator[str]:
    """Join one, two or three sentences in a row into a text, the next ones into the next; 4 to 70 words each."""
    for sentences in units:
        start = 0
        while start < len(sentences):
            count = rng.choice([1, 1, 2, 3])
            text = " ".join(sentences[start : start + count])
            start += count
            if 4 <= len(text.split()) <= 70:
                yield text


def sample_texts(documents: list[str], count: int, seed: str) -> tuple[list[str], list[int]]:
    """Draw up to `count` different texts; return them and how many each pass through the documents gave.

    A pass uses every sentence about once. A source too small for that is passed through again, grouped anew: then its
    sentences return in other company, up to `PASSES` times. The texts of an earlier pass come first.
    """
    units, seen, texts, passes = split_units(documents), set(), [], []
    while len(texts) < count and len(passes) < PASSES:
        rng = random.Random(f"{seed} {len(passes)}")
        fresh = [text for text in dict.fromkeys(group_units(units, rng)) if text not in seen]
        rng.shuffle(fresh)
        fresh = fresh[: count - len(texts)]
        seen.update(fresh)
        texts += fresh
        passes.append(len(fresh))
    return texts, passes


def mix_sources(pools: dict[str, list[str]], seed: str) -> list[tuple[str, str]]:
    """Shuffle the sources into one another, each in its own order: [(source, text), ...]."""
    order = [name for name in sorted(pools) for _ in pools[name]]
    random.Random(seed).shuffle(order)
    remaining = {name: iter(texts) for name, texts in pools.items()}
    return [(name, next(remaining[name])) for name in order]


def write_texts(work: Path, corpus: str, count: int, mix: dict[str, float] | None = None, seed: int = 0) -> dict:
    """Write `count` texts (fewer, if the corpus has fewer) into shards in `work`; return and save what was done.

    Without a mix, the course's own corpus gets `MIX`, another one shares in proportion to its lengths. Texts in `work`
    already are kept when they were made with the same settings; others are refused by ValueError, as is a corpus that
    gives none.
    """
    settings = {"corpus": fingerprint_corpus(corpus), "count": count, "mix": mix, "seed": seed}
    if (work / "texts.json").exists():
        facts = json.loads((work / "texts.json").read_text())
        if facts["settings"] != settings:
            raise ValueError(f"{work} has texts made with {facts['settings']}: use another --work for {settings}.")
        return facts
    sources = read_corpus(corpus)
    if mix is None:
        mix = MIX if set(MIX) == set(sources) else {name: sum(map(len, texts)) for name, texts in sources.items()}
    check_mix(mix, list(sources))
    pools, held, passes = {}, {}, {}
    for name, share in mix.items():
        train, apart = hold_out(sources[name], name)
        part = share / sum(mix.values())
        pools[name], passes[name] = sample_texts(train, round(part * count), f"{seed} {name}")
        held[name], _ = sample_texts(apart, round(part * HELD_OUT_TEXTS), f"{seed} {name}")
    rows = mix_sources(pools, str(seed))
    if not rows or not any(held.values()):
        raise ValueError("The corpus gives no texts of sentences to train or to test on: add text, or raise --count.")
    work.mkdir(parents=True, exist_ok=True)
    write_shard(work, HELD_OUT, mix_sources(held, str(seed)))
    starts = range(0, len(rows), SHARD)
    for number, start in enumerate(starts):
        write_shard(work, f"{number:05d}", rows[start : start + SHARD])
    facts = {
        "settings": settings, "mix": mix, "texts": len(rows), "words": sum(len(text.split()) for _, text in rows),
        "texts_by_pass": passes, "shard_size": SHARD, "shards": len(starts),
    }  # fmt: skip
    with replace_safely(work / "texts.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1))
    return facts
