"""Checks of lesson 8: the regularization lab."""

import torch

from course_utils.checks.base import exercise, hint_at_known, number, require, round_all, same, tensor


@exercise("a number, in nats", number)
def check_cost_of_patience(cost_of_patience) -> str:
    """`cost_of_patience(losses, patience)`: how much lower the lowest loss is than the lowest before the stop."""
    losses = [2.0, 1.5, 1.6, 1.4, 1.4, 1.45, 1.35, 1.5, 1.55, 1.3, 1.6, 1.7, 1.8, 1.1]
    result = cost_of_patience(list(losses), 2)
    mistakes = {
        0.0: "you look at the whole run, whatever the patience: two losses in a row without a new best end it",
        -0.3: "the difference has the wrong sign: take the lowest of the whole run from the lowest before the stop",
        1.4: "that is the lowest loss that early stopping sees: wanted is how far it lies above the lowest of all",
        1.1: "that is the lowest loss of all: wanted is how far the lowest before the stop lies above it",
        0.35: "you take the loss at which the run ends: what is kept is the *lowest* loss up to there",
        0.9: "you take the highest loss for the best: a new best is *lower* than all before it",
        0.4: "with patience 2, one worse loss does not end the run",
        0.25: "1.4 again is no new best: only a strictly lower loss starts the count anew",
        0.2: "with patience 2, the second loss in a row without a new best is the last; yours waits for a third",
    }
    hint_at_known(result, mistakes)
    require(same(result, 0.3), f"for {losses} and patience 2 it is 1.4 - 1.1 = 0.3, not {result:g}.")
    first = same(cost_of_patience([1.0, 2.0, 0.5], 2), 0)
    require(first, "the first loss is a best, not one without: let the count of those begin after it.")
    neighbours = same(cost_of_patience([3.0, 1.0, 2.0, 1.5, 0.5], 2), 0)
    require(not neighbours, "you compare each loss with the one before: a new best is lower than *all* before it.")
    in_a_row = same(cost_of_patience([2.0, 2.1, 1.9, 2.0, 1.8, 1.7], 2), 0)
    require(in_a_row, "patience counts losses in a row: each new best starts the count anew.")
    won = same(cost_of_patience([1.0, 2.0, 3.0, 1.5], 2), 0) and same(cost_of_patience([3.0, 2.0, 1.0], 1), 0)
    require(won, "where nothing better comes after the stop, or the run never stops, the bet is won: that costs 0.")
    other = same(cost_of_patience([2.0, 1.9, 1.95, 1.7], 1), 0.2)
    require(other, "right for a patience of 2, not for 1: use `patience` as given.")
    return "a larger patience loses its bet less often, and pays for that in steps."


@exercise("a tensor of the same shape as the states", tensor)
def check_drop_units(drop_units) -> str:
    """`drop_units(states, p)`: dropout in training, with the numbers that are kept divided by 1 - p."""
    states = torch.full((200, 300), 3.0)
    with torch.random.fork_rng():  # the learner's own random numbers go on as if nothing had been drawn
        torch.manual_seed(0)
        result, again = drop_units(states, 0.25), drop_units(states, 0.25)
        nothing = drop_units(states, 0.0)
    require(bool((states == 3).all()), "you change the states that you are given: return a new tensor.")
    require(result.shape == states.shape, f"shape (200, 300) goes in, {tuple(result.shape)} comes out: keep the shape.")
    values, share = result.unique(), (result == 0).float().mean().item()
    mean = float(result.double().mean())
    require(share > 0, f"no number became 0; they are {round_all(values[:3])}: set each to 0 with probability p.")
    require(not 0.7 < share < 0.8, "three in four became 0: p = 0.25 is the share that is dropped, not the one kept.")
    alike = [bool((zeros.all(side) | ~zeros.any(side)).all()) for side in (0, 1) for zeros in [result == 0]]
    require(not alike[0], "all rows lose the same columns: draw for each number, not once for each column.")
    require(not alike[1], "whole rows become 0: draw for each number, not once for each row.")
    require(0.23 < share < 0.27, f"p = 0.25, and a share of {share:.2f} became 0.")
    require(not torch.equal(result, again), "two calls drop the same numbers: draw anew each time, without a seed.")
    kept = float(values[values != 0].double().mean())
    mistakes = {
        3.0: "what is kept stays as it was, so the sum shrinks: divide it by 1 - p",
        12.0: "you divide by p: divide by the share that is kept, 1 - p",
        2.25: "you multiply by 1 - p: divide by it, so that the sum stays the same on average",
        0.75: "you multiply by p: divide by the share that is kept, 1 - p",
    }
    hint_at_known(kept, mistakes)
    require(len(values) == 2 and same(kept, 4), f"3 becomes 0 or 3 / 0.75 = 4, yours are {round_all(values[:4])}.")
    require(abs(mean - 3) < 0.05, f"the mean should stay near 3, it is {mean:.2f}.")
    cube = drop_units(torch.ones(2, 3, 4), 0.5).shape
    require(cube == (2, 3, 4), "right for two dimensions, not for three: draw numbers in the shape of the states.")
    require(bool((nothing == states).all()), "with p = 0 nothing is dropped, and nothing changes.")
    return "no unit can rely on another one being there, and the next layer sees sums of the usual size."


def tensors(value) -> list[torch.Tensor]:
    """Read a list or tuple of tensors."""
    if not isinstance(value, list | tuple):
        raise TypeError
    return [tensor(item) for item in value]


@exercise("a list of tensors, one for each that was given", tensors)
def check_decay_weights(decay_weights) -> str:
    """`decay_weights(weights, rate, decay)`: what AdamW's weight decay makes of weights in one step."""
    weights = [torch.full((2, 2), 2.0), torch.full((3,), 2.0), torch.tensor([[-1.0]])]
    result = decay_weights([weight.clone() for weight in weights], 0.1, 0.5)
    require(len(result) == 3, f"three tensors go in, {len(result)} come out.")
    for weight, new in zip(weights, result, strict=True):
        require(
            weight.shape == new.shape, f"a tensor of shape {tuple(weight.shape)} becomes one of {tuple(new.shape)}."
        )
    mistakes = {
        2.0: "the matrix has not changed: multiply it by 1 - rate * decay",
        1.95: "you take the same amount from each weight: take a share of it, multiply by 1 - rate * decay",
        1.0: "you multiply by 1 - decay: the pull is rate times decay",
        1.8: "you multiply by 1 - rate: the pull is rate times decay",
        0.1: "you multiply by rate * decay, which is what goes: 1 - rate * decay stays",
        2.1: "you multiply by 1 + rate * decay: the weight grows instead of shrinking",
        1.805: "that is two steps: multiply once",
        0.8: "you take rate + decay: the pull is rate times decay",
    }
    hint_at_known(result[0][0, 0], mistakes)
    require(same(result[0], torch.full((2, 2), 1.9)), f"2.0 becomes 1.9 with 0.1 and 0.5; yours {result[0][0, 0]:.3g}.")
    require(same(result[2], [[-0.95]]), f"-1.0 becomes -0.95, nearer to zero; yours {result[2].item():.3g}.")
    require(same(result[1], torch.full((3,), 2.0)), "biases and norms are spared: shrink only what has two dimensions.")
    other = same(decay_weights([torch.tensor([[4.0]])], 0.5, 0.1)[0], [[3.8]])
    slow = same(decay_weights([torch.tensor([[4.0]])], 0.01, 1.0)[0], [[3.96]])
    require(other and slow, "right for a rate of 0.1 and a decay of 0.5, not for others: use the arguments.")
    return "the pull is rate times decay, so a short run at a small rate hardly feels it."


@exercise("a tensor of shape (rows, classes)", tensor)
def check_smooth_targets(smooth_targets) -> str:
    """`smooth_targets(labels, classes, e)`: target probabilities of label smoothing, shape (rows, classes)."""
    result = smooth_targets(torch.tensor([2, 0]), 4, 0.2)
    shape = tuple(result.shape)
    require(shape == (2, 4), f"two labels and four classes make the shape (2, 4), yours is {shape}.")
    others = 0.2 / 3
    mistakes = [
        ([0, 0, 0.8, 0], "you took 0.2 from the true class and gave it to nobody: spread it over the classes"),
        ([others, others, 0.8, others], "you spread e over the *other* classes; the true one gets its part as well"),
        ([0.05, 0.05, 1.05, 0.05], "the row sums to 1.2: what is spread must first be taken from the true class"),
        ([0.05, 0.05, 0.8, 0.05], "the row sums to 0.95: the true class gets its part of what is spread as well"),
        ([0.2, 0.2, 1, 0.2], "each class gets the whole of e: divide it by the number of classes"),
        ([0.2, 0.2, 0.8, 0.2], "each other class gets the whole of e: divide it by the number of classes"),
        ([0, 0, 1, 0], "nothing is smoothed: take e from the true class, and spread it over all classes"),
        ([0.2, 0.2, 0.4, 0.2], "e is what is spread, and 1 - e what stays: yours has them the other way round"),
    ]
    hint_at_known(result[0], mistakes)
    for row, wanted in enumerate([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]):
        told = f"row {row + 1} is {', '.join(map(str, wanted))}; yours {round_all(result[row])}"
        require(same(result[row], wanted), f"for labels 2 and 0 of 4, e = 0.2, {told}.")
    eight = same(smooth_targets(torch.tensor([1]), 8, 0.1), [[0.0125, 0.9125, *[0.0125] * 6]])
    require(eight, "right for 4 classes and e = 0.2, not for 8 and 0.1: use `classes` and `e` as given.")
    return "every class keeps a little, so no logit has to run away to infinity."
