"""Lesson 3: reading, cleaning, splitting and tokenizing; and what the ticket data set promises."""

import contextlib
import hashlib
import io
import os
import re
import unicodedata
from collections import Counter

import datasets
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from tokenizers.processors import TemplateProcessing

from course_utils.data import (
    QUEUES,
    TICKETS,
    clean,
    clean_text,
    load_ticket_splits,
    load_tickets,
    mend_label,
    read_examples,
    split_examples,
    take_per_label,
    tokenize,
)
from course_utils.duplicates import similar_pairs
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
        ("text,label\nno, thanks,x\nyes, please,y\n", {}, ValueError, "more cells in a row than column names"),
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
    with pytest.raises(ValueError, match=r"mine\.csv is not UTF-8 text: save it again"):
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
        ("http://shop.example/list?id=4&region=EU&copy=2", "http://shop.example/list?id=4&region=EU&copy=2"),
    ],
)
def test_clean_text_repairs_dirt_and_leaves_the_rest(dirty, plain):
    assert clean_text(dirty) == plain
    assert clean_text(plain) == plain


@pytest.mark.parametrize(
    "text",
    [
        "Hello,\nSent from my old flat to the new one, the parcel never came.\nOrder 12 please help",
        "The parcel never came.\nSent from my old flat",
        "Never came.\nSent from my phone by mistake, please cancel it",
        "Two things\n--\nWhere is order 12?",
        "Two things\n-- \none\ntwo\nthree\nfour\nfive of them broken",
        "Hello\nget the money back to me, the app is broken",
        "Hello\nThis email and any reply please to my neighbour.\nShe has the parcel",
        "Hello\nConfidentiality notice: your site told everybody my address!",
    ],
)
def test_customers_words_that_look_like_a_footer_stay(text):
    assert clean_text(text).split() == text.split()


def test_footers_below_one_another_all_go():
    text = "where is it\n-- \nJo Bloggs\nSent from my phone\n\nGet the Parrot Mail app\n"
    assert clean_text(text) == "where is it"


def test_a_very_long_text_is_cleaned_in_no_time():
    """One pass: looking for footers from the beginning again and again would take hours for each of these."""
    assert clean_text("Hello" + "\n--" * 100_000) == "Hello"
    said = "Hello\nThis email and any " + "privileged " * 50_000 + "\nplease help"
    assert clean_text(said).split() == said.split()


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


@pytest.mark.parametrize(
    ("label", "known", "mended"),
    [
        ("2021", ["2020", "2022"], None),
        ("class 3", ["class 1", "class 2"], None),
        ("claas 1", ["class 2", "class 1"], "class 1"),
    ],
)
def test_another_number_is_no_misspelling(label, known, mended):
    assert mend_label(label, known) == mended


@pytest.mark.parametrize("labels", [[1, 2], "ab"])
def test_valid_labels_that_are_no_strings_are_refused(labels):
    with pytest.raises(ValueError, match=r"no list of strings: write them in quotes"):
        clean(pd.DataFrame({"text": ["one", "two"], "label": ["1", "2"]}), labels)


def test_clean_finds_all_the_dirt_that_the_key_lists_and_nothing_else(cleaned):
    key = pd.read_csv(TICKETS.parent / "dirt_key.csv")
    found = cleaned[1].rows
    for kind, rows in key.groupby("kind"):
        listed = set(rows["id"].str[1:].astype(int) - 1)
        if kind != "near duplicate":  # the splits deal with those
            assert set(found[kind]) == listed, kind
    assert sum(map(len, found.values())) == (key["kind"] != "near duplicate").sum()


def test_conflicting_copies_all_go_and_equal_copies_leave_one():
    table = pd.DataFrame({"text": ["same", "SAME ", "other", "other", "third"], "label": ["a", "a", "a", "b", "b"]})
    kept, report = clean(table)
    assert kept["text"].tolist() == ["same", "third"]
    assert report.rows["exact duplicate"] == [1]
    assert report.rows["conflicting duplicate"] == [2, 3]
    assert (report.before, report.after) == (5, 2)


def test_unknown_labels_are_never_merged_or_dropped_however_rare_or_alike():
    labels = ["product_a"] * 300 + ["product_b"] * 2 + ["Product_A "] * 3 + ["n/a", ""]
    kept, report = clean(pd.DataFrame({"text": [f"text {i}" for i in range(len(labels))], "label": labels}))
    assert kept["label"].value_counts().to_dict() == {"product_a": 303, "product_b": 2, "n/a": 1}
    assert report.rows["label spelling"] == [302, 303, 304]
    assert report.rows["missing label"] == [306]


def test_unknown_labels_take_their_commonest_spelling():
    labels = ["Billing", "BILLING", " Billing", "Where  is", "where is", "Where is", ""]
    kept, _ = clean(pd.DataFrame({"text": [f"text {i}" for i in range(7)], "label": labels}))
    assert kept["label"].tolist() == ["Billing"] * 3 + ["Where is"] * 3


def test_an_accent_is_the_same_in_both_of_its_forms():
    """One character, as most keyboards type it, or letter and accent apart, as macOS and some programs write it."""
    said, label = "Où est passé mon colis déjà payé ?", "Café"
    apart, label_apart = (unicodedata.normalize("NFD", text) for text in (said, label))
    table = pd.DataFrame({"text": [said, apart, "hello", "bye"], "label": [label, label, label_apart, "b"]})
    kept, report = clean(table)
    assert kept["text"].tolist() == [said, "hello", "bye"] and kept["label"].tolist() == [label, label, "b"]
    assert (report.rows["exact duplicate"], report.rows["label spelling"]) == ([1], [2])
    assert mend_label(label_apart, [label]) == label


@pytest.mark.parametrize("text", ["\u200b", "\ufeff \u200e", "<p>&zwnj;&nbsp;&#8203;</p>", "\0"])
def test_a_text_in_which_nothing_can_be_seen_is_empty(text):
    assert clean_text(text) == ""
    assert clean_text(f"a{text}b")[-1] == "b" and clean_text("👩\u200d👩") == "👩\u200d👩"


def test_given_labels_keep_their_spelling():
    labels = ["A", "b", " a", "B", "c"]
    kept, report = clean(pd.DataFrame({"text": list("vwxyz"), "label": labels}), labels=["A", "B"])
    assert kept["label"].tolist() == ["A", "B", "A", "B"]
    assert report.rows["label spelling"] == [1, 2]
    assert report.rows["missing label"] == [4]
    assert mend_label("biling", ["Billing", "Other"]) == "Billing"


def test_an_index_with_repeated_labels_is_kept():
    table = pd.DataFrame(
        {"text": ["one", "", "two", "two", "three"], "label": ["a", "a", "b", "b", "a"]}, index=[7, 7, 7, 8, 8]
    )
    kept, report = clean(table)
    assert kept["text"].tolist() == ["one", "two", "three"]
    assert kept.index.tolist() == [7, 7, 8]
    assert (report.rows["empty text"], report.rows["exact duplicate"]) == ([7], [8])


def test_labels_that_are_numbers_are_read_as_text():
    assert clean(pd.DataFrame({"text": ["one", "two"], "label": [0, 1]}))[0]["label"].tolist() == ["0", "1"]


def test_a_single_label_or_nothing_usable_is_refused():
    with pytest.raises(ValueError, match="one label 'a'"):
        clean(pd.DataFrame({"text": ["x", "y"], "label": ["a", "a"]}))
    with pytest.raises(ValueError, match="No usable row"):
        clean(pd.DataFrame({"text": ["", " "], "label": ["a", "b"]}))


# --- splits -----------------------------------------------------------------------------------------------------


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


# The measured results rest on these rows. The hashes were taken when the results were.
ROWS = {"train": "a20ce923b4dee9fb", "validation": "ceaaf46385652a27", "test": "e162bb7df59e6b79"}


def test_the_tickets_are_split_row_for_row_as_when_the_results_were_measured():
    for name, table in load_ticket_splits().items():
        rows = " ".join(map(str, table.index))
        assert hashlib.sha256(rows.encode()).hexdigest()[:16] == ROWS[name], name


def test_the_cached_splits_cannot_be_spoilt():
    table = load_ticket_splits()["train"]
    table["text"] = ""
    load_ticket_splits().pop("test")
    assert (load_ticket_splits()["train"]["text"] != "").all()
    assert set(load_ticket_splits()) == {"train", "validation", "test"}


def test_the_seed_fixes_the_split(cleaned, splits):
    again, other = split_examples(cleaned[0]), split_examples(cleaned[0], seed=1)
    assert again["test"].index.equals(splits["test"].index)
    assert not other["test"].index.equals(splits["test"].index)


def test_a_label_too_rare_to_split_is_named():
    table = pd.DataFrame({"text": [f"text {i} {i * i}" for i in range(41)], "label": ["a"] * 40 + ["rare"]})
    with pytest.raises(ValueError, match="'rare' has only 1 different text"):
        split_examples(table)


def templated(count, others, labels=("a", "b"), seed=0):
    """A table with one large group of near duplicates, `count` rows, and `others` texts in words of their own."""
    rng = np.random.default_rng(seed)
    form = "Dear customer, your order of the blue lamp could not be delivered because nobody was home: number {}"
    texts = [form.format(i) for i in range(count)]
    texts += [" ".join("".join(rng.choice(list("abcdefghij"), 6)) for _ in range(8)) for _ in range(others)]
    return pd.DataFrame({"text": texts, "label": [labels[i % len(labels)] for i in range(len(texts))]})


def test_a_large_group_of_near_duplicates_does_not_bend_the_shares():
    table = templated(600, 400)
    splits = split_examples(table)
    assert sorted(row for part in splits.values() for row in part.index) == list(table.index)
    for (_, part), share in zip(splits.items(), (0.63, 0.15, 0.22), strict=True):
        assert len(part) / 1000 == pytest.approx(share, abs=0.02)
        assert (part["label"] == "a").mean() == pytest.approx(0.5, abs=0.02)
        assert (part.index < 600).sum() in (0, 600)
    assert not split_examples(table, seed=1)["test"].index.equals(splits["test"].index)


def test_groups_of_many_sizes_keep_shares_and_labels():
    rng = np.random.default_rng(0)
    tables = [templated(size, 0, seed=size) for size in (200, 90, 60)]
    for number, table in enumerate(tables):
        table["text"] = [text[:20] + f" {'xyz'[number]}" * 40 + text[-3:] for text in table["text"]]
    table = pd.concat([*tables, templated(0, 650)], ignore_index=True)
    table["label"] = rng.choice(["a", "b", "c"], len(table), p=[0.7, 0.2, 0.1])
    whole = table["label"].value_counts(normalize=True)
    for part, share in zip(split_examples(table).values(), (0.63, 0.15, 0.22), strict=True):
        assert len(part) / len(table) == pytest.approx(share, abs=0.02)
        assert abs(part["label"].value_counts(normalize=True) - whole).max() < 0.03


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"test": 1.2}, "test=1.2 is no share of the rows"),
        ({"validation": -0.1}, "validation=-0.1 is no share of the rows"),
        ({"validation": 0}, "validation=0 is no share"),
        ({"test": 500}, "test=500 is no share"),
        ({"test": 0.6, "validation": 0.4}, "leave no rows for training"),
    ],
)
def test_bad_shares_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        split_examples(templated(0, 40), **options)


def test_a_label_in_too_few_groups_is_named():
    table = pd.concat([templated(20, 0, labels=["form"]), templated(0, 60)], ignore_index=True)
    with pytest.raises(ValueError, match=r"'form' has 20 texts, but in only 1 group\(s\) of near duplicates"):
        split_examples(table)


def test_a_group_too_large_for_the_shares_is_named():
    with pytest.raises(ValueError, match=r"800 of 1000 rows are near duplicates .*'Dear customer, your order.*63%"):
        split_examples(templated(800, 200))


@pytest.mark.parametrize(("labels", "texts", "shares"), [(24, 8, (0.15, 0.22)), (12, 16, (0.075, 0.075))])
def test_many_labels_of_texts_that_were_written_twice_are_split(labels, texts, shares):
    """One group of each label fills a small split beyond its share: no reason to refuse a table of small groups."""
    table = templated(0, labels * texts // 2, labels=range(labels))
    table = pd.concat([table, table.assign(text=table["text"] + " thanks")], ignore_index=True)
    for part, share in zip(split_examples(table, *shares).values(), (1 - sum(shares), *shares), strict=True):
        assert set(part["label"]) == set(range(labels))
        assert len(part) <= max(2 * labels, (share + 0.02) * len(table))


def test_uneven_groups_fill_two_small_splits_alike():
    """Of each label a text, one written twice, and texts written three times: one split must not get all the pairs."""
    table = templated(0, 180, labels=range(20))
    copies = [1, 2, *[3] * 7]
    rows = [(f"{text} {'so' * copy}", label) for i, (text, label) in enumerate(table[["text", "label"]].to_numpy())
            for copy in range(copies[i // 20])]  # fmt: skip
    splits = split_examples(pd.DataFrame(rows, columns=["text", "label"]), 0.07, 0.07)
    assert abs(len(splits["validation"]) - len(splits["test"])) <= 3


def test_rare_labels_are_in_every_split():
    table = templated(0, 200)
    table.loc[:5, "label"] = ["x", "x", "x", "y", "y", "y"]
    for part in split_examples(table).values():
        assert set(part["label"]) == {"a", "b", "x", "y"}


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


def test_the_tickets_become_exactly_what_the_tokenizer_says(splits, tokenizer):
    for name, rows in load_tickets(tokenizer).items():
        assert rows.column_names == ["text", "input_ids", "label"]
        assert rows["text"][:] == splits[name]["text"].tolist()
        assert rows["label"][:] == [QUEUES.index(label) for label in splits[name]["label"]]
        expected = [tokenizer(text, split_special_tokens=True).input_ids[:128] for text in splits[name]["text"]]
        assert rows["input_ids"][:] == expected


def test_a_tokenizer_of_a_short_context_cuts_texts_to_it(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "model_max_length", 16)
    table = pd.DataFrame({"text": ["word " * 500, "b"], "label": ["x", "y"]})
    assert max(map(len, tokenize({"train": table}, tokenizer)["train"]["input_ids"])) == 16


def test_a_token_in_front_of_every_text_does_not_hide_an_empty_one(tokenizer):
    from course_utils.models import load_tokenizer

    begins = load_tokenizer()
    begins.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", tokenizer.eos_token_id)]
    )
    table = pd.DataFrame({"text": ["one", "two"], "label": ["x", "y"]})
    assert tokenize({"train": table}, begins)["train"]["input_ids"][0][0] == tokenizer.eos_token_id
    with pytest.raises(ValueError, match="empty text"):
        tokenize({"train": table.assign(text=["one", ""])}, begins)


def test_tokenizing_shows_no_bars_and_leaves_no_files(few, splits, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
        tokenized = tokenize(splits, tokenizer)
    assert shown.getvalue() == ""
    assert not any(part.cache_files for part in tokenized.values())
    assert os.listdir(tmp_path) == []


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
