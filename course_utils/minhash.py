"""Lesson 3: near duplicates among very many texts, where even the sets of all grams would not fit into memory.

Each text keeps 60 numbers in place of its grams: under 60 random orders of all grams, which of its own comes first
(Broder 1997). Two texts agree in each of them with the probability of their similarity. In 20 bands of three numbers,
texts that agree in a whole band are compared, gram by gram (Indyk and Motwani 1998). So a pair of similarity 0.7 is
missed with probability (1 - 0.7 ** 3) ** 20 = 0.0002, one of 0.8 with 6e-7, and none that is reported is wrong. More
are missed where very many texts share a form, such as letters that differ in a dozen words: they agree in whole bands
without being near, and of such a crowd not all pairs are compared. Memory: 240 bytes a text, beside the texts.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from course_utils.grams import Pairs, gram_sets, join, lay_out

BANDS, NUMBERS = 20, 3
AGREED = 24  # numbers of 60 in which a pair must agree to be compared: one of similarity 0.7 has 42 on average
AT_ONCE = 1_000  # texts, or pairs, whose grams are in memory
CROWD = 30  # texts that agree in a band, beyond which each is compared with the first and its neighbours only


def group_many(texts: Sequence[str], threshold: float) -> np.ndarray:
    """Number the groups of near duplicates as `duplicates.group_near_duplicates` does, for any number of texts."""
    groups = np.arange(len(texts))
    for first, second in hopeful_pairs(sketch(texts)):
        apart = groups[first] != groups[second]
        for a, b, _ in check(texts, first[apart], second[apart], threshold):
            groups = join(groups, a, b)
    return groups


def near_across(texts: Sequence[str], border: int, threshold: float) -> Iterator[Pairs]:
    """Yield near pairs of a text from `border` on and one before it; of many equal ones before it, not each."""
    for first, second in hopeful_pairs(sketch(texts)):
        across = (first < border) & (second >= border)
        for a, b, similarity in check(texts, first[across], second[across], threshold):
            yield b, a, similarity


def sketch(texts: Sequence[str], seed: int = 0) -> np.ndarray:
    """The 60 numbers of each text, shape (len(texts), 60): the least of its grams' hashes under 60 hash functions."""
    rng = np.random.default_rng(seed)
    # Multiplying by a random odd number and keeping the upper half of the bits is as good as a random order here.
    factors = rng.integers(2**62, 2**63, 1 + BANDS * NUMBERS).astype(np.uint64) | np.uint64(1)
    least = np.empty((len(texts), BANDS * NUMBERS), np.uint32)
    for start in range(0, len(texts), AT_ONCE):
        points, begins, border = lay_out(texts[start : start + AT_ONCE])
        letters, codes = points.astype(np.uint64), np.zeros(len(begins), np.uint64)
        for place in range(5):
            codes = codes * factors[0] + letters[place : place + len(codes)]
        codes = codes[begins]
        for i, factor in enumerate(factors[1:]):
            smallest = np.minimum.reduceat(codes * factor, border[:-1])
            least[start : start + AT_ONCE, i] = smallest >> np.uint64(32)
    return least


def hopeful_pairs(least: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of texts that agree in a whole band and in enough numbers: (positions, later positions)."""
    for first, second in pairs_in_bands(least):
        for start in range(0, len(first), 50_000):
            a, b = first[start : start + 50_000], second[start : start + 50_000]
            enough = (least[a] == least[b]).sum(axis=1) >= AGREED
            if enough.any():
                yield a[enough], b[enough]


def pairs_in_bands(least: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of texts that agree in a whole band."""
    for band in np.split(least, BANDS, axis=1):
        order = np.lexsort(band.T)  # equal ones stand together, in their old order
        new = np.ones(len(order), bool)
        new[1:] = (band[order[1:]] != band[order[:-1]]).any(axis=1)
        crowd = np.cumsum(new) - 1
        size, leader = np.bincount(crowd)[crowd], np.flatnonzero(new)[crowd]
        for distance in range(1, CROWD):
            together = crowd[distance:] == crowd[:-distance]
            if distance > 1:
                together &= size[distance:] <= CROWD
            if not together.any():
                break
            yield order[:-distance][together], order[distance:][together]
        late = np.flatnonzero(size > CROWD)
        late = late[late != leader[late]]
        yield order[leader[late]], order[late]


def check(texts: Sequence[str], first: np.ndarray, second: np.ndarray, threshold: float) -> Iterator[Pairs]:
    """Yield those of the given pairs that are near, with their similarity."""
    for start in range(0, len(first), AT_ONCE):
        a, b = first[start : start + AT_ONCE], second[start : start + AT_ONCE]
        used, places = np.unique(np.concatenate([a, b]), return_inverse=True)
        grams = gram_sets([texts[i] for i in used])
        sizes, (one, other) = np.diff(grams.indptr), np.split(places, 2)
        shared = grams[one].multiply(grams[other]).sum(axis=1)
        similarity = shared / (sizes[one] + sizes[other] - shared)
        near = similarity >= threshold
        yield a[near], b[near], similarity[near]
