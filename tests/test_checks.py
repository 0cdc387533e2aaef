"""The checks under the exercises: each mistake gets its own hint, and no answer makes a check crash."""

import importlib.util
import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import checks
from course_utils.checks.base import describe, exercise, number

ANSWERS = sorted((Path(__file__).parent / "answers").glob("lesson_*.py"))
CHECKS = [getattr(checks, name) for name in checks.__all__]


def load_wrong_answers(path) -> dict:
    """Known wrong answers: for each exercise pairs of (function, a part of its hint)."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WRONG


WRONG = {name: answers for path in ANSWERS for name, answers in load_wrong_answers(path).items()}


def verdict(check, answer) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed):
        check(answer)
    assert printed.getvalue().count("\n") == 1, printed.getvalue()
    return printed.getvalue().strip()


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_answer_gets_the_hint_about_its_own_mistake(name):
    for answer, hint in WRONG[name]:
        said = verdict(getattr(checks, f"check_{name}"), answer)
        assert said.startswith("Almost: "), (hint, said)
        assert hint in said, (hint, said)


def test_every_check_has_wrong_answers():
    assert {f"check_{name}" for name in WRONG} == set(checks.__all__)


# --- blank, forgotten return, crash: told apart -----------------------------------------------------------------


def ellipsis(*arguments): ...


def only_a_docstring(*arguments):
    """Do what the task says."""


def docstring_and_ellipsis(*arguments):
    """Do what the task says."""
    ...


def only_pass(*arguments):
    pass


def returns_the_ellipsis(*arguments):
    return ...


def returns_the_ellipsis_after_work(*arguments):
    first = arguments[0]
    del first
    return ...


BLANKS = [None, ..., ellipsis, only_a_docstring, docstring_and_ellipsis, only_pass, returns_the_ellipsis]


@pytest.mark.parametrize("check", CHECKS, ids=checks.__all__)
def test_a_blank_stub_is_not_yet_an_answer(check):
    for blank in BLANKS:
        assert verdict(check, blank).startswith("Not yet: replace the ..."), blank


def computes_and_returns_nothing(*arguments):
    """Do the work, and forget to return it."""
    len(arguments)
    ...  # left over from the stub


RETURNING = [name for name in checks.__all__ if name not in ("check_accumulate", "check_train_biases")]


@pytest.mark.parametrize("name", RETURNING)
def test_a_forgotten_return_is_named(name):
    said = verdict(getattr(checks, name), computes_and_returns_nothing)
    assert "returned nothing" in said and "return" in said
    assert said.startswith("Almost"), said
    assert verdict(getattr(checks, name), returns_the_ellipsis_after_work).startswith("Not yet")


def stops(*arguments):
    """Stop with an error of two lines."""
    raise KeyError("no such key\nand a second line")


@pytest.mark.parametrize("check", CHECKS, ids=checks.__all__)
def test_a_crash_is_reported_in_one_line_with_its_place(check):
    said = verdict(check, stops)
    assert said.startswith("Almost: your code stopped in line 3 of the function with KeyError: ")


def test_a_crash_names_the_plain_arguments_that_led_to_it():
    def without_a_mean(losses, window):
        means = [sum(losses[end - window : end]) / window for end in range(window, len(losses) + 1)]
        first = means[0]
        return next((i + window for i, mean in enumerate(means) if mean > 1.5 * first), 0)

    said = verdict(checks.check_diverged_since, without_a_mean)
    assert said.endswith("in line 3 of the function with IndexError: list index out of range, for ([2.0, 1.9], 3)")

    def unfinished(low, high):
        raise NotImplementedError

    assert verdict(checks.check_choose_model, unfinished).endswith("with NotImplementedError, for (0.04, 0.3)")


class Awkward:
    """Something that cannot be compared, printed or measured."""

    def __repr__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    def __len__(self):
        raise RuntimeError("no")

    __hash__ = None


GARBAGE = [
    [], (), {}, set(), "text", b"bytes", True, float("nan"), float("inf"), -1, 3 + 4j, 10**30, [1, 2], [[1, 2], [3]],
    ["a", None], (1, "two"), (None, None), [torch.ones(2, requires_grad=True)] * 2, np.zeros(0), np.zeros((2, 3, 4)),
    np.full((2, 3), np.nan), np.array(["a", "b"]), np.array([None, 1]), np.float64(7), torch.tensor(-1.0),
    torch.ones(4, requires_grad=True), torch.zeros(2, dtype=torch.long), torch.full((2, 4), torch.nan),
    torch.tensor([1, 3], dtype=torch.bfloat16), torch.ones(2, 4, dtype=torch.complex64), torch.ones(3).to_sparse(),
    torch.empty(2, device="meta"), torch.ones(2, dtype=torch.bool), pd.Series(["a", "b"]), pd.DataFrame({"a": [1, 2]}),
    range(5), iter([1, 2]), (i for i in range(2)), len, int, Awkward(), [Awkward()] * 2, torch.nn.Linear(1, 1),
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=checks.__all__)
def test_no_answer_makes_a_check_crash_or_pass(check):
    for thing in GARBAGE:
        said = verdict(check, lambda *arguments, thing=thing: thing)
        assert said.startswith("Almost: "), said
        assert "your code stopped" not in said, said  # it is the check that would have stopped
    for thing in (3, "text", [1], torch.ones(2)):
        assert "a function is wanted, not" in verdict(check, thing)


def test_the_wrong_kind_of_result_is_described_beside_what_is_wanted():
    said = verdict(checks.check_last_real_positions, lambda ids, pad: [1, 3])
    assert "returned a list, [1, 3]; wanted is a tensor with one position for each text, shape (texts,)" in said
    said = verdict(checks.check_tickets_needed, lambda accuracy, half_width: np.array([683.0, 1.0]))
    assert "returned an array of shape (2,), for (0.8, 0.03); wanted is a whole number of tickets" in said
    assert describe(torch.zeros(2, 3)) == "a tensor of shape (2, 3)"
    assert len(describe(list(range(1000)))) < 60


def test_a_judge_that_stumbles_still_ends_in_a_sentence():
    @exercise("a number", number)
    def check(answer):
        return 1 / answer(0)

    assert verdict(check, lambda x: 0) == "Almost: your function returned an int, 0, for (0,); wanted is a number."


# --- answers that are right in another way than the solution's --------------------------------------------------


def test_accumulate_may_let_the_model_compute_the_loss():
    def accumulate(model, batches):
        rows = sum(len(batch["labels"]) for batch in batches)
        for batch in batches:
            (model(**batch).loss * len(batch["labels"]) / rows).backward()

    assert verdict(checks.check_accumulate, accumulate).startswith("Right")


def test_lora_output_may_compute_in_double_precision():
    def lora_output(x, W, A, B, alpha):
        x, W, A, B = (tensor.double() for tensor in (x, W, A, B))
        return x @ W + alpha / len(A) * (x @ A.T) @ B.T

    assert verdict(checks.check_lora_output, lora_output).startswith("Right")


def test_a_helper_of_ones_own_may_have_the_name_of_pytorchs():
    def answer(logits, labels):
        return -log_softmax(logits)[torch.arange(len(labels)), labels].mean()

    assert verdict(checks.check_cross_entropy, answer).startswith("Right")


def log_softmax(logits):
    shifted = logits - logits.amax(dim=1, keepdim=True)
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def test_lists_arrays_and_tensors_of_the_right_numbers_are_right():
    def twins(kind):
        return lambda rate, blocks, decay: kind([rate * decay**depth for depth in range(blocks + 1, -1, -1)])

    for kind in (list, tuple, np.array, torch.tensor, pd.Series):
        assert verdict(checks.check_layer_rates, twins(kind)).startswith("Right"), kind


def test_checks_name_no_part_of_a_model():
    source = "".join(path.read_text() for path in Path(checks.__file__).parent.glob("*.py"))
    for part in ("n_embd", "c_attn", ".transformer", "wte", "wpe", "ln_f"):
        assert part not in source
