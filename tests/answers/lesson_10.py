"""Wrong answers to the exercises of lesson 10, each with a part of the hint that it must get."""

import torch


def rotated(vectors, positions, base, power=-2.0, sign=1, width=None):
    """Turn pairs (i, i + width / 2) by position * base ** (power * i / width)."""
    width = width or vectors.shape[-1]
    angles = positions[:, None] * base ** (power * torch.arange(vectors.shape[-1] // 2) / width)
    first, second = vectors.chunk(2, dim=-1)
    cos, sin = angles.cos(), sign * angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def neighbours(vectors, positions, base):
    """The pairs of the paper: numbers 0 and 1, 2 and 3, and so on."""
    paired = torch.cat([vectors[:, ::2], vectors[:, 1::2]], dim=-1)
    return torch.stack(rotated(paired, positions, base).chunk(2, dim=-1), dim=-1).flatten(1)


def both_minus(vectors, positions, base):
    angles = positions[:, None] * base ** (-2 * torch.arange(vectors.shape[-1] // 2) / vectors.shape[-1])
    first, second = vectors.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos - first * sin], dim=-1)


def in_place(vectors, positions, base):
    angles = positions[:, None] * base ** (-2 * torch.arange(vectors.shape[-1] // 2) / vectors.shape[-1])
    first, second = vectors.chunk(2, dim=-1)
    first[:] = first * angles.cos() - second * angles.sin()
    second[:] = second * angles.cos() + first * angles.sin()
    return vectors


def log_softmax(logits):
    return logits.log_softmax(-1)


WRONG = {
    "rotate": [
        (lambda v, p, base: v, "nothing is turned"),
        (neighbours, "you pair neighbours"),
        (lambda v, p, base: rotated(v, p, base, sign=-1), "the other way"),
        (lambda v, p, base: rotated(v, p, base, power=-1), "shrink too slowly"),
        (lambda v, p, base: rotated(v, p, base, power=2), "exponent is negative"),
        (lambda v, p, base: rotated(v, p, 10_000.0), "the base is an argument"),
        (lambda v, p, base: rotated(v, p + 1, base), "at position 0 nothing turns"),
        (lambda v, p, base: rotated(v, p, base, width=8), "not for width 4"),
        (lambda v, p, base: rotated(torch.cat([v[:, ::2], v[:, 1::2]], dim=-1), p, base), "change places"),
        (lambda v, p, base: torch.stack(rotated(v, p, base).chunk(2, dim=-1), dim=-1).flatten(1), "change places"),
        (in_place, "make new tensors"),
        (both_minus, "keeps the length"),
        (lambda v, p, base: rotated(v, p, base).chunk(2, dim=-1)[0], "stay three of width 8"),
        (lambda v, p, base: rotated(v, p * 2, base), "angles are not right"),
    ],
    "centre": [
        (lambda scores: scores, "nothing is subtracted"),
        (lambda scores: scores - scores.mean(axis=1, keepdims=True), "axis=0"),
        (lambda scores: scores - scores.mean(), "one for each word"),
        (lambda scores: scores + scores.mean(axis=0), "you added"),
        (lambda scores: scores.mean(axis=0) - scores, "wrong way round"),
        (lambda scores: scores - scores.max(axis=0), "take the mean"),
        (lambda scores: scores / scores.mean(axis=0), "you divided"),
        (lambda scores: scores.mean(axis=0), "shape stays"),
        (lambda scores: scores - (scores[0] + scores[1]) / 2, "not for four"),
        (lambda scores: scores * 0, "for the example"),
    ],
    "soft_loss": [
        (lambda logits, teacher: (teacher * log_softmax(logits)).sum(-1).mean(), "the sign"),
        (lambda logits, teacher: -(teacher * log_softmax(logits)).sum(), "the sum over the texts"),
        (lambda logits, teacher: -(teacher * log_softmax(logits)).mean(), "over texts *and* classes"),
        (lambda logits, teacher: -(teacher * logits).sum(-1).mean(), "bare logits"),
        (
            lambda logits, teacher: torch.nn.functional.cross_entropy(logits, teacher.argmax(-1)),
            "the likeliest class alone",
        ),
        (lambda logits, teacher: -(logits.softmax(-1) * teacher.log()).sum(-1).mean(), "roles are swapped"),
        (lambda logits, teacher: -(teacher * logits.softmax(-1)).sum(-1).mean(), "the logarithm is missing"),
        (lambda logits, teacher: -(teacher * logits.log_softmax(0)).sum(-1).mean(), "not over texts"),
        (lambda logits, teacher: -(teacher * log_softmax(logits)).sum() / 2, "use the shapes"),
        (lambda logits, teacher: 1.0, "for the example it should be"),
        (lambda logits, teacher: -(teacher * log_softmax(logits)).sum(-1), "wanted is a number"),
    ],
}
