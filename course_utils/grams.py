"""Lesson 3: texts as sets of five-character sequences, their grams, for `duplicates` and `minhash`."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # first positions, second positions, similarities


def lay_out(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts as one row of letters: their code points; which begin a sequence; where each text's sequences begin.

    Texts count in lower case and with one blank for all that is no word, and an accent typed as a character of its own
    (Unicode's form NFD) as a part of its letter. One shorter than five characters is its own only sequence.
    """
    texts = [unicodedata.normalize("NFC", text.lower()) for text in texts]
    plain = [" ".join(re.findall(r"\w+", text)) or text.strip() for text in texts]
    plain = [text.ljust(5, "\0") for text in plain]
    points = np.frombuffer("".join(plain).encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.cumsum([len(text) for text in plain], dtype=int)
    begins = np.ones(len(points), bool)
    for place in range(1, 5):
        begins[ends - place] = False  # such a sequence would end in the next text
    return points, begins[: max(0, len(points) - 4)], np.concatenate([[0], ends - 4 * np.arange(1, len(ends) + 1)])


def gram_sets(texts: Sequence[str]) -> csr_array:
    """The five-character sequences of each text: a matrix of texts and sequences, with a 1 where a text has one."""
    points, begins, border = lay_out(texts)
    letters, alphabet = pd.factorize(points)
    # Each sequence becomes one number with its letters as digits; numbers that would overflow are counted through.
    length, base, span = len(letters) - 4, len(alphabet), len(alphabet)
    codes = letters[:length]
    for place in range(1, 5):
        if span * base >= 2**63:
            codes, seen = pd.factorize(codes)
            span = len(seen)
        codes, span = codes * base + letters[place : place + length], span * base
    columns, seen = pd.factorize(codes[begins])
    sets = csr_array((np.ones(len(columns), np.int32), columns.astype(np.int32), border), shape=(len(texts), len(seen)))
    sets.sum_duplicates()
    sets.data[:] = 1
    return sets


def join(groups: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number the groups anew after linking the texts `first` with the texts `second`."""
    if len(first) == 0:
        return groups
    links = coo_array((np.ones(len(first), bool), (groups[first], groups[second])), shape=[groups.max() + 1] * 2)
    return connected_components(links, directed=False)[1][groups]
