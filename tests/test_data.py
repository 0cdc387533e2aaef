"""Lesson 3: reading, cleaning, splitting and tokenizing; and what the ticket data set promises."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from course_utils.data import (
    QUEUES,
    TICKETS,
    clean,
    clean_text,
    group_near_duplicates,
    mend_label,
    read_examples,
    similar_pairs,
    split_examples,
    take_per_label,
    tokenize,
)
from course_utils.evaluation import evaluate_baseline, majority_baseline, tfidf_baseline


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


# --- reading, and bad input -------------------------------------------------------------------------------------


def test_reads_any_columns_and_keeps_empty_cells(tmp_path):
    path = write(tmp_path / "mine.csv", 'when,message,team\n1,"a, b\nc",x\n2,,y\n3,NA,\n')
    table = read_examples(path, text="message", label="team")
    assert table.values.tolist() == [["a, b\nc", "x"], ["", "y"], ["NA", ""]]


@pytest.mark.parametrize(
    ("content", "options", "error", "says"),
    [
        (None, {}, FileNotFoundError, "There is no file"),
        ("a,b\n1,2\n", {}, ValueError, r"no column 'text' and no column 'label'.*name the columns"),
        ("text,label\n", {}, ValueError, "no rows"),
        ("", {}, ValueError, "cannot be read as CSV"),
        ('text,label\n"open,x\n', {}, ValueError, "cannot be read as CSV"),
        ("text,label\na,b,c\n1,2,3,4,5\n", {}, ValueError, "cannot be read as CSV"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path, content, options, error, says):
    path = tmp_path / "mine.csv"
    if content is not None:
        write(path, content)
    with pytest.raises(error, match=says) as caught:
        read_examples(path, **options)
    assert "\n" not in str(caught.value)


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = write(tmp_path / "mine.csv", "text,label\ncafé,x\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"mine\.csv is not UTF-8.*save it again"):
        read_examples(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read_examples(tmp_path)


# --- cleaning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dirty", "plain"),
    [
        ("  two   blanks \n\n and lines ", "two blanks\nand lines"),
        ("<p>Fish &amp; chips<br>for&nbsp;two</p>", "Fish & chips\nfor two"),
        ("cost Â£5, donâ€™t", "cost £5, don’t"),
        ("where is it\n\nSent from my phone", "where is it"),
        ("where is it\n-- \nJo Bloggs\nSales", "where is it"),
        ("is 5 < 6 and 7 > 3 or <3", "is 5 < 6 and 7 > 3 or <3"),
        ("size <M or >L", "size <M or >L"),
        ("my phone, sent from my sister", "my phone, sent from my sister"),
        ("£5 – it’s fine 😀", "£5 – it’s fine 😀"),
    ],
)
def test_clean_text_repairs_dirt_and_leaves_the_rest(dirty, plain):
    assert clean_text(dirty) == plain
    assert clean_text(plain) == plain


@pytest.mark.parametrize(
    ("label", "mended"),
    [
        ("Billing ", "billing"),
        ("billling", "billing"),
        ("DELIVERY", "delivery"),
        ("?", None),
        ("", None),
        ("lamp", None),
    ],
)
def test_labels_are_mended_only_when_near_a_known_one(label, mended):
    assert mend_label(label, QUEUES) == mended


def test_clean_finds_all_the_dirt_that_the_key_lists_and_nothing_else(cleaned):
    key = pd.read_csv(TICKETS.parent / "dirt_key.csv")
    found = cleaned[1].rows
    for kind, rows in key.groupby("kind"):
        listed = set(rows["id"].str[1:].astype(int) - 1)
        if kind != "near duplicate":  # the splits deal with those
            assert set(found[kind]) == listed, kind
    assert sum(map(len, found.values())) == (key["kind"] != "near duplicate").sum()


def test_near_duplicates_are_found_and_nothing_else_is_near(raw, cleaned):
    key = pd.read_csv(TICKETS.parent / "dirt_key.csv").query("kind == 'near duplicate'")
    listed = {frozenset((int(a[1:]) - 1, int(b[1:]) - 1)) for a, b in zip(key["id"], key["of"], strict=True)}
    table = cleaned[0]
    found = {frozenset((table.index[a], table.index[b])) for a, b, _ in similar_pairs(table["text"].tolist())}
    assert found == listed


def test_conflicting_copies_all_go_and_equal_copies_leave_one():
    table = pd.DataFrame({"text": ["same", "SAME ", "other", "other", "third"], "label": ["a", "a", "a", "b", "b"]})
    kept, report = clean(table)
    assert kept["text"].tolist() == ["same", "third"]
    assert report.rows["exact duplicate"] == [1]
    assert report.rows["conflicting duplicate"] == [2, 3]
    assert (report.before, report.after) == (5, 2)


def test_a_single_label_or_nothing_usable_is_refused():
    with pytest.raises(ValueError, match="one label 'a'"):
        clean(pd.DataFrame({"text": ["x", "y"], "label": ["a", "a"]}))
    with pytest.raises(ValueError, match="No usable row"):
        clean(pd.DataFrame({"text": ["", " "], "label": ["a", "b"]}))


# --- splits -----------------------------------------------------------------------------------------------------


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


def test_splits_hold_every_row_once_with_every_label(cleaned, splits):
    rows = [row for part in splits.values() for row in part.index]
    assert sorted(rows) == sorted(cleaned[0].index)
    assert len(splits["test"]) >= 500
    for part in splits.values():
        assert set(part["label"]) == set(QUEUES)
        shares = part["label"].value_counts(normalize=True)
        assert shares["delivery"] == pytest.approx(0.248, abs=0.01)


def test_no_text_has_a_near_duplicate_in_another_split(splits):
    home = {text: name for name, part in splits.items() for text in part["text"]}
    texts = list(home)
    pairs = similar_pairs(texts)
    assert len(pairs) == 44
    assert all(home[texts[a]] == home[texts[b]] for a, b, _ in pairs)


def test_the_seed_fixes_the_split(cleaned, splits):
    again, other = split_examples(cleaned[0]), split_examples(cleaned[0], seed=1)
    assert again["test"].index.equals(splits["test"].index)
    assert not other["test"].index.equals(splits["test"].index)


def test_a_label_too_rare_to_split_is_named():
    table = pd.DataFrame({"text": [f"text {i} {i * i}" for i in range(41)], "label": ["a"] * 40 + ["rare"]})
    with pytest.raises(ValueError, match="'rare' has only 1 different text"):
        split_examples(table)


def test_fewer_labels_are_part_of_more(splits):
    four, eight = (take_per_label(splits["train"], n, seed=5) for n in (4, 8))
    assert set(four.index) < set(eight.index)
    assert (eight["label"].value_counts() == 8).all()


# --- tokens -----------------------------------------------------------------------------------------------------


def test_tokenize_makes_input_output_pairs(few, tokenizer):
    assert few["train"].features["label"].names == sorted(QUEUES)
    row = few["train"][0]
    assert tokenizer.decode(row["input_ids"], clean_up_tokenization_spaces=False) == row["text"]


def test_control_tokens_typed_by_a_user_stay_text(tokenizer):
    table = pd.DataFrame({"text": ["my <|endoftext|> <|pad|> order", "b"], "label": ["x", "y"]})
    ids = tokenize({"train": table}, tokenizer)["train"]["input_ids"][0]
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.pad_token_id not in ids


def test_long_texts_are_cut_off(tokenizer):
    table = pd.DataFrame({"text": ["word " * 500, "b"], "label": ["x", "y"]})
    assert len(tokenize({"train": table}, tokenizer, max_tokens=32)["train"]["input_ids"][0]) == 32


def test_a_label_unknown_to_training_is_refused(tokenizer):
    one, two = (pd.DataFrame({"text": ["a"], "label": [label]}) for label in ("x", "y"))
    with pytest.raises(ValueError, match=r"test split has labels that training lacks: \['y'\]"):
        tokenize({"train": one, "test": two}, tokenizer)


def test_an_empty_text_is_refused(tokenizer):
    with pytest.raises(ValueError, match="empty text"):
        tokenize({"train": pd.DataFrame({"text": [""], "label": ["x"]})}, tokenizer)


# --- what the data sheet promises -------------------------------------------------------------------------------


def test_the_tickets_are_many_varied_and_of_the_promised_length(cleaned):
    texts = cleaned[0]["text"]
    words = texts.str.split().str.len()
    assert len(texts) >= 2400
    assert words.min() >= 4
    assert words.max() <= 90
    assert 20 <= words.median() <= 30
    types = {word for text in texts for word in re.findall(r"[a-z']+", text.lower())}
    assert len(types) >= 5000
    openings = Counter(" ".join(re.findall(r"[\w'’]+", text.lower())[:3]) for text in texts)
    assert openings.most_common(1)[0][1] <= 0.01 * len(texts)


STEMS = {"delivery": "deliver", "returns": "return", "billing": "bill", "changes": "chang"}


@pytest.mark.parametrize("queue", QUEUES)
def test_labels_do_not_leak_into_the_texts(cleaned, queue):
    own = cleaned[0].query("label == @queue")["text"].str.lower()
    assert own.str.contains(rf"\b{STEMS.get(queue, queue)}").mean() < 0.2


def test_the_largest_and_the_smallest_queue_have_the_promised_share(cleaned):
    shares = cleaned[0]["label"].value_counts(normalize=True)
    assert shares.iloc[0] == pytest.approx(0.25, abs=0.02)
    assert shares.iloc[-1] == pytest.approx(0.04, abs=0.01)


def test_the_data_sheet_counts_the_dirt_right(raw):
    sheet = (TICKETS.parent / "README.md").read_text()
    key = pd.read_csv(TICKETS.parent / "dirt_key.csv")
    for kind, count in key["kind"].value_counts().items():
        assert f"| {kind} | {count} |" in sheet
    assert f"{len(key)} of {len(raw):,} rows" in sheet


def test_the_second_labels_agree_as_the_data_sheet_says():
    notes = pd.read_csv(TICKETS.parent / "annotations.csv")
    assert len(notes) == 2560
    assert cohen_kappa_score(notes["first_label"], notes["second_label"]) > 0.995


def test_a_bag_of_words_is_neither_hopeless_nor_enough(splits, tokenizer):
    tokenized = tokenize(splits, tokenizer)
    tfidf = evaluate_baseline(tfidf_baseline(), tokenized["train"], tokenized["test"])
    assert 0.70 < tfidf.macro_f1 < 0.90
    assert evaluate_baseline(majority_baseline(), tokenized["train"], tokenized["test"]).macro_f1 < 0.1


def test_groups_and_pairs_agree_on_random_texts():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ab "), 12)) for _ in range(40)]
    groups = group_near_duplicates(texts, 0.5)
    for a, b, similarity in similar_pairs(texts, 0.5):
        assert groups[a] == groups[b]
        assert 0.5 <= similarity <= 1
