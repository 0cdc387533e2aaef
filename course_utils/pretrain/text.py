"""Plain text in, token ids out: one `.txt` or `.txt.xz` file a source, a line `<|endoftext|>` between documents."""

import hashlib
import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END_OF_TEXT, PAD = "<|endoftext|>", "<|pad|>"


def read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of one `.txt` or `.txt.xz` file, split at lines that say `<|endoftext|>`; blank ones not.

    Raises ValueError for a damaged file, or one that is not UTF-8.
    """
    lines = []
    try:
        with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as file:
            for line in file:
                if line.strip() != END_OF_TEXT:
                    lines.append(line)
                    continue
                if text := "".join(lines).strip():
                    yield text
                lines = []
    except (EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged or no UTF-8 text ({error}): mend it, or take it out.") from None
    if text := "".join(lines).strip():
        yield text


def read_corpus(corpus: str, limit: int = 50_000) -> dict[str, list[str]]:
    """Read all documents, by source: a folder's text files, or else the `text` column of a hub data set.

    A hub data set is streamed, its first `limit` documents are taken. Raises FileNotFoundError when a folder
    holds no text files, ValueError when two of them have one name, one is damaged, or a data set has no such column.
    """
    folder = Path(corpus)
    if not folder.is_dir():
        from datasets import load_dataset

        stream = load_dataset(corpus, split="train", streaming=True).take(limit)
        rows = list(stream)
        if any("text" not in row for row in rows):
            raise ValueError(f"The data set {corpus!r} has no column 'text': choose one that has.")
        return {corpus.rsplit("/", 1)[-1]: [row["text"] for row in rows]}
    names = {path: path.name.removesuffix(".xz").removesuffix(".txt") for path in text_files(folder)}
    if len(set(names.values())) < len(names):
        raise ValueError(f"Two files in {folder} differ in .txt and .txt.xz only: rename one of them.")
    return {name: list(read_documents(path)) for path, name in names.items()}


def text_files(folder: Path) -> list[Path]:
    """List a folder's text files, the sources; raises FileNotFoundError when there are none."""
    paths = sorted([*folder.glob("*.txt"), *folder.glob("*.txt.xz")])
    if not paths:
        raise FileNotFoundError(f"No .txt or .txt.xz files in {folder}: put the text to pre-train on there.")
    return paths


def fingerprint_corpus(corpus: str) -> str:
    """Give a short hash of a folder's text files, names and bytes; for a data set of the hub, its name."""
    if not Path(corpus).is_dir():
        return corpus
    digest = hashlib.sha256()
    for path in text_files(Path(corpus)):
        with open(path, "rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def hold_out(documents: list[str], source: str = "text") -> tuple[list[str], list[str]]:
    """Keep about one document in a hundred, evenly spread, out of training: (train, held out).

    Of few documents at least two are kept out, of two or three one.

    Raises ValueError for a source of one document, which leaves nothing to test on.
    """
    if len(documents) < 2:
        raise ValueError(
            f"The source {source!r} has {len(documents)} document, too few to keep one for testing: put a line "
            f"{END_OF_TEXT} between its documents (or chapters)."
        )
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


def encode(documents: list[str], tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Join documents into one row of token ids, an end-of-text token after each.

    Returns uint16, or uint32 for a vocabulary that does not fit.
    """
    kind = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    pieces = [np.array([], dtype=kind)]
    for start in range(0, len(documents), 256):
        for ids in tokenizer(documents[start : start + 256], split_special_tokens=True).input_ids:
            pieces.append(np.array([*ids, tokenizer.eos_token_id], dtype=kind))
    return np.concatenate(pieces)
