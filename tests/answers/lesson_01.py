"""Wrong answers to the exercises of lesson 1, each with a part of the hint that it must get."""

import torch


def nucleus_without_the_last(probabilities, p):
    ordered, tokens = probabilities.sort(descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(dim=0) > p, 0.0)
    kept = torch.zeros_like(probabilities).scatter(0, tokens, ordered)
    return kept / kept.sum()


def nucleus_in_sorted_order(probabilities, p):
    ordered, _ = probabilities.sort(descending=True)
    kept = ordered.masked_fill(ordered.cumsum(dim=0) - ordered >= p, 0.0)
    return kept / kept.sum()


def nucleus_not_scaled(probabilities, p):
    ordered, tokens = probabilities.sort(descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(dim=0) - ordered >= p, 0.0)
    return torch.zeros_like(probabilities).scatter(0, tokens, ordered)


def two_always(probabilities, p):
    kept = probabilities.masked_fill(probabilities < probabilities.topk(2).values[-1], 0.0)
    return kept / kept.sum()


def count(vocabulary, context, width, layers, biases=9, norms=4, final=2, head=0, positions=1):
    block = 12 * width**2 + (biases + norms) * width
    return vocabulary * width * (1 + head) + positions * context * width + layers * block + final * width


def count_of_real_gpt2(vocabulary, context, width, layers):
    return 124_439_808


WRONG = {
    "keep_top_p": [
        (nucleus_without_the_last, "carries the sum over p"),
        (nucleus_in_sorted_order, "sorted order"),
        (nucleus_not_scaled, "divide by the sum"),
        (lambda probabilities, p: probabilities, "should become"),
        (two_always, "that one token must stay"),
    ],
    "count_gpt2": [
        (lambda *sizes: count(*sizes, head=1), "head is counted"),
        (lambda *sizes: count(*sizes, positions=0), "position embedding is missing"),
        (lambda *sizes: count(*sizes, final=0), "final layer norm"),
        (lambda *sizes: count(*sizes, biases=0), "biases of the blocks"),
        (lambda *sizes: count(*sizes, norms=0), "layer norms are missing"),
        (lambda *sizes: count(*sizes, norms=2), "a scale and a shift"),
        (lambda *sizes: 0, "count one block first"),
        (count_of_real_gpt2, "not for gpt2-mini"),
    ],
}
