"""Checks of lesson 5: fine-tune."""

import dis
import math

import torch
from torch.nn import functional as F

from course_utils.checks.base import describe, exercise, hint_at_known, numbers, require, round_all, same

# What would do the exercise's work: PyTorch's functions, and its modules of the same names.
READY_MADE = {"cross_entropy", "nll_loss", "log_softmax", "softmax", "softmin", "logsumexp"}
READY_MADE |= {"CrossEntropyLoss", "NLLLoss", "LogSoftmax", "Softmax", "Softmin"}


def is_own_helper(known: object) -> bool:
    """Whether what a name stands for was written by the learner, who may call a helper what PyTorch calls its own."""
    return not str(getattr(known, "__module__", "torch")).startswith("torch")


def ready_made(function: object) -> list[str]:
    """What of PyTorch's own does the work in a function: names behind a dot, and globals that are no own helper."""
    if not is_own_helper(function):
        return [getattr(function, "__name__", type(function).__name__)]
    code, known, names = getattr(function, "__code__", None), getattr(function, "__globals__", {}), []
    for step in dis.get_instructions(code) if code else ():
        own = step.opname == "LOAD_GLOBAL" and is_own_helper(known.get(step.argval))
        named = step.opname in ("LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
        if named and step.argval in READY_MADE and not own:
            names.append(step.argval)
    return list(dict.fromkeys(names))


@exercise("the mean loss, one number", numbers)
def check_cross_entropy(cross_entropy) -> str:
    """`cross_entropy(logits, labels)`: the mean loss, for logits of any size."""
    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1, 1])
    result = cross_entropy(logits.clone(), labels.clone())
    log_shares, own = logits.log_softmax(dim=1), (torch.arange(3), labels)
    rows = -log_shares[own]
    right = rows.mean()
    peaks, shifted = logits.max(dim=1).values, logits - logits.max(dim=1, keepdim=True).values
    flat = logits - peaks  # what comes out where keepdim is forgotten, in one place or two
    aside = "a number of each row is spread over the columns: keepdim=True keeps it beside its row"
    mistakes = [
        (-flat.log_softmax(dim=1)[own].mean(), aside),
        (-(shifted - shifted.exp().sum(dim=1).log())[own].mean(), aside),
        (-(flat - flat.exp().sum(dim=1).log())[own].mean(), aside),
        (rows, "you return one loss for each row: take their mean"),
        (rows.sum(), "you return the sum of the rows' losses: divide by their number, or take the mean"),
        (-right, "the sign is wrong: the loss is *minus* the log of the true class's probability"),
        (right / math.log(2), "your loss is in bits: take the natural logarithm, log, not log2"),
        (-log_shares.mean(), "you average over all classes: pick the true class's entry of each row"),
        (
            -log_shares[:, labels].mean(),
            "every row is read at all labels: index with [torch.arange(len(labels)), labels]",
        ),
        (-logits.log_softmax(dim=0)[own].mean(), "you sum down the columns: classes are dim=1"),
        (-log_shares.exp()[own].mean(), "the logarithm of the probability is missing"),
        (log_shares.exp()[own].mean(), "you return the mean probability: take minus its logarithm"),
        (-logits[own].mean(), "you return logits: subtract the log of each row's summed exponentials"),
    ]
    hint_at_known(result, mistakes, 1e-4)
    require(same(result, right, 1e-4), f"for the example the loss is {right:.3f}, yours is {round_all(result)}.")
    result = cross_entropy(torch.tensor([[1000.0, 0.0], [-1000.0, -999.0]]), torch.tensor([1, 0]))
    finite = math.isfinite(result.sum())
    require(
        finite,
        f"right for small logits; with [1000, 0] and [-1000, -999] it is {result}: shift each row first, and take no "
        "logarithm of a quotient, which may be 0: log(a / b) is log a - log b.",
    )
    large = same(result, 500.65663, 1e-3)
    require(
        large,
        "right for small logits, not for large ones: [1000, 0] with label 1 costs 1000. A clamp, or a small number "
        "added inside the logarithm, caps that: leave it out, and write log(a / b) as log a - log b.",
    )
    made = ready_made(cross_entropy.function)
    require(not made, f"the number is right, but made by {', '.join(made)}: use exp, sum and log only.")
    return "right at any size. This is what F.cross_entropy does, and why it wants logits and not probabilities."


START = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
BATCHES = [(torch.tensor([[1.0, 2.0]]), torch.tensor([0])), (torch.tensor([[2.0, 1.0]]), torch.tensor([1]))]


def train_by_rule(first: float = 0.5, second: float = 0.5, kept: float = 0.0) -> tuple[torch.Tensor, list[float]]:
    """Weights and losses of two steps, one for each of BATCHES; `kept`: the share of the gradient not zeroed."""
    weight, gradient, losses = START.clone(), torch.zeros(2, 2), []
    for (x, y), rate in zip(BATCHES, (first, second), strict=True):
        logits = x @ weight.T
        losses.append(F.cross_entropy(logits, y).item())
        gradient = kept * gradient + (logits.softmax(dim=1) - F.one_hot(y, 2)).T @ x
        weight = weight - rate * gradient
    return weight, losses


@exercise("a list with the loss of each batch", lambda losses: losses)
def check_train_on(train_on) -> str:
    """`train_on(model, batches, optimizer)`: one step for each batch, with fresh gradients."""
    model = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(START)
    losses = train_on(model, list(BATCHES), torch.optim.SGD(model.parameters(), lr=0.5))
    weight, (right, right_losses) = model.weight.detach(), train_by_rule()
    require(
        isinstance(losses, list | tuple), f"it should return a list with a loss for each batch, not {describe(losses)}."
    )
    require(len(losses) == 2, f"for 2 batches it should return 2 losses, yours returns {len(losses)}.")
    moved = not same(weight, START)
    require(moved, "the weights have not moved: call backward(), then optimizer.step(), and zero_grad() only after it.")
    mistakes = [
        (train_by_rule(kept=1)[0], "the first batch's gradient is in the second step: call zero_grad() in every turn"),
        (train_by_rule(0, 0.5, kept=1)[0], "the optimizer steps once, at the end: one step a batch, inside the loop"),
        (train_by_rule(0.5, 0)[0], "only the first batch has moved the weights: backward() first, then step()"),
        (train_by_rule(0, 0.5)[0], "only the last batch has moved the weights: step() belongs inside the loop"),
    ]
    hint_at_known(weight, mistakes, 1e-6)
    kept = any(isinstance(loss, torch.Tensor) for loss in losses)
    require(not kept, "you keep tensors (which hold the memory of a forward pass, unless detached): store loss.item().")
    plain = same(weight, right, 1e-6)
    require(plain, "the weights are not those of one plain step a batch: forward, backward, step, zero_grad.")
    told = f"the weights are right; the losses before each step are {round_all(right_losses)}"
    require(same(losses, right_losses), f"{told}, yours {round_all(losses)}.")
    return "one step a batch with fresh gradients. Everything else in a training loop is built around these lines."


@exercise("a pair of numbers, the best epoch and the last epoch trained", numbers)
def check_stop_early(stop_early) -> str:
    """`stop_early(scores, patience)`: (best epoch, last epoch trained), both from 1."""

    def stop(scores: list[float], patience: int) -> tuple[float, ...]:
        return tuple(stop_early(list(scores), patience).flatten().tolist())

    def shown(result: tuple[float, ...]) -> str:
        return f"({', '.join(f'{value:g}' for value in result)})"

    dips = [0.30, 0.50, 0.45, 0.48, 0.47, 0.60]
    result = stop(dips, 2)
    require(len(result) == 2, stop_early.complaint())
    falling = stop([0.5, 0.4, 0.3, 0.2, 0.6], 2)
    neighbours, lower = (result, falling) == ((6, 6), (1, 3)), (result, falling) == ((1, 3), (4, 5))
    require(not neighbours, "0.48 is better than the epoch before, but no new best: compare with the best so far.")
    require(not lower, "you take the lowest score for the best: a higher score is better.")
    mistakes = {
        (
            6,
            6,
        ): "you use all epochs, whatever the patience: here two in a row bring no new best by epoch 4, the last one",
        (6, 4): "training ends after epoch 4, so epoch 6 is never seen: take the best of the epochs trained",
        (2, 6): "the best epoch is right, but training ends where patience runs out, here after epoch 4",
        (1, 3): "epochs count from 1, and you count from 0",
        (1, 4): "the last epoch is right, but the best counts from 0: epochs count from 1",
        (2, 3): "patience is 2, and one epoch without a new best ends your training",
        (2, 5): "the second epoch in a row without a new best is the last; yours goes on for one more",
        (4, 2): "the other way round: the best epoch comes first in the pair",
        (4, 4): "the best epoch is the one with the best score, number 2, and not the last one trained",
        (0.5, 4): "you return the best score: return the number of its epoch",
    }
    hint_at_known(result, mistakes)
    require(result == (2, 4), f"for {dips} and patience 2 it should return (2, 4), not {shown(result)}.")
    ties = stop([0.5, 0.5, 0.5, 0.5], 2)
    require(ties != (1, 2), "the first epoch is a best, not one without: let the count of those begin after it.")
    require(
        ties == (1, 3),
        f"four equal scores and patience 2 give (1, 3): an equal score is no best; yours: {shown(ties)}.",
    )
    to_the_end = stop([0.1, 0.2, 0.3], 1) == (3, 3) and stop([0.3, 0.2], 5) == (1, 2)
    require(to_the_end, "right when training stops early; when the scores run out, the last of them is the last epoch.")
    below_zero = stop([-0.5, -0.4, -0.3], 2) == (3, 3)
    require(below_zero, "scores may be below 0, as minus a loss is: begin with the first score, not with 0.")
    in_a_row = stop([0.3, 0.2, 0.4, 0.35, 0.5, 0.6], 2) == (6, 6)
    require(in_a_row, "patience counts epochs in a row: each new best starts the count anew.")
    return "early stopping keeps the best epoch and pays for it with `patience` epochs that it could have saved."
