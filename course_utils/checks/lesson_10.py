"""Checks of lesson 10: a bigger GPT."""

import numpy as np
import torch

from course_utils.checks.base import exercise, hint_at_known, number, numbers, require, same, tensor


def turn(vectors: torch.Tensor, positions: torch.Tensor, base: float, power: float = 2, sign: int = 1) -> torch.Tensor:
    """Rotary positions; `power` and `sign` make the natural mistakes."""
    width = vectors.shape[-1]
    angles = positions[:, None] * base ** (-power * torch.arange(width // 2) / width)
    first, second = vectors[:, : width // 2], sign * vectors[:, width // 2 :]
    turned = [first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()]
    turned[1] = turned[1] * sign
    return torch.cat(turned, dim=-1)


@exercise("a tensor of the shape of `vectors`", tensor)
def check_rotate(rotate) -> str:
    """`rotate(vectors, positions, base)`: rotary positions, shape (tokens, width)."""
    generator = torch.Generator().manual_seed(0)
    vectors, positions = torch.randn(3, 8, generator=generator), torch.tensor([0.0, 1.0, 5.0])
    given = vectors.clone()
    result = rotate(given, positions.clone(), 100.0)
    require(result.shape == (3, 8), f"three vectors of width 8 stay three of width 8, yours: {tuple(result.shape)}.")
    still = torch.allclose(result[0].float(), vectors[0], atol=1e-5)
    moved = not still and same(result[0].sort().values, vectors[0].sort().values)
    require(not moved, "at position 0 the numbers change places: i goes with i + width / 2, firsts before all seconds.")
    require(still, "at position 0 nothing turns: cos 0 is 1 and sin 0 is 0.")
    pairs = torch.stack([vectors[:, ::2], vectors[:, 1::2]], dim=-1).transpose(1, 2).reshape(3, 8)
    neighbours = turn(pairs, positions, 100.0).view(3, 2, 4).transpose(1, 2).reshape(3, 8)
    right = turn(vectors, positions, 100.0)
    mistakes = [
        (vectors, "nothing is turned: use the positions"),
        (neighbours, "you pair neighbours, as the paper does: here number i goes with number i + width / 2"),
        (turn(vectors, positions, 100.0, sign=-1), "you turn the other way: the minus stands in the first half"),
        (turn(vectors, positions, 100.0, power=1), "angles shrink too slowly: base to the power of -2 i / width"),
        (turn(vectors, positions, 100.0, power=-2), "angles grow with i: the exponent is negative"),
        (turn(vectors, positions, 10_000.0), "the base is an argument: use it"),
        (right.flip(0), "the positions are in the wrong order: row n has position n of `positions`"),
    ]
    hint_at_known(result, mistakes, tolerance=1e-4)
    lengths = torch.allclose(result.float().norm(dim=-1), vectors.norm(dim=-1), atol=1e-4)
    whole = lengths or torch.equal(given, vectors)
    require(whole, "you write into `vectors`, so its second half is turned with the new first one: make new tensors.")
    require(lengths, "turning keeps the length of a vector, yours changes it: look at the signs, and at sin and cos.")
    require(same(result, right, 1e-4), "lengths are kept, angles are not right: position times base ** (-2 i / width).")
    other = rotate(vectors[:, :4].clone(), positions.clone(), 50.0)
    require(
        same(other, turn(vectors[:, :4], positions, 50.0), 1e-4), "right for width 8, not for width 4: use the shape."
    )
    return "each pair of numbers turns like the hand of a clock, the first fast, the last slowly."


@exercise("an array of the shape of `scores`", numbers)
def check_centre(centre) -> str:
    """`centre(scores)`: minus the mean of each word over the texts."""
    scores = np.array([[-1.0, -9.0, -4.0], [-2.0, -7.0, -6.0]])
    result = centre(scores.copy())
    require(result.shape == scores.shape, f"the shape stays (texts, words) = (2, 3), yours is {result.shape}.")
    by_word = scores - scores.mean(axis=0)
    mistakes = [
        (scores, "nothing is subtracted"),
        (scores - scores.mean(axis=1, keepdims=True), "you took the mean of each text: take that of each word, axis=0"),
        (scores - scores.mean(), "you took one mean for all: take one for each word"),
        (scores + scores.mean(axis=0), "you added the mean: subtract it"),
        (-by_word, "the wrong way round: score minus mean"),
        (scores - scores.max(axis=0), "you took the highest score of each word: take the mean"),
        (scores / scores.mean(axis=0), "you divided: these are logarithms, so subtract"),
    ]
    hint_at_known(result, mistakes)
    require(same(result, by_word), f"for the example it should be {by_word.tolist()}, yours is {result.tolist()}.")
    large = np.arange(12.0).reshape(4, 3) ** 2
    require(same(centre(large), large - large.mean(axis=0)), "right for two texts, not for four.")
    return "now a word wins where it is likelier than usual, not where it is a likely word."


@exercise("a number", number)
def check_soft_loss(soft_loss) -> str:
    """`soft_loss(logits, probabilities)`: mean cross-entropy against a teacher's probabilities."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 1.0]])
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    logs = logits.log_softmax(-1)
    result = soft_loss(logits.clone(), teacher.clone())
    each = -(teacher * logs).sum(-1)
    mistakes = [
        (-each.mean(), "the sign: the loss is *minus* the sum"),
        (each.sum(), "that is the sum over the texts: take their mean"),
        (-(teacher * logs).mean(), "you take the mean over texts *and* classes: sum over the classes of a text first"),
        (-(teacher * logits).sum(-1).mean(), "these are bare logits: take log_softmax of them first"),
        (-logs.gather(1, teacher.argmax(-1, keepdim=True)).mean(), "that is the loss for the likeliest class alone"),
        (-(logits.softmax(-1) * teacher.log()).sum(-1).mean(), "the roles are swapped: the logarithm is the student's"),
        (-(teacher * logits.softmax(-1)).sum(-1).mean(), "the logarithm is missing"),
        (-(teacher * logits.log_softmax(0)).sum(-1).mean(), "softmax over the classes, the last axis, not over texts"),
    ]
    hint_at_known(result, mistakes, tolerance=1e-4)
    wanted = f"for the example it should be {each.mean():.4f}, yours is {result:.4f}."
    require(same(result, each.mean(), 1e-4), wanted)
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    teacher = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    each = -(teacher * logits.log_softmax(-1)).sum(-1)
    other = same(soft_loss(logits, teacher), each.mean(), 1e-4)
    require(other, "right for two texts and three classes, not for three and two: use the shapes.")
    return "with probabilities of only 0 and 1 it is the cross-entropy of lesson 5."
