"""Wrong answers to the exercises of lesson 3, each with a part of the hint that it must get."""

from course_utils import duplicates


def every_repeated_text(table):
    same = table["text"].str.strip().str.lower()
    return sorted(set(same[same.duplicated()]))


def minds_the_case(table):
    labels = table.groupby(table["text"].str.strip())["label"].nunique()
    return sorted(labels[labels > 1].index)


def minds_the_spaces(table):
    labels = table.groupby(table["text"].str.lower())["label"].nunique()
    return sorted(labels[labels > 1].index)


def in_original_case(table):
    same = table["text"].str.strip().str.lower()
    return sorted(set(table["text"].str.strip()[table.groupby(same)["label"].transform("nunique") > 1]))


def in_another_order(table):
    labels = table.groupby(table["text"].str.strip().str.lower(), sort=False)["label"].nunique()
    return list(labels[labels > 1].index)


def exactly_two_labels(table):
    labels = table.groupby(table["text"].str.strip().str.lower())["label"].nunique()
    return sorted(labels[labels == 2].index)


def the_counts(table):
    labels = table.groupby(table["text"].str.strip().str.lower())["label"].nunique()
    return labels[labels > 1]


def lists_rows(table):
    same = table["text"].str.strip().str.lower()
    return sorted(same[table.groupby(same)["label"].transform("nunique") > 1])


def counts_pairs(train_texts, test_texts):
    border = len(train_texts)
    return sum(a < border <= b for a, b, _ in duplicates.similar_pairs(train_texts + test_texts))


def counts_pairs_inside(train_texts, test_texts):
    return len(duplicates.similar_pairs(train_texts + test_texts))


def counts_training_texts(train_texts, test_texts):
    border = len(train_texts)
    return len({a for a, b, _ in duplicates.similar_pairs(train_texts + test_texts) if a < border <= b})


def counts_both_sides(train_texts, test_texts):
    border = len(train_texts)
    pairs = [(a, b) for a, b, _ in duplicates.similar_pairs(train_texts + test_texts) if a < border <= b]
    return len({position for pair in pairs for position in pair})


def counts_twins_anywhere(train_texts, test_texts):
    border = len(train_texts)
    found = {position for a, b, _ in duplicates.similar_pairs(train_texts + test_texts) for position in (a, b)}
    return len([position for position in found if position >= border])


def extends_the_first(train_texts, test_texts):
    train_texts += test_texts
    return len({b for a, b, _ in duplicates.similar_pairs(train_texts) if a < len(train_texts) <= b})


def loses_the_first(train_texts, test_texts):
    border = len(train_texts)
    return len({b for a, b, _ in duplicates.similar_pairs(train_texts + test_texts) if a < border < b})


def knows_the_example(train_texts, test_texts):
    return 2


def returns_the_pairs(train_texts, test_texts):
    return duplicates.similar_pairs(train_texts + test_texts)


def forgets_the_border(train_texts, test_texts):
    pairs = duplicates.similar_pairs(train_texts + test_texts)
    return len({b for a, b, _ in pairs if a < len(train_texts) and len(train_texts) < b <= len(test_texts)})


WRONG = {
    "conflicting_texts": [
        (every_repeated_text, "count different labels"),
        (minds_the_case, "lower case"),
        (minds_the_spaces, "without outer spaces"),
        (lambda table: minds_the_spaces(table.assign(text=table["text"].str.lstrip())), "without outer spaces"),
        (lists_rows, "name each text once"),
        (in_original_case, "use lower case"),
        (in_another_order, "alphabetical order"),
        (exactly_two_labels, "more than one, not for two"),
        (the_counts, "returned a Series"),
        (lambda table: [], "not []"),
    ],
    "count_twins": [
        (counts_pairs, "each once"),
        (counts_pairs_inside, "inside one part"),
        (counts_twins_anywhere, "inside one part"),
        (counts_training_texts, "*training* texts"),
        (counts_both_sides, "both sides"),
        (extends_the_first, "you change a list"),
        (loses_the_first, "one test text is lost"),
        (knows_the_example, "not for other lists"),
        (returns_the_pairs, "returned a list"),
        (lambda train_texts, test_texts: 11, "counts 11"),
        (forgets_the_border, "go on counting"),
    ],
}
