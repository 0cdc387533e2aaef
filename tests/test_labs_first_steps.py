"""The small widgets of lessons 1 to 3: what a hand does shows, what is typed stays text, a figure says the same."""

import io

import ipywidgets as widgets
import pytest
import torch
from PIL import Image

from course_utils.architecture import context_length, count_parameters
from course_utils.labs import FreezeBox, NextTokenBox, TokenizerBox
from course_utils.models import load_classifier, load_language_model


@pytest.fixture
def tokens(tokenizer):
    return TokenizerBox(tokenizer)


@pytest.fixture(scope="module")
def shared_next(tiny, tokenizer):
    return NextTokenBox(load_language_model(tiny), tokenizer)


@pytest.fixture
def next_token(shared_next, tokenizer):
    shared_next.set(prompt="I would like to", temperature=1.0, top_k=len(tokenizer))
    return shared_next


@pytest.fixture
def freeze(any_tiny):
    return FreezeBox(load_classifier(["calm", "angry"], any_tiny))


def pixels(box):
    return Image.open(io.BytesIO(box.chart.value)).convert("L").tobytes()


# --- tokens -----------------------------------------------------------------------------------------------------


def test_every_token_of_the_text_has_a_chip_with_its_id(tokens, tokenizer, capsys):
    tokens.set(text="Where is my parcel?")
    ids = tokenizer("Where is my parcel?").input_ids
    assert all(f"<small>{i}</small>" in tokens.chips.value for i in ids)
    assert tokens.chips.value.count("<small>") == len(ids)
    assert f"19 characters, {len(ids)} tokens" in tokens.status.value
    tokens.figure()
    assert f"Figure: {len(ids)} tokens" in capsys.readouterr().out


def test_typed_markup_and_special_tokens_stay_text(tokens, tokenizer):
    tokens.set(text="<b>bold</b> <script> <|endoftext|> & “x”")
    assert "<b>" not in tokens.chips.value and "<script>" not in tokens.chips.value
    assert "&lt;" in tokens.chips.value and "&amp;" in tokens.chips.value
    assert tokenizer.eos_token_id not in tokens.ids()


def test_an_empty_box_says_what_to_do(tokens):
    tokens.set(text="")
    assert "type something" in tokens.status.value
    with pytest.raises(ValueError, match="set a text first"):
        tokens.figure()


def test_any_character_can_be_drawn(tokens, recwarn):
    tokens.set(text="📦 荷物\n\x00\u202e $5$")
    tokens.figure().draw_without_rendering()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


# --- the next token ---------------------------------------------------------------------------------------------


def test_the_bars_follow_prompt_temperature_and_top_k(next_token):
    seen = {pixels(next_token)}
    for change in ({"temperature": 0.25}, {"top_k": 3}, {"prompt": "My parcel"}):
        next_token.set(**change)
        seen.add(pixels(next_token))
    assert len(seen) == 4


def test_the_words_count_the_bars_that_are_drawn(next_token):
    next_token.set(top_k=3)
    assert "the 3 bars hold ≈ 100%" in next_token.words()
    next_token.set(top_k=200)
    assert "the 10 bars hold" in next_token.words()


def test_what_is_written_on_may_be_longer_than_the_context(next_token):
    assert next_token.write_on(context_length(next_token.model) + 5)


def test_probabilities_are_those_of_the_settings(next_token):
    ids = next_token.prompt_ids()
    with torch.no_grad():
        logits = next_token.model(ids).logits[0, -1]
    torch.testing.assert_close(next_token.probabilities(ids), logits.softmax(dim=-1))
    next_token.set(temperature=0.5, top_k=3)
    kept = next_token.probabilities(ids)
    assert (kept > 0).sum() == 3 and kept.sum() == pytest.approx(1)
    top = logits.topk(3)
    torch.testing.assert_close(kept[top.indices], (top.values / 0.5).softmax(dim=-1))


def test_write_on_draws_other_tokens_each_time_and_escapes_what_was_typed(next_token):
    next_token.set(prompt="<b>Hello</b>")
    first, second = next_token.write_on(), next_token.write_on()
    assert first != second
    assert "&lt;b&gt;Hello&lt;/b&gt;" in next_token.output.value
    before = next_token.output.value
    next_token.button.click()
    assert next_token.output.value != before


@pytest.mark.parametrize("prompt", ["", "word " * 400, "<|pad|>"])
def test_empty_and_endless_prompts_are_answered(next_token, prompt):
    next_token.set(prompt=prompt)
    assert next_token.prompt_ids().shape[1] >= 1
    assert isinstance(next_token.write_on(), str)
    next_token.figure()


# --- freezing ---------------------------------------------------------------------------------------------------


def test_the_slider_freezes_the_model_itself(freeze):
    blocks = freeze.controls["blocks"].max
    left = []
    for count in range(blocks + 1):
        freeze.set(blocks=count)
        trainable, total = count_parameters(freeze.model)
        left.append(trainable)
        assert f"{trainable:,} of {total:,} parameters" in freeze.status.value
        parts = freeze.parts()
        assert parts["parameters"][parts["trainable"]].sum() == trainable and parts["parameters"].sum() == total
        assert (~parts["trainable"]).sum() == (0 if count == 0 else 1 + count + (count == blocks))
    assert left == sorted(left, reverse=True) and len(set(left)) == blocks + 1


def test_slider_and_number_are_one(freeze):
    slider, number = freeze.view.children[0].children
    number.value = 1
    assert slider.value == 1 and freeze.parts()["trainable"].tolist()[:2] == [False, False]


# --- all of them ------------------------------------------------------------------------------------------------


def test_wrong_settings_are_refused_in_a_sentence_and_nothing_is_changed(tokens, next_token, freeze):
    with pytest.raises(ValueError, match="no control 'txt' here: choose among text"):
        tokens.set(txt="a")
    with pytest.raises(ValueError, match="'text' does not take 3: give a text"):
        tokens.set(text=3)
    with pytest.raises(ValueError, match="'top_k' does not take 7: choose among 1, 3, 10"):
        next_token.set(temperature=0.5, top_k=7)
    assert next_token.controls["temperature"].value == 1.0
    for value in (-1, 99, 1.5):
        with pytest.raises(ValueError, match=r"'blocks' does not take .*: give a whole number from 0 to"):
            freeze.set(blocks=value)


def test_each_box_is_operable_by_keyboard_named_and_has_words(tokens, next_token, freeze, capsys):
    for box in (tokens, next_token, freeze):
        assert all(control.description for control in box.controls.values())
        assert 'role="status"' in box.status.value
        bundle = box._repr_mimebundle_()
        assert bundle["text/plain"] == f"{box.title}: run this cell in JupyterLab to use it."
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert isinstance(box.view, widgets.Widget)
        box.figure()
        assert "Figure: " in capsys.readouterr().out
