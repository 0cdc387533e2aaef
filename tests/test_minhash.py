"""Near duplicates among very many texts: what the exact search finds, in memory that does not depend on the grams."""

import tracemalloc

import numpy as np
import pytest
from test_duplicates import form_letters, jaccard, texts_of_random_words

from course_utils import duplicates, minhash


def with_twins(count: int, seed: int = 0) -> list[str]:
    """Texts of random words, a third of them again with up to three words changed."""
    texts = texts_of_random_words(count, seed=seed)
    rng = np.random.default_rng(seed)
    for text in texts[::3]:
        words = text.split()
        for place in rng.integers(0, len(words), rng.integers(0, 4)):
            words[place] = "other"
        texts.append(" ".join(words))
    return texts


def as_sets(groups) -> set[frozenset]:
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)}


def test_groups_are_those_of_the_exact_search():
    texts = [*with_twins(900), "", "a", "a", "包裹", "包裹"]
    exact, many = duplicates.group_near_duplicates(texts), minhash.group_many(texts, duplicates.THRESHOLD)
    assert len(as_sets(exact)) < 1150
    assert as_sets(many) == as_sets(exact)


def test_a_pair_is_as_likely_to_agree_in_a_number_as_it_is_similar():
    texts = with_twins(300, seed=1)
    least = minhash.sketch(texts)
    pairs = [(3 * i, 300 + i) for i in range(100)]
    agreed = np.mean([(least[a] == least[b]).mean() for a, b in pairs])
    assert agreed == pytest.approx(np.mean([jaccard(texts[a], texts[b]) for a, b in pairs]), abs=0.02)


def test_form_letters_are_one_group():
    texts = form_letters(2000) + texts_of_random_words(500)
    groups = minhash.group_many(texts, duplicates.THRESHOLD)
    assert len(set(groups[:2000])) == 1 and len(set(groups)) == 501


def letters_and_twins(count: int, twins: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Letters of 90 words, alike but for 13, `twins` of them again with four to eight words changed; and the pairs."""
    rng, form = np.random.default_rng(0), texts_of_random_words(1, 90)[0].split()
    places = rng.choice(90, 13, replace=False)
    letters = [form.copy() for _ in range(count)]
    for letter, own in zip(letters, texts_of_random_words(count, 13, seed=1), strict=True):
        for place, word in zip(places, own.split(), strict=True):
            letter[place] = word
    pairs = [(int(first), count + i) for i, first in enumerate(rng.choice(count, twins, replace=False))]
    for first, _ in pairs:
        letters.append(letters[first].copy())
        for place in rng.choice(90, rng.integers(4, 9), replace=False):
            letters[-1][place] = "other"
    return [" ".join(letter) for letter in letters], pairs


@pytest.mark.slow
def test_of_letters_in_one_form_some_near_pairs_go_unnoticed():
    """As docs/large_files.md says: from one in a hundred on, which is far more than one in 5,000."""
    texts, pairs = letters_and_twins(2000, 300)
    near = [(a, b) for a, b in pairs if jaccard(texts[a], texts[b]) >= duplicates.THRESHOLD]
    groups = minhash.group_many(texts, duplicates.THRESHOLD)
    missed = sum(groups[a] != groups[b] for a, b in near)
    assert len(near) > 250 and 0.01 < missed / len(near) < 0.2


def test_many_texts_are_compared_by_minhash_with_the_same_leaks(monkeypatch):
    texts = with_twins(300, seed=2)
    train, test = texts[:300], [*texts[300:], *form_letters(50), *form_letters(50)]
    exact = duplicates.find_leaks(train, test), as_sets(duplicates.group_near_duplicates(texts))
    monkeypatch.setattr(duplicates, "EXACT", 10)
    monkeypatch.setattr(duplicates, "Grams", None)
    assert duplicates.find_leaks(train, test) == exact[0]
    assert as_sets(duplicates.group_near_duplicates(texts)) == exact[1]


def test_memory_grows_by_a_few_hundred_bytes_a_text(monkeypatch):
    monkeypatch.setattr(minhash, "AT_ONCE", 200)
    texts = texts_of_random_words(6000, words=8)
    tracemalloc.start()
    minhash.group_many(texts[:3000], 0.7)
    first = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    minhash.group_many(texts, 0.7)
    second = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert second - first < 3000 * 800
