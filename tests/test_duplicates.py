"""Lesson 3: similarity, near duplicates, their groups, and leaks between two lists of texts."""

import tracemalloc
import unicodedata
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from course_utils import duplicates
from course_utils.data import TICKETS
from course_utils.duplicates import find_leaks, group_near_duplicates, similar_pairs


def jaccard(first, second):
    """The similarity by the book."""
    one, two = ({text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in (first, second))
    return len(one & two) / len(one | two)


def random_texts(seed, count=60):
    """Short texts of three letters, and texts that differ from one another in a few places."""
    rng = np.random.default_rng(seed)
    texts = ["a" + "".join(rng.choice(list("abc"), rng.integers(0, 14))) for _ in range(count // 2)]
    form = "".join(rng.choice(list("abcdefgh"), 60))
    for cut in rng.integers(0, 50, count - len(texts)):
        texts.append(form[:cut] + "".join(rng.choice(list("xyz"), rng.integers(0, 8))) + form[cut:])
    return texts


def form_letters(count):
    form = "dear customer number {} your order of the blue lamp could not be delivered because nobody was home"
    return [form.format(i * 7919 % 100_000) for i in range(count)]


def texts_of_random_words(count, words=30, seed=0):
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["".join(rng.choice(list("etaoinshrdlu"), rng.integers(2, 10))) for _ in range(5000)])
    chances = 1 / np.arange(1, len(vocabulary) + 1)
    return [" ".join(row) for row in rng.choice(vocabulary, (count, words), p=chances / chances.sum())]


def test_near_duplicates_of_the_tickets_are_found_and_nothing_else_is_near(cleaned):
    key = pd.read_csv(TICKETS.parent / "dirt_key.csv").query("kind == 'near duplicate'")
    listed = {frozenset((int(a[1:]) - 1, int(b[1:]) - 1)) for a, b in zip(key["id"], key["of"], strict=True)}
    table = cleaned[0]
    found = {frozenset((table.index[a], table.index[b])) for a, b, _ in similar_pairs(table["text"].tolist())}
    assert found == listed


def test_similarity_is_the_jaccard_index_of_five_character_sequences():
    one, two = "where is my parcel", "where is my parcel now"

    def grams(text):
        return {text[i : i + 5] for i in range(len(text) - 4)}

    expected = len(grams(one) & grams(two)) / len(grams(one) | grams(two))
    assert similar_pairs([one, "something else", two], 0.1) == [(0, 2, pytest.approx(expected))]


def test_groups_are_chained():
    texts = ["please send me the lamp", "please send me the lamp!", "quite another matter"]
    groups = group_near_duplicates(texts)
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_all_pairs_are_found_and_no_other(threshold):
    for seed in range(5):
        texts = random_texts(seed)
        similarities = {(a, b): jaccard(texts[a], texts[b]) for a, b in combinations(range(len(texts)), 2)}
        expected = {pair: near for pair, near in similarities.items() if near >= threshold}
        assert {(a, b): near for a, b, near in similar_pairs(texts, threshold)} == pytest.approx(expected)


@pytest.mark.parametrize("large", [2, 5, 200])
def test_groups_are_what_the_pairs_link(large, monkeypatch):
    monkeypatch.setattr(duplicates, "LARGE", large)
    for seed in range(5):
        texts = random_texts(seed)
        linked = np.arange(len(texts))
        for a, b, _ in similar_pairs(texts, 0.5):
            linked[linked == linked[b]] = linked[a]
        groups = group_near_duplicates(texts, 0.5)
        assert len(set(zip(groups, linked, strict=True))) == len(set(groups)) == len(set(linked))


def test_texts_of_other_scripts_and_without_words_are_compared_as_they_are():
    texts = [
        "包裹还没有到我家里",
        "包裹还没有到我家里！",
        "\U0001f600",
        "\U0001f621",
        "où est mon colis",
        "OÙ EST MON COLIS?",
    ]
    assert [(a, b) for a, b, _ in similar_pairs(texts)] == [(0, 1), (4, 5)]


def test_accents_typed_as_characters_of_their_own_hide_no_twin():
    said = "Où est passée ma commande ? J'ai déjà écrit à l'équipe."
    assert find_leaks([said], [unicodedata.normalize("NFD", said)]) == [(0, 0, 1.0)]


def test_a_large_alphabet_does_not_overflow():
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 9000))), "".join(map(chr, range(0x4E00, 0x4E00 + 8000)))]
    assert similar_pairs(texts) == [(0, 1, pytest.approx(7996 / 8996))]


def test_a_large_group_needs_no_memory_for_its_pairs():
    texts = form_letters(3000) + texts_of_random_words(2000)
    tracemalloc.start()
    groups = group_near_duplicates(texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(groups[:3000])) == 1
    assert len(set(groups)) == 2001
    assert peak < 150e6  # the pairs of the form letter alone, 4.5 million tuples, took 800 MB


def test_few_pairs_are_looked_at(monkeypatch):
    looked_at = []
    check = duplicates.Grams.check

    def counted(self, first, second, *rest):
        looked_at.append(len(first))
        return check(self, first, second, *rest)

    monkeypatch.setattr(duplicates.Grams, "check", counted)
    group_near_duplicates(form_letters(3000) + texts_of_random_words(2000))
    assert sum(looked_at) < 50_000  # of 12.5 million


def test_leaks_name_each_test_text_once_with_its_nearest_twin():
    train = ["my parcel has not arrived yet", "hello, my parcel has not arrived yet", "please close my account"]
    test = ["where is the money for my coat", "My parcel has not arrived yet!", "where is the money for my coat"]
    assert find_leaks(train, test) == [(1, 0, 1.0)]
    assert find_leaks(train + test[:1], test) == [(0, 3, 1.0), (1, 0, 1.0), (2, 3, 1.0)]
    near = find_leaks(train[1:], test)
    assert near == [(1, 0, pytest.approx(jaccard(train[0], "hello my parcel has not arrived yet")))]


def test_leaks_between_two_lists_are_all_found():
    for seed in range(5):
        train, test = random_texts(seed), random_texts(seed + 100) + random_texts(seed)[40:50]
        expected = {i for i, text in enumerate(test) if max(jaccard(text, twin) for twin in train) >= 0.7}
        assert {i for i, _, _ in find_leaks(train, test)} == expected
    assert find_leaks(["something"], []) == find_leaks([], ["something"]) == []


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_a_threshold_that_is_no_similarity_is_refused(threshold):
    with pytest.raises(ValueError, match="is no similarity"):
        similar_pairs(["one", "two"], threshold)
