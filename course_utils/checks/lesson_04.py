"""Checks of lesson 4: the training pipeline."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.checks.base import exercise, hint_at_known, number, require, same


@exercise("one number, the factor at that step", number)
def check_cosine_factor(cosine_factor) -> str:
    """`cosine_factor(step, steps, warmup)`: warm-up, then half a cosine wave down to zero."""
    factors = np.array([cosine_factor(step, 100, 10) for step in range(101)])
    up, progress = np.arange(10) / 10, np.linspace(0, 1, 91)
    wave = np.cos(np.pi * progress)
    mistakes = [
        (wave, "the factor becomes negative: a cosine runs from 1 to -1, so add 1 and halve"),
        (1 + wave, "the factor reaches 2: 1 + cos runs from 2 to 0, so halve it"),
        (1 + wave / 2, "the factor reaches 1.5: only the cosine is halved, so put 1 + cos in brackets"),
        ((1 + np.cos(progress)) / 2, "the factor ends at 0.77: pi is missing, half a wave runs from 0 to pi"),
        ((1 - wave) / 2, "the factor rises after the warm-up: it is 1 *plus* the cosine, halved"),
        (1 - progress, "after the warm-up this is a straight line, the linear schedule: take the cosine of progress"),
        (np.cos(np.pi * progress / 2), "that is a quarter of a wave: take the cosine of pi times progress"),
        (1 - (progress == 1), "progress is 0 until it jumps to 1: divide with /, for // throws the fraction away"),
    ]
    hint_at_known(factors[10:], mistakes)
    require(same(factors[0], 0), "at step 0 the factor should be 0: during warm-up it is step / warmup.")
    require(same(factors[:10], up), "during warm-up the factor is step / warmup, here 0, 0.1, 0.2 and so on.")
    require(same(factors[10], 1), "right after the warm-up the factor should be 1: let progress start there, not at 0.")
    require(same(factors[100], 0), "at the end the factor should be 0: progress is (step - warmup) / (steps - warmup).")
    right = [*up, *(1 + wave) / 2]
    wrong = next((step for step in range(101) if not same(factors[step], right[step])), 0)
    told = f"step {wrong} should have {right[wrong]:.5f}, yours has {factors[wrong]:.5f}"
    require(wrong == 0, f"of 100 steps with 10 of warm-up, {told}.")
    require(same(cosine_factor(4, 8, 2), 0.75), "right for 100 steps, not for 8 with 2 of warm-up: use the arguments.")
    return "0 at the start, 1 after the warm-up, a half in the middle of what follows, 0 at the end."


class BagOfTokens(nn.Module):
    """A tiny classifier that is called like the real one, and notes its passes, forward and backward."""

    def __init__(self, tokens: int = 20, classes: int = 3):
        super().__init__()
        self.score, self.passes = nn.EmbeddingBag(tokens, classes), []

    def forward(self, input_ids: torch.Tensor, attention_mask=None, labels=None) -> SimpleNamespace:
        """Score texts of equal length, shape (batch, length): an object with `logits` and, given labels, `loss`."""
        logits = self.score(input_ids)
        self.passes.append(f"forward {len(input_ids)}")
        if logits.requires_grad:
            logits.register_hook(lambda _: self.passes.append("backward"))
        return SimpleNamespace(logits=logits, loss=None if labels is None else F.cross_entropy(logits, labels))


@exercise("nothing, it changes the model", None)
def check_accumulate(accumulate) -> str:
    """`accumulate(model, batches)`: the gradient of the mean loss over all rows."""
    drawn = torch.Generator().manual_seed(0)
    model, sizes = BagOfTokens(), (6, 2, 1)
    ids = [torch.randint(20, (n, 5), generator=drawn) for n in sizes]
    labels = [torch.randint(3, (n,), generator=drawn) for n in sizes]
    losses = [F.cross_entropy(model(x).logits, y) for x, y in zip(ids, labels, strict=True)]
    gradients = torch.stack([torch.autograd.grad(loss, model.score.weight)[0] for loss in losses])

    def weighted(*factors: float) -> torch.Tensor:
        return torch.tensordot(torch.tensor(factors, dtype=torch.float), gradients, 1)

    before = torch.ones_like(gradients[0])  # a gradient that was there already, and has to stay
    model.score.weight.grad = before.clone()
    model.passes.clear()
    accumulate(model, [{"input_ids": x, "labels": y} for x, y in zip(ids, labels, strict=True)])
    result, passes = model.score.weight.grad, model.passes
    require(bool(passes), "the model is never called: give it each batch's input_ids.")
    require("backward" in passes, "no gradient was computed: call backward() on the loss of each batch.")
    require(result is not None, "the gradient is gone in the end: do not reset it inside the function.")
    outside = passes == ["forward 6", "forward 2", "forward 1", "backward"]
    require(not outside, "only the last batch goes backward: call backward() for each batch, inside the loop.")
    shared = same(result, (before + weighted(6, 2, 1)) / 9, 1e-6)
    require(not shared, "right from a gradient of 0, but you divide what was in .grad before, too: scale each loss.")
    mistakes = [
        (weighted(1, 1, 1), "the losses are not scaled: a sum of means is not the mean over all rows"),
        (
            weighted(1 / 3, 1 / 3, 1 / 3),
            "each batch counts the same, whatever its size: weigh it by its share of the rows",
        ),
        (
            weighted(1 / 9, 1 / 9, 1 / 9),
            "each mean is divided by all rows: multiply it by its own number of rows first",
        ),
        (weighted(1 / 6, 1 / 2, 1), "each mean is divided by its rows once more: weigh it by its share of all rows"),
        (weighted(6, 2, 1), "this is the gradient of the sum over all rows: divide by their number"),
        (weighted(2, 2 / 3, 1 / 3), "you divide by the number of batches: divide by the number of all rows"),
        (weighted(0, 0, 1 / 9), "only the last batch is left in the gradient: do not reset it in between"),
        (weighted(0, 0, 1), "only the last batch is left in the gradient: do not reset it in between"),
    ]
    for added in (result - before, result):  # the second where the function has reset the gradient besides
        hint_at_known(added, mistakes, 1e-6)
    right = weighted(6 / 9, 2 / 9, 1 / 9)
    reset, equal = same(result, right, 1e-6), same(result - before, right, 1e-6)
    require(not reset, "right, but what was in .grad before is gone: whoever calls your function resets it, not you.")
    require(equal, "the gradient differs from that of one batch with all nine rows of the example.")
    require(
        "forward 9" not in passes, "right, but all rows are in memory at once: call backward() for each batch alone."
    )
    require(
        passes[1] == "backward", "right, but all graphs are kept to the end: call backward() before the next batch."
    )
    model.zero_grad()
    ids = [torch.randint(20, shape, generator=drawn) for shape in ((2, 8), (1, 2))]
    labels = [torch.tensor([0, 1]), torch.tensor([2])]
    two, one = (
        torch.autograd.grad(F.cross_entropy(model(x).logits, y), model.score.weight)[0]
        for x, y in zip(ids, labels, strict=True)
    )
    accumulate(model, [{"input_ids": x, "labels": y} for x, y in zip(ids, labels, strict=True)])
    by_rows = same(model.score.weight.grad, (2 * two + one) / 3, 1e-6)
    require(by_rows, "right where all texts are equally long: weigh a batch by its rows, not by its tokens.")
    return "batches of 6, 2 and 1 rows give the gradient of one batch of 9."


@exercise("one number, the MB", number)
def check_training_megabytes(training_megabytes) -> str:
    """`training_megabytes(model)`: four numbers for a trainable parameter, one for a frozen one."""
    model = nn.Sequential(nn.Linear(999, 300), nn.Linear(999, 200))  # 300,000 and 200,000 parameters
    model[0].requires_grad_(False)
    result = training_megabytes(model)
    mistakes = {
        8.0: "frozen parameters have neither gradient nor moments: they are held once, not four times",
        5.6: "it is the other way round: trainable parameters are held four times, frozen ones once",
        3.2: "frozen parameters are held too: count each of them once",
        2.0: "you count the parameters alone: trainable ones have a gradient and two moments besides",
        2.8: "you count parameters and gradients; AdamW keeps two moments besides",
        3.6: "you hold three numbers for a trainable one: itself, its gradient and AdamW's two moments make four",
        1.1: "these are millions of numbers: each takes p.element_size() bytes",
        4.4e6: "these are bytes: divide by a million",
        4.4e6 / 2**20: "you divide by 2 to the 20th; here a MB is a million bytes",
    }
    hint_at_known(result, mistakes)
    require(same(result, 4.4), f"300,000 frozen and 200,000 trainable numbers in fp32 take 4.4 MB, not {result:g}.")
    half = training_megabytes(nn.Linear(999, 500).half())
    require(same(half, 4.0), "right for fp32, not for fp16: p.element_size() says how many bytes a number takes.")
    return "300,000 frozen and 200,000 trainable parameters take 4.4 MB; all trainable, they would take 8."
