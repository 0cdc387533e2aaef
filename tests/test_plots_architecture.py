"""Figures of the model's inside: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest

from course_utils import plots


def written(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_attention_writes_each_weight_and_hatches_what_cannot_be_seen(capsys):
    figure = plots.plot_attention(np.array([[1.0, 0.0], [0.25, 0.75]]), ["a", " $b"])
    assert written(figure) == ["1.00", "0.25", "0.75"]
    assert len(figure.axes[0].patches) == 1 and figure.axes[0].patches[0].get_xy() == (0.5, -0.5)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["'a'", r"' \$b'"]
    assert "2 tokens, each row of weights sums to 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "weights", [[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.2, 0.2]], [[1.0]]], ids=["looks ahead", "sums", "shape"]
)
def test_weights_that_are_no_causal_attention_are_refused(weights):
    with pytest.raises(ValueError, match="causal attention"):
        plots.plot_attention(np.array(weights), ["a", "b"])


def test_the_diagram_names_the_shapes_of_the_model_that_is_given(capsys):
    words = " ".join(written(plots.plot_shapes(tokens=7, width=32, vocabulary=100, blocks=2, heads=4)))
    for part in ("ids\n7", "one block, of 2", "4 heads\nof 8", "32 → 128\n→ 32", "logits\n7 ×\n100", "100 × 32"):
        assert part in words, part
    assert "pass 2 blocks of attention and MLP, and become logits (7, 100)" in capsys.readouterr().out


def test_reading_marks_the_last_real_token_and_no_other(capsys):
    figure = plots.plot_reading(["Where", " is", "?"], pads=2)
    assert [text for text in written(figure) if text.startswith("✓")] == ["✓ last real token:\nhas seen all 3"]
    assert sum(text.startswith("✗") for text in written(figure)) == 2
    assert [patch.get_hatch() for patch in figure.axes[0].patches] == ["", "", "", "///", "///"]
    assert "of 3 tokens and 2 pads, only position 2" in capsys.readouterr().out


def test_without_padding_there_is_no_pad_to_read():
    assert not any("pad token" in text for text in written(plots.plot_reading(["a", "b"], pads=0)))


def test_trained_parts_are_a_stack_with_the_frozen_hatched(capsys):
    parts = pd.DataFrame({"parameters": [100, 50, 10], "trainable": [False, False, True]}, index=["low", "mid", "head"])
    figure = plots.plot_trained_parts(parts)
    bars = {round(bar.get_y() + 0.4): (bar.get_width(), bar.get_hatch()) for bar in figure.axes[0].patches}
    assert bars == {0: (100, "///"), 1: (50, "///"), 2: (10, "")}
    assert [text.strip() for text in written(figure)] == ["100 frozen", "50 frozen", "10 learn"]
    assert "10 of 160 parameters (6.25%) may learn, 150 are frozen." in capsys.readouterr().out


def test_lora_is_drawn_to_scale(capsys):
    figure = plots.plot_lora(inputs=100, outputs=300, rank=10)
    w, b, a = ((patch.get_width(), patch.get_height()) for patch in figure.axes[0].patches)
    assert np.allclose(np.divide(w, b), [10, 1]) and np.allclose(np.divide(w, a), [1, 30])
    assert "W transposed, frozen\n300 outputs × 100 inputs\n30,000" in written(figure)
    assert "W has 30,000 numbers, B and A of rank 10 together 4,000, 13.3% of them." in capsys.readouterr().out


def test_trainable_counts_stand_on_a_log_axis(capsys):
    figure = plots.plot_trainable({"all": 1000, "head": 10})
    assert figure.axes[0].get_xscale() == "log" and written(figure) == ["10", "1,000"]
    assert "'all' trains 100 times as many parameters as 'head'." in capsys.readouterr().out
