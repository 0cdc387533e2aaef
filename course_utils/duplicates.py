"""Lesson 3: near duplicates, the texts that say the same in almost the same words.

Two texts are compared as sets of five-character sequences ("grams"); their similarity is the Jaccard index, shared
grams divided by all grams, from 0 to 1 (Broder 1997, On the resemblance and containment of documents). Every result
here is exact, and none compares all pairs, unless all are alike, as form letters are. Beyond 20,000 texts `minhash`
takes over, which misses one pair in 5,000.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array

from course_utils import minhash
from course_utils.grams import Pairs, gram_sets, join

THRESHOLD = 0.7  # no pair of tickets lies between 0.40 and 0.70: see the histogram in lesson 3
SLAB = 250  # texts compared with all others at a time: bounds the memory
ROUNDS = 4  # random orders in which group_near_duplicates looks for easy links
EXACT = 20_000  # texts beyond which time and memory of the exact search grow too fast
LARGE = 200  # members from which a group is not compared within itself any more


def similar_pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int, float]]:
    """Find all pairs of near duplicates, sorted: (position, later position, similarity at or above `threshold`).

    A form letter sent 3,000 times makes 4.5 million pairs: where only groups matter, use `group_near_duplicates`.

    Raises ValueError for a threshold that is not above 0 and at most 1.
    """
    grams = Grams(texts, threshold)
    everything = np.arange(len(texts))
    pairs = []
    for first, second, similarity in grams.near(everything, everything):
        once = first < second
        pairs += zip(first[once].tolist(), second[once].tolist(), similarity[once].tolist(), strict=True)
    return sorted(pairs)


def group_near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD) -> np.ndarray:
    """Number the groups of near duplicates, shape (len(texts),): texts linked by similar pairs share a number.

    Links are chains: where A is near B and B near C, all three are one group, however far C is from A.

    Raises ValueError as `similar_pairs` does.
    """
    if is_for_minhash(len(texts), threshold):
        return minhash.group_many(texts, threshold)
    grams = Grams(texts, threshold)
    groups = np.arange(len(texts))
    for first, second in grams.easy_links():
        groups = join(groups, first, second)
    # What is linked already need not be compared again: without this, large groups would cost their size squared.
    sizes = np.bincount(groups)
    comparisons = [(np.arange(len(texts)), np.flatnonzero(sizes[groups] < LARGE))]
    large = np.flatnonzero(sizes >= LARGE)
    for i in range(1, len(large)):
        comparisons.append((np.flatnonzero(groups == large[i]), np.flatnonzero(np.isin(groups, large[:i]))))
    for left, right in comparisons:
        for first, second, _ in grams.near(left, right, groups):
            groups = join(groups, first, second)
    return groups


def find_leaks(
    train_texts: Sequence[str], test_texts: Sequence[str], threshold: float = THRESHOLD
) -> list[tuple[int, int, float]]:
    """Find the test texts that have an equal or nearly equal twin in training.

    Each is named once, with its nearest twin: (position in the test, position in training, similarity), sorted. Form
    letters, of which each is near all others, cost the product of their two numbers.

    Raises ValueError as `similar_pairs` does.
    """
    border, texts = len(train_texts), [*train_texts, *test_texts]
    if is_for_minhash(len(texts), threshold):
        pairs = minhash.near_across(texts, border, threshold)
    else:
        pairs = Grams(texts, threshold).near(np.arange(border, len(texts)), np.arange(border))
    nearest: dict[int, tuple[float, int]] = {}
    for test, train, similarity in pairs:
        for position, twin, near in zip(test.tolist(), train.tolist(), similarity.tolist(), strict=True):
            nearest[position] = max(nearest.get(position, (0.0, 0)), (near, -twin))
    return [(position - border, -twin, near) for position, (near, twin) in sorted(nearest.items())]


def is_for_minhash(count: int, threshold: float) -> bool:
    """Whether so many texts are compared by `minhash`, which is made for thresholds from 0.7 up."""
    return count > EXACT and THRESHOLD <= threshold <= 1


class Grams:
    """The gram sets of some texts, ready to be searched for near pairs.

    The search is exact, by prefix filtering (Bayardo, Ma and Srikant 2007, Scaling up all pairs similarity search;
    Xiao et al. 2008, Efficient similarity joins for near duplicate detection): texts of x and y grams that are near
    share at least t / (1 + t) * (x + y) of them. Put the grams of each text in one common order, the rarest first,
    and leave out the last few: what two near texts can share among the grams left out is bounded, so they must share
    the rest among the others, the rare ones. Few texts share rare grams, so few pairs need to be looked at.
    """

    def __init__(self, texts: Sequence[str], threshold: float):
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold} is no similarity: give a number above 0 and at most 1.")
        self.threshold = threshold
        grams = gram_sets(texts)
        count = np.bincount(grams.indices, minlength=grams.shape[1])
        place = np.empty_like(count)
        place[np.argsort(count, kind="stable")] = np.arange(len(count))
        self.all = csr_array((grams.data, place[grams.indices].astype(np.int32), grams.indptr), shape=grams.shape)
        self.all.sort_indices()
        self.sizes = np.diff(self.all.indptr)
        # Left out are ceil(threshold * size) - 1 grams at most: then any near pair shares one of the others.
        self.left_out = np.ceil(threshold * self.sizes - 1e-9).astype(int) - 1
        self.rare = self.keep_rare(np.sort(count))

    def keep_rare(self, count: np.ndarray) -> csr_array:
        """The matrix of texts and grams without the `left_out` commonest of each text, and those of one text."""
        ends = np.repeat(self.all.indptr[1:] - self.left_out, self.sizes)
        kept = (np.arange(len(self.all.indices)) < ends) & (count[self.all.indices] > 1)
        border = np.concatenate([[0], np.cumsum(kept)])[self.all.indptr]
        return csr_array((self.all.data[kept], self.all.indices[kept], border), shape=self.all.shape)

    def near(self, left: np.ndarray, right: np.ndarray, groups: np.ndarray | None = None) -> Iterator[Pairs]:
        """Yield the near pairs between the texts `left` and `right` (positions), some at a time.

        With `groups` (a number for each text), pairs within a group are left out.
        """
        columns = self.rare[right].T.tocsr()
        for start in range(0, len(left), SLAB):
            shared = (self.rare[left[start : start + SLAB]] @ columns).tocoo()
            first, second = left[start + shared.row], right[shared.col]
            needed = self.shared_by_near(first, second) - np.maximum(self.left_out[first], self.left_out[second])
            hopeful = (shared.data >= needed) & (first != second)
            if groups is not None:
                hopeful &= groups[first] != groups[second]
            yield from self.check(first[hopeful], second[hopeful])

    def shared_by_near(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """How many grams the texts of each pair must share at least to be near."""
        both = self.sizes[first] + self.sizes[second]
        return np.ceil(self.threshold / (1 + self.threshold) * both - 1e-9)

    def check(self, first: np.ndarray, second: np.ndarray, at_once: int = 20_000) -> Iterator[Pairs]:
        """Yield those of the given pairs that are near."""
        for start in range(0, len(first), at_once):
            a, b = first[start : start + at_once], second[start : start + at_once]
            shared = self.all[a].multiply(self.all[b]).sum(axis=1)
            similarity = shared / (self.sizes[a] + self.sizes[b] - shared)
            near = similarity >= self.threshold
            yield a[near], b[near], similarity[near]

    def easy_links(self, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield near pairs that are found in one pass: not all, but enough to link form letters.

        The grams are put in a random order, and all texts that begin with the same gram are compared with the first
        of them. The chance that two texts begin alike is their similarity (Broder 1997).
        """
        rng = np.random.default_rng(seed)
        for _ in range(ROUNDS):
            order = rng.permutation(self.all.shape[1])
            begin = np.minimum.reduceat(order[self.all.indices], self.all.indptr[:-1])
            _, leader, of = np.unique(begin, return_index=True, return_inverse=True)
            others = np.flatnonzero(leader[of] != np.arange(len(of)))
            for first, second, _ in self.check(leader[of[others]], others):
                yield first, second
