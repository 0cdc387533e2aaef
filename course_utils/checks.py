"""The checks under the exercises: each says "not yet" to a blank stub, gives a hint about a known mistake, or says
why an answer is right.

A check is a judge with `@exercise` on top. A judge takes the learner's answer and returns what a right answer
shows; for a wrong one it raises `Hint` with a sentence about that very mistake.
"""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F


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


# --- lesson 4: the training pipeline ----------------------------------------------------------------------------


@exercise
def check_cosine_factor(answer: Callable) -> str:
    """Judge `cosine_factor(step, steps, warmup)`: warm-up, then half a cosine wave down to zero."""
    factors = [float(filled(answer(step, 100, 10))) for step in range(101)]
    if min(factors) < -1e-6:
        raise Hint("the factor becomes negative: a cosine runs from 1 to -1, so add 1 and halve.")
    if max(factors) > 1.5:
        raise Hint("the factor reaches 2: 1 + cos runs from 2 to 0, so halve it.")
    if abs(factors[0]) > 1e-6:
        raise Hint("at step 0 the factor should be 0: during warm-up it is step / warmup.")
    if abs(factors[10] - 1) > 1e-6:
        raise Hint("right after the warm-up the factor should be 1: let progress start there, not at step 0.")
    if abs(factors[100]) > 1e-6:
        raise Hint("when step equals steps, the factor should be 0: progress is (step - warmup) / (steps - warmup).")
    right = [s / 10 if s < 10 else (1 + math.cos(math.pi * (s - 10) / 90)) / 2 for s in range(101)]
    wrong = [s for s in range(101) if abs(factors[s] - right[s]) > 1e-6]
    if wrong:
        raise Hint(f"of 100 steps with 10 of warm-up, step {wrong[0]} should have {right[wrong[0]]:.3f}.")
    return "0 at the start, 1 after the warm-up, a half in the middle of what follows, 0 at the end."


class BagOfTokens(nn.Module):
    """A tiny classifier that is called like the real one, for the checks."""

    def __init__(self, tokens: int = 20, classes: int = 3):
        super().__init__()
        self.score = nn.EmbeddingBag(tokens, classes)

    def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
        """Score texts of equal length, shape (batch, length): an object with `logits`, shape (batch, classes)."""
        return SimpleNamespace(logits=self.score(input_ids))


@exercise
def check_accumulate(answer: Callable) -> str:
    """Judge `accumulate(model, batches)`: the gradient of the mean loss over all rows."""
    numbers = torch.Generator().manual_seed(0)
    model, sizes = BagOfTokens(), (6, 2, 1)
    batches = [
        {
            "input_ids": torch.randint(20, (n, 5), generator=numbers),
            "labels": torch.randint(3, (n,), generator=numbers),
        }
        for n in sizes
    ]

    def gradient(factors: Sequence[float]) -> torch.Tensor:
        losses = [F.cross_entropy(model(b["input_ids"]).logits, b["labels"]) for b in batches]
        return torch.autograd.grad(sum(f * x for f, x in zip(factors, losses, strict=True)), model.score.weight)[0]

    model.zero_grad()
    answer(model, list(batches))
    result = model.score.weight.grad
    if result is None:
        raise Blank
    known = {
        (1, 1, 1): "the losses are not scaled: a sum of means is not the mean over all rows.",
        (
            1 / 3,
            1 / 3,
            1 / 3,
        ): "each batch counts the same, however many rows it has: weigh it by its share of the rows.",
        (6, 2, 1): "this is the gradient of the sum over all rows: divide by their number.",
        (0, 0, 1 / 9): "only the last batch is left in the gradient: do not reset it in between.",
        (0, 0, 1): "only the last batch is left in the gradient: do not reset it in between.",
    }
    for factors, hint in known.items():
        if torch.allclose(result, gradient(factors), atol=1e-6):
            raise Hint(hint)
    if not torch.allclose(result, gradient([n / 9 for n in sizes]), atol=1e-6):
        raise Hint("the gradient differs from that of one batch with all nine rows of the example.")
    return "batches of 6, 2 and 1 rows give the gradient of one batch of 9."


@exercise
def check_training_megabytes(answer: Callable) -> str:
    """Judge `training_megabytes(model)`: four numbers for a trainable parameter, one for a frozen one."""
    model = nn.Sequential(nn.Linear(999, 300), nn.Linear(999, 200))  # 300,000 and 200,000 parameters
    model[0].requires_grad_(False)
    result = float(filled(answer(model)))
    known = {
        8.0: "frozen parameters have neither gradient nor moments: they are held once, not four times.",
        3.2: "frozen parameters are held too: count each of them once.",
        2.0: "you count the parameters alone: trainable ones have a gradient and two moments besides.",
        2.8: "you count parameters and gradients; AdamW keeps two moments besides.",
        3.6: "AdamW keeps two moments for each trainable parameter, not one.",
        1.1: "these are millions of numbers: each takes p.element_size() bytes.",
    }
    for wrong, hint in known.items():
        if math.isclose(result, wrong, rel_tol=1e-6):
            raise Hint(hint)
    if math.isclose(result * 2**20, 4.4e6, rel_tol=1e-6):
        raise Hint("you divide by 2 to the 20th; here a MB is a million bytes.")
    if not math.isclose(result, 4.4, rel_tol=1e-6):
        raise Hint(f"300,000 frozen and 200,000 trainable fp32 parameters take 4.4 MB, your function says {result:g}.")
    return "300,000 frozen and 200,000 trainable parameters take 4.4 MB; all trainable, they would take 8."


# --- lesson 5: fine-tune ----------------------------------------------------------------------------------------


@exercise
def check_cross_entropy(cross_entropy: Callable) -> str:
    """`cross_entropy(logits, labels)`: the mean loss, for logits of any size."""
    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1, 1])
    result = torch.as_tensor(filled(cross_entropy(logits.clone(), labels)), dtype=torch.float32)
    right = torch.nn.functional.cross_entropy(logits, labels)
    rows = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    mistakes = [
        (rows, "you return one loss for each row: take their mean"),
        (rows.sum(), "you return the sum of the rows' losses: divide by their number, or take the mean"),
        (-right, "the sign is wrong: the loss is *minus* the log of the true class's probability"),
        (right / torch.tensor(2.0).log(), "your loss is in bits: take the natural logarithm, log, not log2"),
        (-logits.log_softmax(dim=1).mean(), "you average over all classes: pick the true class's entry of each row"),
        (-logits.log_softmax(dim=0)[torch.arange(3), labels].mean(), "you sum down the columns: classes are dim=1"),
    ]
    for wrong, reason in mistakes:
        if result.shape == wrong.shape and torch.allclose(result, wrong, atol=1e-4):
            raise Hint(f"{reason}.")
    if result.shape != () or not torch.allclose(result, right, atol=1e-4):
        raise Hint(f"for the example the loss is {right.item():.3f}, yours is {round_all(result)}.")
    large = torch.tensor([[1000.0, 999.0], [-1000.0, -999.0]])
    result = torch.as_tensor(cross_entropy(large, torch.tensor([0, 0])))
    if not result.isfinite():
        raise Hint(
            f"right for small logits; for [1000, 999] and [-1000, -999] it is {result.item()}: shift each row first."
        )
    if not torch.allclose(result, torch.tensor(0.813262), atol=1e-3):
        raise Hint(
            "right for small logits, not for large ones: subtract the largest of *each row*, not of the whole batch."
        )
    return "right at any size. This is what F.cross_entropy does, and why it wants logits and not probabilities."


@exercise
def check_train_on(train_on: Callable) -> str:
    """`train_on(model, batches, optimizer)`: one step for each batch, with fresh gradients."""
    model = torch.nn.Linear(2, 2, bias=False)
    start = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    batches = [(torch.tensor([[1.0, 2.0]]), torch.tensor([0])), (torch.tensor([[2.0, 1.0]]), torch.tensor([1]))]

    def train(count, kept=0.0):
        """Weights and losses after `count` batches by the rule; `kept` is the share of old gradient not zeroed."""
        weight, gradient, losses = start.clone(), torch.zeros(2, 2), []
        for x, y in batches[:count]:
            logits = x @ weight.T
            losses.append(torch.nn.functional.cross_entropy(logits, y).item())
            truth = torch.nn.functional.one_hot(y, 2)
            gradient = kept * gradient + (logits.softmax(dim=1) - truth).T @ x
            weight = weight - 0.5 * gradient
        return weight, losses

    with torch.no_grad():
        model.weight.copy_(start)
    losses = filled(train_on(model, batches, torch.optim.SGD(model.parameters(), lr=0.5)))
    weight = model.weight.detach()
    if len(losses) != len(batches):
        raise Hint(f"for {len(batches)} batches it should return {len(batches)} losses, yours returns {len(losses)}.")
    if torch.equal(weight, start):
        raise Hint(
            "the weights have not moved: call optimizer.step() after backward(), and zero_grad() only after step()."
        )
    if torch.allclose(weight, train(2, kept=1.0)[0]):
        raise Hint("the second step uses the first batch's gradient as well: call optimizer.zero_grad() in every turn.")
    if torch.allclose(weight, train(1)[0]):
        raise Hint("only the first batch has moved the weights: one step belongs to each batch, inside the loop.")
    if any(isinstance(loss, torch.Tensor) for loss in losses):
        raise Hint("you keep the loss tensors, and with them the memory of every forward pass: store loss.item().")
    expected, expected_losses = train(2)
    if not torch.allclose(weight, expected, atol=1e-6) or abs(sum(losses) - sum(expected_losses)) > 1e-5:
        raise Hint("weights or losses are not those of one plain step a batch: forward, backward, step, zero_grad.")
    return "one step a batch with fresh gradients. Everything else in a training loop is built around these lines."


@exercise
def check_stop_early(stop_early: Callable) -> str:
    """`stop_early(scores, patience)`: (best epoch, last epoch trained), both from 1."""
    dips = [0.30, 0.50, 0.45, 0.48, 0.47, 0.60]
    result = tuple(filled(stop_early(list(dips), 2)))
    if result == (1, 3):
        raise Hint("epochs count from 1, and you count from 0.")
    if result == (6, 6):
        raise Hint("0.48 is better than the epoch before, but no new best: compare with the best so far.")
    if result == (2, 5):
        raise Hint(
            "with patience 2, the second epoch in a row without a new best is the last; yours goes on for one more."
        )
    if result == (2, 6) or result == (4, 4):
        raise Hint(f"for {dips} and patience 2 the best epoch is 2, and training ends with epoch 4, not {result}.")
    if result != (2, 4):
        raise Hint(f"for {dips} and patience 2 it should return (2, 4), not {result}.")
    ties = tuple(stop_early([0.5, 0.5, 0.5, 0.5], 2))
    if ties != (1, 3):
        raise Hint(f"four equal scores and patience 2 give (1, 3), since an equal score is no new best; yours: {ties}.")
    if tuple(stop_early([0.3, 0.2, 0.4, 0.35, 0.5, 0.6], 2))[1] == 4:
        raise Hint("patience counts epochs in a row: each new best starts the count anew.")
    rising, long = tuple(stop_early([0.1, 0.2, 0.3], 1)), tuple(stop_early([0.3, 0.2], 5))
    if rising != (3, 3) or long != (1, 2):
        raise Hint(
            "right when training stops early, but not when the scores run out first: the last epoch is then the last."
        )
    return "early stopping keeps the best epoch and pays for it with `patience` epochs that it could have saved."


# --- lesson 6: evaluate -----------------------------------------------------------------------------------------


@exercise
def check_precision_recall(precision_recall: Callable) -> str:
    """`precision_recall(matrix)`: two arrays from a confusion matrix with true classes in rows."""
    matrix = np.array([[8, 2, 0], [1, 3, 0], [0, 4, 0]])
    with np.errstate(all="ignore"):  # a division by zero shows in the numbers
        precision, recall = filled(precision_recall(matrix.copy()))
    precision, recall = np.asarray(precision, dtype=float), np.asarray(recall, dtype=float)
    if precision.shape != (3,) or recall.shape != (3,):
        raise Hint(
            f"three classes, so two arrays of three numbers; yours have the shapes {precision.shape}, {recall.shape}."
        )
    if np.allclose(precision[:2], [0.8, 0.75]) and np.allclose(recall[:2], [8 / 9, 3 / 9]):
        raise Hint("they are swapped: precision divides by what was *predicted* as the class, the sum of its column.")
    if np.allclose(precision[:2], [8 / 18, 3 / 18]):
        raise Hint(
            "you divide by the number of all tickets: precision divides by the class's column, recall by its row."
        )
    if not (np.allclose(precision[:2], [8 / 9, 3 / 9]) and np.allclose(recall, [0.8, 0.75, 0])):
        raise Hint("for [[8, 2, 0], [1, 3, 0], [0, 4, 0]] the first class has precision 8/9 and recall 8/10.")
    if np.isnan(precision).any():
        raise Hint("the third class is never predicted, and 0 / 0 is not a number: let its precision be 0.")
    with np.errstate(all="ignore"):
        unseen = np.asarray(precision_recall(np.array([[5, 1], [0, 0]]))[1], dtype=float)
    if precision[2] != 0 or not np.allclose(unseen, [5 / 6, 0]):
        raise Hint("where nothing was predicted the precision is 0, where nothing occurs the recall is 0.")
    return "precision reads columns, recall reads rows, and a class that is never predicted gets 0."


@exercise
def check_accuracy_on_surest(accuracy_on_surest: Callable) -> str:
    """`accuracy_on_surest(probabilities, true, share)`: accuracy where the model is most confident."""
    sure = np.array([0.75, 0.97, 0.6, 0.9, 0.66, 0.93, 0.55, 0.86, 0.82, 0.7])
    right = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1, 0], dtype=bool)
    predicted = np.arange(10) % 2
    probabilities = np.where(np.arange(2) == predicted[:, None], sure[:, None], 1 - sure[:, None])
    true = np.where(right, predicted, 1 - predicted)
    result = float(filled(accuracy_on_surest(probabilities.copy(), true.copy(), 0.5)))
    mistakes = {
        0.2: "you take the least sure half: sort so that the highest confidence comes first",
        0.4: "you count the right ones among the surest half but divide by all tickets: divide by those that were kept",
        0.5: "that is the accuracy on all tickets: keep only the surest half",
        0.6: "that is the first half as it stands in the list: sort by confidence first",
        1.0: "you sort by the probability of the *true* class, which nobody knows in use: take the row's maximum",
    }
    for value, reason in mistakes.items():
        if np.isclose(result, value):
            raise Hint(f"{reason}.")
    if not np.isclose(result, 0.8):
        raise Hint(f"in the example, 4 of the 5 surest answers are right, 0.8; yours is {result:.2f}.")
    shares = [float(accuracy_on_surest(probabilities, true, share)) for share in (0.1, 0.2, 1)]
    if not np.allclose(shares, [1, 0.5, 0.5]):
        raise Hint("right for one half, not for other shares: keep round(share * n) of the tickets.")
    return "the surest half is right more often than the whole, which is what makes abstaining worth while."


@exercise
def check_tickets_needed(tickets_needed: Callable) -> str:
    """`tickets_needed(accuracy, half_width)`: test tickets for a 95 % interval of a given half-width."""
    result = filled(tickets_needed(0.8, 0.03))
    if result != int(result):
        raise Hint(f"{result:.1f} tickets cannot be had: round up to a whole number.")
    mistakes = {
        682: "682 are just too few: round up, not down",
        178: "the 1.96 is missing: without it you get a 68 % interval",
        27: "solve for n: the square root hides it, so square both sides",
        26: "solve for n: the square root hides it, so square both sides",
        171: "that is the number for plus or minus 0.06: half_width is already the half",
        2732: "that is the number for plus or minus 0.015: half_width is already the half",
        712: "you round 1.96 to 2, which costs 29 tickets of work",
        349: "1.96 has to be squared as well",
    }
    if result in mistakes:
        raise Hint(f"{mistakes[result]}.")
    if result != 683:
        raise Hint(f"for an accuracy of 0.8 within 0.03 it takes 683 tickets, yours says {result}.")
    if tickets_needed(0.5, 0.05) != 385:
        raise Hint("right for 0.8 within 0.03, but not for 0.5 within 0.05 (385): use both arguments.")
    return "683 tickets for 3 points either way. One point either way takes some 6,000."


# --- lesson 7: the learning-rate lab ----------------------------------------------------------------------------


@exercise
def check_diverged_since(diverged_since: Callable) -> str:
    """`diverged_since(losses, window)`: the first step whose running mean is above 1.5 times the first one, or 0."""
    losses = [2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0, 3.9, 1.9, 1.5, 6.0, 8.0]
    result = filled(diverged_since(list(losses), 2))
    mistakes = {
        8: "one wild batch is noise: compare running means, not single losses",
        10: "you count steps from 0: the first step is number 1, and a running mean belongs to its last step",
        9: "you give the place in the list of means: the first mean of two belongs to step 2",
        6: "you compare with the lowest mean so far: compare with the first one",
    }
    if result in mistakes:
        raise Hint(f"{mistakes[result]}.")
    if result != 11:
        raise Hint(f"for {losses} and a window of 2 the mean first exceeds 3.0 at step 11, not at {result}.")
    if diverged_since([2.0, 2.0, 3.0, 3.0], 2) != 0:
        raise Hint("a mean of exactly 1.5 times the first one is not above it: such a run gives 0.")
    if diverged_since([2.0, 1.5, 1.0], 2) != 0:
        raise Hint("a run that never diverges gives 0.")
    if diverged_since([1.0, 1.0, 1.0, 2.0, 1.2, 2.2], 3) != 6:
        raise Hint("right for a window of 2, not for one of 3: use the window that is given.")
    return "the mean waits for proof. A smaller window would be quicker, and cry wolf more often."


@exercise
def check_sweep(sweep: Callable) -> str:
    """`sweep(low, high, steps)`: rates from low to high, each the same factor above the one before."""
    rates = np.asarray(filled(sweep(1e-4, 1.0, 5)), dtype=float)
    if rates.shape != (5,):
        raise Hint(f"5 steps are 5 rates, yours has the shape {rates.shape}.")
    if np.allclose(rates, np.linspace(1e-4, 1.0, 5)):
        raise Hint("you add the same amount each time, so four of five rates lie above 0.2: multiply by a factor.")
    if not np.isclose(rates[-1], 1.0):
        raise Hint(f"the last rate should be 1.0, yours is {rates[-1]:.3g}: from 5 rates there are only 4 steps up.")
    if not np.isclose(rates[0], 1e-4):
        raise Hint(f"the first rate should be 0.0001, yours is {rates[0]:.3g}.")
    if not np.allclose(rates, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]):
        raise Hint("each rate should be ten times the one before: 0.0001, 0.001, 0.01, 0.1, 1.")
    if not np.allclose(sweep(1e-2, 4e-2, 3), [1e-2, 2e-2, 4e-2]):
        raise Hint("right from 0.0001 to 1, not from 0.01 to 0.04 in 3 steps (0.01, 0.02, 0.04): use all arguments.")
    return "equal factors give every power of ten the same number of steps."


# --- lesson 8: the regularization lab ---------------------------------------------------------------------------


@exercise
def check_steps_used(steps_used: Callable) -> str:
    """`steps_used(losses, patience, every)`: steps after which early stopping ends a run."""
    losses = [2.0, 1.5, 1.6, 1.4, 1.45, 1.4, 1.5, 1.5, 1.2]
    result = filled(steps_used(list(losses), 2, 10))
    mistakes = {
        6: "you count validations: each of them stands for `every` steps",
        40: "you return the step of the best validation; the run goes on until patience has run out",
        50: "you count validations from 0: after the sixth, 60 steps are done",
        70: "with patience 2, the second validation in a row without a new best is the last; yours waits for a third",
        80: "1.4 again is no new best: only a strictly lower loss starts the count anew",
        30: "with patience 2, one worse validation does not end the run",
    }
    if result in mistakes:
        raise Hint(f"{mistakes[result]}.")
    if result != 60:
        raise Hint(f"for {losses}, patience 2 and a validation every 10 steps it is 60, not {result}.")
    if steps_used([3.0, 2.0, 1.0], 2, 10) != 30:
        raise Hint("a run that never loses patience uses all of its steps.")
    if steps_used([2.0, 2.1, 1.9, 2.0, 1.8, 1.9, 2.0], 2, 5) != 35:
        raise Hint("patience counts validations in a row: each new best starts the count anew.")
    return "what early stopping saves is the rest of the run; what it risks is a best that would have come later."


@exercise
def check_smooth_targets(smooth_targets: Callable) -> str:
    """`smooth_targets(labels, classes, e)`: target probabilities of label smoothing, shape (rows, classes)."""
    labels = torch.tensor([2, 0])
    result = torch.as_tensor(filled(smooth_targets(labels.clone(), 4, 0.2)), dtype=torch.float)
    if result.shape != (2, 4):
        raise Hint(f"two labels and four classes make the shape (2, 4), yours is {tuple(result.shape)}.")
    if torch.allclose(result[0], torch.tensor([0.0, 0.0, 0.8, 0.0])):
        raise Hint("you took 0.2 from the true class and gave it to nobody: spread it over the classes.")
    if torch.allclose(result[0], torch.tensor([0.2 / 3, 0.2 / 3, 0.8, 0.2 / 3])):
        raise Hint(
            "you spread e over the *other* classes; by the usual definition the true class gets its part as well."
        )
    if torch.allclose(result[0], torch.tensor([0.05, 0.05, 1.05, 0.05])):
        raise Hint("the row sums to 1.2: what is spread must first be taken from the true class.")
    expected = torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]])
    if not torch.allclose(result, expected):
        raise Hint("for label 2 of 4 classes and e = 0.2 the row is 0.05, 0.05, 0.85, 0.05.")
    if not torch.allclose(torch.as_tensor(smooth_targets(labels, 8, 0.1)).float().sum(dim=1), torch.ones(2)):
        raise Hint("right for four classes and e = 0.2, but with eight and 0.1 the rows do not sum to 1.")
    return "every class keeps a little, so no logit has to run away to infinity."


# --- lesson 9: the transfer lab ---------------------------------------------------------------------------------


@exercise
def check_labels_needed(labels_needed: Callable) -> str:
    """`labels_needed(sizes, scores, goal)`: labels to reach a score, interpolated on a log axis."""
    sizes, scores = [8, 16, 64], [0.2, 0.4, 0.6]
    result = float(filled(labels_needed(list(sizes), list(scores), 0.5)))
    if np.isclose(result, 40):
        raise Hint("40 is half-way between 16 and 64 on a plain axis; on a logarithmic one it is 32.")
    if result == 64:
        raise Hint("64 is the first size that is enough, but the curve crosses 0.5 before: interpolate.")
    if np.isclose(result, 5) or np.isclose(result, np.log(32)):
        raise Hint("that is the logarithm of the answer: take the power again.")
    if not np.isclose(result, 32):
        raise Hint(f"for sizes {sizes} and scores {scores} the goal 0.5 takes 32 labels, not {result:g}.")
    if not np.isclose(labels_needed(sizes, scores, 0.1), 8):
        raise Hint("a goal of 0.1 is reached with the first size already: return 8.")
    if labels_needed(sizes, scores, 0.7) != float("inf"):
        raise Hint("a goal of 0.7 is never reached: return infinity, not the last size.")
    if not np.isclose(labels_needed([8, 16, 32, 64], [0.2, 0.4, 0.3, 0.6], 0.4), 16):
        raise Hint("where a curve reaches the goal twice, the first place counts.")
    return "a number of labels is a cost, and with it two methods can be compared in the currency that matters."


@exercise
def check_layer_rates(layer_rates: Callable) -> str:
    """`layer_rates(rate, blocks, decay)`: rates of embeddings, blocks from the lowest, and head."""
    result = np.asarray(filled(layer_rates(1.0, 3, 0.5)), dtype=float)
    if result.shape != (5,):
        raise Hint(f"three blocks, the embeddings and the head make five rates, not {result.size}.")
    if np.allclose(result, [1, 0.5, 0.25, 0.125, 0.0625]):
        raise Hint("the other way round: the embeddings come first in the list and have the lowest rate.")
    if np.allclose(result, [0.03125, 0.0625, 0.125, 0.25, 0.5]):
        raise Hint("the head has the full rate; the decay begins with the block below it.")
    if np.allclose(result, [0.125, 0.125, 0.25, 0.5, 1]):
        raise Hint("the embeddings lie below the lowest block: one factor more for them.")
    if not np.allclose(result, [0.0625, 0.125, 0.25, 0.5, 1]):
        raise Hint("for rate 1, three blocks and decay 0.5 the rates are 0.0625, 0.125, 0.25, 0.5, 1.")
    if not np.allclose(layer_rates(0.01, 1, 1.0), [0.01, 0.01, 0.01]):
        raise Hint("with a decay of 1 every layer has the full rate: use `rate` and `decay` as they are given.")
    return "general knowledge below changes slowly, the task's own above changes fast."
