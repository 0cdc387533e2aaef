"""The message lab: bars that move with what is typed, for any labels, and nothing typed becomes HTML."""

import ipywidgets as widgets
import pytest
import torch

from course_utils.evaluation import predict
from course_utils.labs.message import SHOWN, message_lab
from course_utils.models import load_classifier

LABELS = ["calm", "<img src=x onerror=alert(1)>", "angry"]


@pytest.fixture
def lab(any_tiny, tokenizer):
    return message_lab(load_classifier(LABELS, any_tiny), tokenizer, "Where is it?")


def test_there_is_a_bar_for_each_label_and_they_sum_to_one(lab):
    assert lab.bars.value.count("<tr>") == 3
    assert sum(lab.probabilities().values()) == pytest.approx(1)


def test_the_bars_say_what_predict_says(lab, tokenizer):
    row = predict(lab.model, tokenizer, ["Where is it?"]).iloc[0]
    (label, value), *_ = lab.probabilities().items()
    assert (label, value) == (row["label"], pytest.approx(row["confidence"], abs=1e-6))
    assert f"{value:.2f}" in lab.bars.value and f"{value:.2f}" in lab.status.value


def test_typing_moves_the_bars_and_leaves_their_order(lab):
    with torch.no_grad():
        lab.model.score.weight.mul_(30)  # a fresh head is hardly surer of one label than of another
    before, order = lab.bars.value, list(lab.bars_shown())
    lab.controls["message"].value = "Nobody ever answers me!"
    assert lab.bars.value != before
    assert list(lab.bars_shown()) == order == LABELS
    assert lab.controls["message"].continuous_update  # with every letter


def test_labels_and_messages_stay_text(lab):
    lab.set(message="<script>alert(1)</script> <b>$5$</b> <|endoftext|>")
    shown = lab.bars.value + lab.status.value
    assert "<img" not in shown and "<script" not in shown
    assert "&lt;img src=x" in shown
    lab.figure().draw_without_rendering()


def test_an_empty_message_says_what_to_do(lab):
    for nothing in ("", "  \n ", "<p></p>"):
        lab.set(message=nothing)
        assert "type something" in lab.status.value
        assert "<tr>" not in lab.bars.value
    with pytest.raises(ValueError, match="set one first"):
        lab.figure()


def test_a_message_longer_than_the_limit_is_cut(lab, tokenizer):
    words = " tomato" * 500
    short = message_lab(lab.model, tokenizer, words, max_tokens=5)
    lab.set(message=words)
    assert lab.probabilities() != short.probabilities()
    short.set(message=tokenizer.decode(tokenizer(words.strip()).input_ids[:5]))
    cut = short.probabilities()
    short.set(message=words)
    assert short.probabilities() == pytest.approx(cut)


def test_of_many_labels_the_likeliest_have_bars(tiny, tokenizer):
    lab = message_lab(load_classifier([f"label {i}" for i in range(40)], tiny), tokenizer, "Where is it?")
    assert lab.bars.value.count("<tr>") == SHOWN
    assert set(lab.bars_shown()) == set(list(lab.probabilities())[:SHOWN])


def test_it_is_one_named_field_and_a_figure_stands_for_it(lab, capsys):
    controls = [w for w in lab.view.children if isinstance(w, widgets.Text)]
    assert [w.description for w in controls] == ["message"]
    assert 'role="status"' in lab.status.value and "aria-hidden" in lab.bars.value
    lab.figure()
    assert capsys.readouterr().out == f"Figure: {lab.words()}\n"
    assert lab._repr_mimebundle_()["text/plain"] == "Message lab: run this cell in JupyterLab to use it."
