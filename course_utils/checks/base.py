"""What the checks share: how they call a learner's function, read what it returns, and say what is wrong with it.

A check is a judge with `@exercise(...)` on top. A judge is given the learner's function and returns what a right answer
shows; for a wrong one it raises `Hint` with a sentence about that very mistake.
"""

import dis
import reprlib
import textwrap
import traceback
from collections.abc import Callable, Iterable
from functools import wraps

import numpy as np
import pandas as pd
import torch


class Hint(Exception):
    """What to tell a learner whose answer is wrong."""


class Blank(Exception):
    """The stub has not been filled in."""


def exercise(wants: str, read: Callable | None) -> Callable[[Callable], Callable]:
    """Make a check of a judge: it prints one line that begins with "Not yet", "Almost" or "Right".

    wants: what the learner's function should return, in words, for the sentence to one that returns something else.
    read: makes of it what the judge can compare (`number`, `tensor`, ...), and raises TypeError or ValueError for any
    other thing. None: the function works on its arguments, and what it returns is up to the judge.
    """

    def decorate(judge: Callable[["Answer"], str]) -> Callable[..., None]:
        @wraps(judge)
        def check(function) -> None:
            answer = Answer(function, wants, read)
            try:
                if is_blank(function):
                    raise Blank
                print(f"Right: {judge(answer)}")
            except Blank:
                print("Not yet: replace the ... in the cell above with your answer, run it, then run this cell again.")
            except Hint as hint:
                print(f"Almost: {hint}")
            except Exception:  # the judge did not expect such an answer: no reason to show the learner its traceback
                print(f"Almost: {answer.complaint()}")

        return check

    return decorate


class Answer:
    """A learner's function: whatever goes wrong when it is called becomes a sentence."""

    def __init__(self, function: Callable, wants: str, read: Callable | None):
        self.function, self.wants, self.read = function, wants, read
        self.result, self.case = None, ""  # of the last call

    def __call__(self, *arguments):
        """Call the function and read its result; Hint if it stops, returns nothing or the wrong kind of thing."""
        if not callable(self.function):
            raise Hint(f"a function is wanted, not {describe(self.function)}: keep the line that begins with def.")
        call, plain = reprlib.repr(arguments), all(isinstance(argument, int | float | list) for argument in arguments)
        self.case = f", for {call}" if plain and len(call) < 80 else ""
        try:
            with np.errstate(all="ignore"):  # a division by zero shows in the numbers
                self.result = self.function(*arguments)
        except Exception as error:  # a learner's code may raise anything; say what and where, in one line
            first_line = str(error).strip().partition("\n")[0]
            what = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
            raise Hint(f"your code stopped{self.place(error)} with {what}{self.case}") from error
        if self.result is ...:
            raise Blank
        if self.read is None:
            return self.result
        if self.result is None:
            raise Hint(
                f"your function returned nothing{self.case}: end every way through it with return and the result."
            )
        try:
            return self.read(self.result)
        except (TypeError, ValueError, RuntimeError):
            raise Hint(self.complaint()) from None

    def complaint(self) -> str:
        """Say what came back and what is wanted."""
        return f"your function returned {describe(self.result)}{self.case}; wanted is {self.wants}."

    def place(self, error: Exception) -> str:
        """Name the line of the function where the error arose, if it did there."""
        code = getattr(self.function, "__code__", None)
        lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code is code]
        return f" in line {lines[-1] - code.co_firstlineno + 1} of the function" if lines else ""


def is_blank(function) -> bool:
    """Tell whether nothing is written yet: no function, or one that computes nothing and returns None or `...`."""
    if function is None or function is ...:
        return True
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP")]
    only_returns = all(step.opname in ("LOAD_CONST", "RETURN_CONST", "RETURN_VALUE") for step in steps)
    return only_returns and all(step.argval in (None, ...) for step in steps)


# --- what a function returned, made comparable ------------------------------------------------------------------


def tensor(value) -> torch.Tensor:
    """Read a tensor, without its graph."""
    if not isinstance(value, torch.Tensor):
        raise TypeError
    return value.detach().cpu()


def numbers(value) -> np.ndarray:
    """Read a number, or a list, tuple, array, column or tensor of them: an array of floats of the same shape."""
    array = np.asarray(without_tensors(value))
    if array.dtype.kind not in "iuf":
        raise TypeError
    return array.astype(float)


def without_tensors(value):
    """Replace the tensors in a value by arrays."""
    if isinstance(value, list | tuple):
        return [without_tensors(item) for item in value]
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def number(value) -> float:
    """Read a single number."""
    array = numbers(value)
    if array.shape != ():
        raise ValueError
    return array.item()


def texts(value) -> list[str]:
    """Read a list, tuple, array or column of texts."""
    rows = isinstance(value, list | tuple | np.ndarray | pd.Index | pd.Series)
    if not rows or not all(isinstance(text, str) for text in value):
        raise TypeError
    return list(value)


# --- comparing and telling --------------------------------------------------------------------------------------


def same(result, wanted, tolerance: float = 1e-5) -> bool:
    """Compare numbers or arrays of them; False where the shapes differ."""
    result, wanted = numbers(result), numbers(wanted)
    return result.shape == wanted.shape and bool(np.allclose(result, wanted, rtol=1e-6, atol=tolerance))


def require(holds: bool, hint: str) -> None:
    """Give the hint unless the condition holds."""
    if not holds:
        raise Hint(hint)


def hint_at_known(result, mistakes: dict | Iterable[tuple], tolerance: float = 1e-5) -> None:
    """Give the hint of the first known wrong result (result, hint without the full stop) that equals this one."""
    for wrong, hint in mistakes.items() if isinstance(mistakes, dict) else mistakes:
        require(not same(result, wrong, tolerance), f"{hint}.")


def describe(value) -> str:
    """Say in a few words what a value is."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"{'a tensor' if isinstance(value, torch.Tensor) else 'an array'} of shape {tuple(value.shape)}"
    kind = type(value).__name__
    content = textwrap.shorten(reprlib.repr(value), 60, placeholder=" ...")
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}, {content}"


def round_all(values) -> list[float]:
    """Round numbers for a hint."""
    return [round(value, 2) for value in numbers(values).flatten().tolist()]
