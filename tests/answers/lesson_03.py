"""Wrong answers to the exercises of lesson 3, each with a part of the hint that it must get."""

from course_utils import data


def every_repeated_text(table):
    same = table["text"].str.lower()
    return sorted(set(same[same.duplicated()]))


def minds_the_case(table):
    labels = table.groupby("text")["label"].nunique()
    return sorted(labels[labels > 1].index)


def lists_rows(table):
    same = table["text"].str.lower()
    return sorted(same[table.groupby(same)["label"].transform("nunique") > 1])


def counts_pairs(train_texts, test_texts):
    border = len(train_texts)
    return sum(a < border <= b for a, b, _ in data.similar_pairs(train_texts + test_texts))


def counts_pairs_inside(train_texts, test_texts):
    return len(data.similar_pairs(train_texts + test_texts))


def forgets_the_border(train_texts, test_texts):
    pairs = data.similar_pairs(train_texts + test_texts)
    return len({b for a, b, _ in pairs if a < len(train_texts) and len(train_texts) < b <= len(test_texts)})


WRONG = {
    "conflicting_texts": [
        (every_repeated_text, "count different labels"),
        (minds_the_case, "lower case"),
        (lists_rows, "name each text once"),
    ],
    "count_twins": [
        (counts_pairs, "each once"),
        (counts_pairs_inside, "inside one part"),
        (forgets_the_border, "go on counting"),
    ],
}
