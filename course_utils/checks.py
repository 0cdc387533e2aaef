"""The checks under the exercises: each says "not yet" to a blank stub, gives a hint about a known mistake, or says
why an answer is right.

A check is a judge with `@exercise` on top. A judge takes the learner's answer and returns what a right answer
shows; for a wrong one it raises `Hint` with a sentence about that very mistake.
"""

from collections.abc import Callable
from functools import wraps

import pandas as pd
import torch


class Hint(Exception):
    """What to tell a learner whose answer is wrong."""


class Blank(Exception):
    """The stub has not been filled in."""


def exercise(judge: Callable[..., str]) -> Callable[..., None]:
    """Make a check of a judge: it prints one line that begins with "Not yet", "Almost" or "Right"."""

    @wraps(judge)
    def check(*answers) -> None:
        try:
            if any(answer is None or answer is ... for answer in answers):
                raise Blank
            print(f"Right: {judge(*answers)}")
        except Blank:
            print("Not yet: replace the ... in the cell above with your answer, run it, then run this cell again.")
        except Hint as hint:
            print(f"Almost: {hint}")
        except Exception as error:  # a learner's code may raise anything; say what, where a traceback would bury it
            print(f"Almost: your code stopped with {type(error).__name__}: {error}")

    return check


def filled(result):
    """Pass on what a learner's function returned; a blank stub returns None or ..., which means "not yet"."""
    if result is None or result is ...:
        raise Blank
    return result


# --- lesson 3: prepare data -------------------------------------------------------------------------------------


@exercise
def check_conflicting_texts(answer: Callable) -> str:
    """Judge `conflicting_texts(table)`: the texts that occur with more than one label."""
    table = pd.DataFrame(
        [
            ("Where is it?", "delivery"), ("where is it?", "returns"), ("Refund please", "returns"),
            ("Refund please", "returns"), ("Close it", "account"), ("Close it", "billing"), ("Thanks", "feedback"),
        ],
        columns=["text", "label"],
    )  # fmt: skip
    result = list(filled(answer(table.copy())))
    if "refund please" in [str(text).lower() for text in result]:
        raise Hint("'refund please' is there twice with the same label: count different labels, not rows.")
    if result == ["Close it"] or result == ["close it"]:
        raise Hint("'Where is it?' and 'where is it?' are one text: group by the text in lower case.")
    if len(result) > 2:
        raise Hint(
            f"two texts of the example have two labels, your list has {len(result)} entries: name each text once."
        )
    if result != ["close it", "where is it?"]:
        raise Hint(f"for the example it should return ['close it', 'where is it?'], not {result}.")
    return "two texts of the example have two labels each. Nobody can say which is right, so `clean` drops every copy."


@exercise
def check_count_twins(answer: Callable) -> str:
    """Judge `count_twins(train_texts, test_texts)`: the test texts with a near duplicate in training."""
    train = ["My parcel has not arrived yet", "Hello, my parcel has not arrived yet", "Please close my account"]
    train += ["please close my account!"]
    test = ["Where is the money for my coat?", "my parcel has not arrived yet!!", "where is the money for my coat"]
    result = filled(answer(list(train), list(test)))
    if result == 2:
        raise Hint("one test text has two twins in training, and you count both pairs: count test texts, each once.")
    if result in (4, 5):
        raise Hint("you count twins inside one part too; only a pair with one text on each side is a leak.")
    if result == 0:
        raise Hint(
            "positions in similar_pairs(train_texts + test_texts) go on counting after training: the first test text "
            "has the position len(train_texts)."
        )
    if result != 1:
        raise Hint(f"in the example one test text has a twin in training, your function counts {result}.")
    if answer(list(train), test[:1]) != 0 or answer(test[:1] + test[1:2], test[1:]) != 2:
        raise Hint("it is right for the example, but not for other lists: does it use the two lists that it is given?")
    return "one test text of the example has twins in training. On the splits of `split_examples` the count is 0."


# --- lesson 1: load a pre-trained model -------------------------------------------------------------------------


@exercise
def check_keep_top_p(keep_top_p: Callable) -> str:
    """`keep_top_p(probabilities, p)`: the nucleus of a distribution, scaled to sum to 1."""
    kept = filled(keep_top_p(torch.tensor([0.1, 0.5, 0.15, 0.25]), 0.7))
    if torch.allclose(kept, torch.tensor([0.0, 1.0, 0.0, 0.0])):
        raise Hint(
            "for 0.5, 0.25, 0.15, 0.1 and p = 0.7 you keep only 0.5, which does not reach 0.7: the token that carries "
            "the sum over p belongs to the nucleus."
        )
    if torch.allclose(kept, torch.tensor([2 / 3, 1 / 3, 0.0, 0.0])):
        raise Hint("the numbers are right but in sorted order: put each back in the place of its token (scatter).")
    if torch.allclose(kept, torch.tensor([0.0, 0.5, 0.0, 0.25])):
        raise Hint("you keep the right tokens, but they sum to 0.75: divide by the sum of what is left.")
    if not torch.allclose(kept, torch.tensor([0.0, 2 / 3, 0.0, 1 / 3])):
        raise Hint(
            f"0.1, 0.5, 0.15, 0.25 with p = 0.7 should become 0, 0.67, 0, 0.33, yours is {round_all(kept)}: sort, "
            "sum up from the most probable, keep until the sum reaches p."
        )
    small = keep_top_p(torch.tensor([0.4, 0.6]), 0.3)
    if not torch.allclose(small, torch.tensor([0.0, 1.0])):
        raise Hint(f"with p below the highest probability that one token must stay, yours leaves {round_all(small)}.")
    return "the fewest tokens that reach p stay, in their places, and sum to 1: few if the model is sure, many if not."


@exercise
def check_count_gpt2(count_gpt2: Callable) -> str:
    """`count_gpt2(vocabulary, context, width, layers)`: parameters of a GPT-2 with tied head."""
    vocabulary, context, width, layers = 50257, 1024, 768, 12
    off = filled(count_gpt2(vocabulary, context, width, layers)) - 124_439_808
    mistakes = {
        vocabulary * width: "the head is counted as well: it is the token embedding itself and costs nothing more",
        -context * width: "the position embedding is missing: one row for each place in the context",
        -2 * width: "the final layer norm, after the last block, is missing",
        -layers * 9 * width: "the biases of the blocks' matrices are missing: 3d + d + 4d + d in each block",
        -layers * 4 * width: "the blocks' layer norms are missing: two a block, each with a scale and a shift",
        -layers * 2 * width: "each block has two layer norms, and each has a scale and a shift",
    }
    if off:
        reason = mistakes.get(off, "count one block first: attention, MLP, two layer norms, every matrix with its bias")
        raise Hint(f"for GPT-2 you are {abs(off):,} too {'high' if off > 0 else 'low'}: {reason}.")
    if count_gpt2(8192, 128, 256, 6) != 6_868_992:
        raise Hint("right for GPT-2 itself, but not for gpt2-mini: use the arguments, not GPT-2's numbers.")
    return "124,439,808 for GPT-2 and 6,868,992 for gpt2-mini, which is what their files hold."


def round_all(values: torch.Tensor) -> list[float]:
    """Round a tensor's numbers for a hint."""
    return [round(value, 2) for value in torch.as_tensor(values).flatten().tolist()]


# --- lesson 2: modify the architecture --------------------------------------------------------------------------


@exercise
def check_last_real_positions(last_real_positions: Callable) -> str:
    """`last_real_positions(input_ids, pad_id)`: the rightmost token that is no padding, whichever side is padded."""
    right = filled(last_real_positions(torch.tensor([[5, 6, 1, 1], [7, 8, 9, 4]]), 1)).tolist()
    left = last_real_positions(torch.tensor([[1, 1, 5, 6], [7, 8, 9, 4]]), 1).tolist()
    other_pad = last_real_positions(torch.tensor([[5, 1, 0, 0]]), 0).tolist()
    if right == [3, 3]:
        raise Hint("for a row of two tokens and two pads you answer 3, a pad token: read the last *real* token.")
    if right == [2, 4]:
        raise Hint("you count the real tokens; positions start at 0, so you are one too far to the right.")
    if right == [0, 0]:
        raise Hint("argmax of zeros and ones finds the first real token: multiply by the positions to find the last.")
    if right != [1, 3]:
        raise Hint(f"for rows with 2 and 4 real tokens, padded on the right, positions are 1 and 3, yours {right}.")
    if left == [1, 3]:
        raise Hint("right for right padding; on the left, the number of real tokens says nothing about where they are.")
    if left != [3, 3]:
        raise Hint(f"padded on the left, the last real token is at position 3 in both rows, yours {left}.")
    if other_pad != [1]:
        raise Hint("with another pad id your answer is wrong: compare with `pad_id`, not with a fixed number.")
    return "it finds the last real token on either side. For right padding, counting and subtracting one does as well."


@exercise
def check_train_biases(train_biases: Callable) -> str:
    """`train_biases(model)`: all biases and the head trainable, all else frozen."""
    for start in (True, False):
        model = tiny_classifier().requires_grad_(start)
        result = train_biases(model)
        flags = {name: p.requires_grad for name, p in model.named_parameters()}
        if result is None and all(flag == start for flag in flags.values()):
            raise Blank
        biases = [flag for name, flag in flags.items() if name.endswith(".bias")]
        weights = [flag for name, flag in flags.items() if not name.endswith(".bias") and name != "score.weight"]
        if not start and not any(flags.values()):
            raise Hint(
                "given a model that was frozen before, all stays frozen: set requires_grad to True where it is due."
            )
        if not any(flags.values()):
            raise Hint("nothing is left to train: unfreeze biases and head after freezing the rest.")
        if not any(biases):
            raise Hint("all biases are frozen: they are the parameters whose names end with '.bias'.")
        if not all(biases):
            raise Hint("some biases are still frozen: layer norms and MLPs have biases, too, not attention alone.")
        if any(weights):
            raise Hint("weights are still trainable: freeze every parameter that is neither a bias nor in the head.")
        if not flags["score.weight"]:
            raise Hint("the head is frozen, and it has no bias: a head that cannot learn stays random for ever.")
    if result is None:
        raise Hint("the model is changed as it should be, but your function returns nothing: end it with return model.")
    return "biases and head learn, all else keeps still, whatever was frozen before."


def tiny_classifier() -> torch.nn.Module:
    """Build a GPT-2 classifier of one block and width 8, for checks that must not take time."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    sizes = {"vocab_size": 10, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 1}
    return GPT2ForSequenceClassification(GPT2Config(**sizes, num_labels=2, pad_token_id=0))
