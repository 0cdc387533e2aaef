"""Checks of lesson 3: prepare data."""

import pandas as pd

from course_utils.checks.base import exercise, hint_at_known, number, require, texts


@exercise("a list of texts", texts)
def check_conflicting_texts(conflicting_texts) -> str:
    """`conflicting_texts(table)`: the texts that occur with more than one label."""
    table = pd.DataFrame(
        [
            ("Where is it?", "delivery"), ("where is it?", "returns"), ("Refund please", "returns"),
            ("Refund please", "returns"), ("Close it ", "account"), (" Close it", "billing"), ("Thanks", "feedback"),
        ],
        columns=["text", "label"],
    )  # fmt: skip
    wanted = ["close it", "where is it?"]
    result = conflicting_texts(table.copy())
    lowered = [text.lower() for text in result]
    agreed, found = "refund please" in lowered, set(lowered) == set(wanted)
    require(not agreed, "'refund please' is there twice with the same label: count different labels, not rows.")
    require(
        set(lowered) != {"where is it?"}, "'Close it ' and ' Close it' are one text: group by it without outer spaces."
    )
    require(set(lowered) != {"close it"}, "'Where is it?' and 'where is it?' are one text: group by it in lower case.")
    require(not found or lowered == result, f"the right texts, but as the table has them, {result}: use lower case.")
    require(not found or len(result) == 2, f"two texts have two labels, you list {len(result)}: name each text once.")
    require(not found or result == wanted, "these are the right texts: put them in alphabetical order.")
    require(found, f"for the example it should return {wanted}, not {result}.")
    three = pd.DataFrame({"text": ["No", "no", "NO", "Yes"], "label": ["account", "billing", "returns", "returns"]})
    require(conflicting_texts(three) == ["no"], "three labels are a conflict, too: ask for more than one, not for two.")
    return "two texts of the example have two labels each. Nobody can say which is right, so `clean` drops every copy."


@exercise("a whole number of test texts", number)
def check_count_twins(count_twins) -> str:
    """`count_twins(train_texts, test_texts)`: the test texts with a near duplicate in training."""
    train = ["My parcel has not arrived yet", "My parcel has not arrived yet!", "my parcel has not arrived yet."]
    train += ["Please close my account", "please close my account!", "please close my account."]
    test = ["my parcel has not arrived yet!!", "My parcel has not arrived yet...", "Where is the money for my coat?"]
    test += ["where is the money for my coat"]
    given = list(train), list(test)
    result = count_twins(*given)
    kept = given == (train, test)
    require(kept, "you change a list that you are given: join the two with +, which makes a new one, not += or extend.")
    mistakes = {
        6: "you count pairs, and each test text with three twins makes three: count test texts, each once",
        3: "you count the *training* texts that have a twin: count the test texts, the second of each pair",
        5: "you count the texts on both sides: count the test texts alone, the second of each pair",
        1: "one test text is lost: the first one has the position len(train_texts), and belongs to the test",
        0: "positions in the list of all texts go on counting: the first test text has the position len(train_texts)",
    }
    hint_at_known(result, mistakes)
    inside = result in (4, 7, 8, 10, 14)  # texts that have a twin anywhere, or all pairs
    require(not inside, "you count twins inside one part too; only a pair with one text on each side is a leak.")
    require(result == 2, f"in the example two test texts have twins in training, your function counts {result:g}.")
    others = count_twins(list(train), test[2:]) == 0 and count_twins(test[1:3], list(test)) == 4
    require(others, "right for the example, but not for other lists: does it use the two that it is given?")
    return "two test texts of the example have twins in training. On the splits of `split_examples` the count is 0."
