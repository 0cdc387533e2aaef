"""Lesson 11: figures, tables and commands with the labels that learners bring, and with very few rows."""

import io
import json
import sys
import warnings
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from cli_data import COLUMNS
from matplotlib import pyplot as plt

from course_utils import plots
from course_utils.cli import main
from course_utils.cli.estimate import in_words
from course_utils.cli.measure import class_scores, judge
from course_utils.cli.show import printable, show_number, show_score
from course_utils.data import clean_text
from course_utils.evaluation import Evaluation
from course_utils.plots.style import short_names
from course_utils.splits import split_examples

LONG = [f"{kind} from customers who wrote to us more than once in a year" for kind in ("Praise", "Blame", "Orders")]
MANY = [f"label number {i}" for i in range(50)]


def evaluation(labels) -> Evaluation:
    """Of each label two rows: one is right, one goes to the next label."""
    count = len(labels)
    true = np.repeat(np.arange(count), 2)
    predicted = true + np.tile([0, 1], count)
    return Evaluation.from_probabilities(labels, true, 0.1 + np.eye(count)[predicted % count])


def boxes(figure, texts) -> list:
    figure.draw_without_rendering()
    return [text.get_window_extent() for text in texts if text.get_text()]


@pytest.mark.parametrize("labels", [LONG, MANY], ids=["long", "many"])
def test_names_beside_a_confusion_matrix_do_not_cover_each_other(labels):
    figure = plots.plot_confusion(evaluation(labels))
    axes = figure.axes[0]
    for one, other in pairwise(boxes(figure, axes.get_yticklabels())):
        assert not one.overlaps(other)
    (title,) = boxes(figure, [axes.title])
    assert figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1
    assert bool(axes.texts) == (labels is LONG)  # fifty times fifty numbers would be a black block


@pytest.mark.parametrize("labels", [LONG, LONG[:2]])
def test_names_below_the_shares_of_labels_do_not_cover_each_other(labels):
    figure = plots.plot_label_shares({"training": pd.Series(labels)})
    names = figure.axes[0].get_xticklabels()
    if names[0].get_rotation() == 0:
        assert not any(one.overlaps(other) for one, other in combinations(boxes(figure, names), 2))
    assert all(box.y0 >= figure.bbox.y0 and box.x0 >= figure.bbox.x0 for box in boxes(figure, names))


def test_labels_that_look_alike_when_they_are_cut_get_their_numbers():
    alike = ["customer service complaint: billing", "customer service complaint: delivery"]
    assert short_names(alike) == ["1. customer service com…", "2. customer service com…"]
    assert short_names(["billing", "delivery"]) == ["billing", "delivery"]


def test_letters_that_the_figures_font_lacks_are_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.plot_confusion(evaluation(["账单", "配送", "billing"]))
        figure.draw_without_rendering()
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["1. ��", "2. ��", "3. billing"]


def test_a_name_that_begins_with_a_low_line_stands_in_the_legend():
    (axes,) = plots.plot_lengths({"_": [1, 2, 3], "b": [2, 3]}).axes
    assert [text.get_text().strip("\u200b") for text in axes.get_legend().get_texts()] == ["_", "b"]


@pytest.mark.parametrize(
    "text", ["Write to <p.miller@shop.example>", "<u-boot@lists.example> says", "<i-am@x.example>"]
)
def test_an_address_is_no_tag(text):
    assert clean_text(text) == text


def test_tags_with_attributes_and_without_a_blank_are_taken_out():
    assert clean_text("<p>Hi</p><br/><B class='x'>bold</B>").split() == ["Hi", "bold"]


def test_a_whole_page_of_html_becomes_what_a_reader_sees():
    page = """<!DOCTYPE html><html><head><style type="text/css">p > b {color: red}</style></head><body class="mail">
    <!--[if mso]><p>For Outlook</p><![endif]--><h1>Refund</h1><p>Where is it?<o:p></o:p></p><hr><img src="x.png">
    <script>alert("1 < 2")</script></body></html>"""
    assert clean_text(page) == "Refund\nWhere is it?"
    assert clean_text("<style>" * 50_000)[:14] == "<style><style>"  # never closed: left as it is, and at once
    for text in ("size <S or >L", "see <https://x.example/h1>", "<hi there>", "a <- b --> c"):
        assert clean_text(text) == text


def test_a_label_that_never_occurs_has_no_recall_and_no_f1():
    result = Evaluation.from_probabilities(["a", "b"], [0, 0], np.array([[0.9, 0.1], [0.2, 0.8]]))
    there, absent = class_scores(result)
    assert there["recall"] == 0.5 and there["f1"]["low"] is not None
    assert absent["recall"] is None and absent["f1"] == {"value": None, "low": None, "high": None}
    assert (show_number(absent["recall"]), show_score(absent["f1"])) == ("–", "–")


@pytest.mark.parametrize(
    ("times", "says"), [(0.2, "takes 5.0 times as long"), (1.5, "no dearer"), (40, "40 times cheaper")]
)
def test_the_verdict_says_what_tfidf_costs(times, says):
    true = np.arange(40) % 2
    result = Evaluation(["a", "b"], true, np.where(np.arange(40) < 30, true, 1 - true), np.zeros((40, 2)))
    baselines = {name: {"macro_f1": {"value": value}} for name, value in (("majority", 0.3), ("tfidf", 0.95))}
    said = judge(result, baselines, {"value": -0.2, "low": -0.3, "high": -0.1}, times)["sentence"]
    assert says in said and "TF-IDF with logistic regression is better" in said


def test_one_second_is_no_seconds():
    assert (in_words(0.4), in_words(1), in_words(2)) == ("1 second", "1 second", "2 seconds")


def test_joined_letters_stay_joined():
    assert printable("می\u200cخواهم 👨\u200d👩") == "می\u200cخواهم 👨\u200d👩"
    assert printable("a\x1b[2Jb\u202e") == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}"


def test_very_few_rows_are_drawn():
    few = evaluation(["a", "b"])
    plots.plot_reliability(few, bins=10)
    plots.plot_learning_rates({"long": [1e-3] * 20, "short": [1e-4] * 10})
    (short, long) = plots.plot_batches({"one": [[3, 4]], "two": [[3, 3], [4, 4]]}).axes[1:3]
    assert not short.axison and long.axison
    with pytest.raises(ValueError, match="nothing to be surprised at"):
        plots.plot_surprise([], [])
    with pytest.raises(ValueError, match="no rows to split"):
        split_examples(pd.DataFrame({"text": [], "label": []}))
    plt.close("all")


def test_half_of_one_row_is_that_row(capsys):
    plots.plot_coverage(Evaluation.from_probabilities(["a", "b"], [0], np.array([[0.9, 0.1]])))
    assert "≈ 1.00 on all tickets and ≈ 1.00 on the surer half" in capsys.readouterr().out


def test_a_long_prompt_stays_inside_its_figure():
    figure = plots.plot_next_tokens([" a", " b"], [0.6, 0.2], "word " * 30)
    (title,) = boxes(figure, [figure.axes[0].title])
    assert figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1


def test_names_of_runs_that_end_alike_do_not_cover_each_other():
    figure = plots.plot_losses({name: [2.0, 1.0 + i / 100] for i, name in enumerate("ABC")}, 8)
    for one, other in combinations(boxes(figure, figure.axes[0].texts[:3]), 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize("count, pads", [(3, 16), (19, 0), (12, 7), (18, 1)])
def test_notes_over_a_padded_text_do_not_cover_each_other(count, pads):
    figure = plots.plot_reading(["word"] * count, pads)
    notes = [text for text in figure.axes[0].texts if text.get_text()[:1] in ("✓", "✗")]
    found = boxes(figure, notes)
    assert len(found) == (3 if pads else 2)
    assert not any(one.overlaps(other) for one, other in combinations(found, 2))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in found)


def test_predict_writes_utf8_to_a_pipe_and_takes_no_mark_for_a_text(mine, tmp_path, monkeypatch):
    """As on Windows, where a pipe has another encoding and a file begins with a byte-order mark."""
    file = tmp_path / "texts.csv"
    file.write_text("message\nWhere is my parcel? 包裹\n", encoding="utf-8")
    assert main(["predict", str(mine), str(file), *COLUMNS[:2], "--to", "jsonl", "--out", str(tmp_path / "out")]) == 0
    pipe = io.BytesIO()
    typed = io.BytesIO("\ufeffWhere is my parcel? 包裹\n".encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(typed, encoding="cp1252"))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(pipe, encoding="cp1252"))
    assert main(["predict", str(mine), "-", "--to", "jsonl"]) == 0
    sys.stdout.flush()
    (said,) = (json.loads(line) for line in pipe.getvalue().decode("utf-8").splitlines())
    (written,) = (json.loads(line) for line in (tmp_path / "out").read_text(encoding="utf-8").splitlines())
    assert said["text"] == written["text"] == "Where is my parcel? 包裹"
    assert said["probabilities"] == pytest.approx(written["probabilities"], abs=1e-4)


def test_what_was_taken_for_a_misspelt_label_is_said(tmp_path):
    from argparse import Namespace

    from course_utils.cli.prepare import read_clean

    labels = ["relevant", "irrelevant", "irrelevant", "othr", " Other", "?"]
    pd.DataFrame({"text": list("abcdef"), "label": labels}).to_csv(tmp_path / "a.csv", index=False)
    options = Namespace(text_column="text", label_column="label", encoding="utf-8")
    _, (said,), _ = read_clean(options, str(tmp_path / "a.csv"), ["relevant", "other"], mend=True)
    assert "misspelt, 'irrelevant' for 'relevant' in 2 row(s); 'othr' for 'other' in 1 row(s); what is" in said
    assert read_clean(options, str(tmp_path / "a.csv"), sorted(set(labels)), mend=True)[1] == []


def test_twins_in_a_report_are_cut_like_other_texts():
    from course_utils.cli.measure import LONGEST_TEXT
    from course_utils.cli.prepare import leave_out_leaks

    twin = " ".join(f"word{i}" for i in range(900))
    own = pd.DataFrame({"text": [twin, "another text of ours"], "label": ["a", "a"]})
    _, facts = leave_out_leaks(own, {"test": pd.DataFrame({"text": [twin], "label": ["a"]})})
    (example,) = facts["examples"]
    assert len(example["test"]) == len(example["train"]) == LONGEST_TEXT
