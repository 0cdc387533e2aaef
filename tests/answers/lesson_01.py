"""Wrong answers to the exercises of lesson 1, each with a part of the hint that it must get."""

import math

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


def nucleus_as_a_list(probabilities, p):
    return [0.0, 2 / 3, 0.0, 1 / 3]


def one_more_at_equality(probabilities, p):
    ordered, tokens = probabilities.sort(descending=True)
    kept = ordered.masked_fill(ordered.cumsum(dim=0) - ordered > p, 0.0)
    kept = torch.zeros_like(probabilities).scatter(0, tokens, kept)
    return kept / kept.sum()


def sorted_and_not_scaled(probabilities, p):
    ordered, _ = probabilities.sort(descending=True)
    return ordered.masked_fill(ordered.cumsum(dim=0) - ordered >= p, 0.0)


def first_that_reaches(probabilities, p):
    """Look for the first sum that reaches p; where rounding leaves none, argmax says 0."""
    ordered, tokens = probabilities.sort(descending=True)
    count = (ordered.cumsum(dim=0) >= p).int().argmax() + 1
    kept = torch.zeros_like(probabilities).scatter(0, tokens[:count], ordered[:count])
    return kept / kept.sum()


def after_the_nucleus(probabilities, p):
    ordered, tokens = probabilities.sort(descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(dim=0) - ordered < p, 0.0)
    kept = torch.zeros_like(probabilities).scatter(0, tokens, ordered)
    return kept / kept.sum()


def all_above_a_limit(probabilities, p):
    ordered, _ = probabilities.sort(descending=True)
    least = ordered[ordered.cumsum(dim=0) >= p][0]
    kept = probabilities * (probabilities >= least)
    return kept / kept.sum()


def two_always(probabilities, p):
    kept = probabilities.masked_fill(probabilities < probabilities.topk(2).values[-1], 0.0)
    return kept / kept.sum()


def count(vocabulary, context, width, layers, biases=9, norms=4, final=2, head=0, positions=1):
    block = 12 * width**2 + (biases + norms) * width
    return vocabulary * width * (1 + head) + positions * context * width + layers * block + final * width


def count_without_attention_biases(vocabulary, context, width, layers):
    return count(vocabulary, context, width, layers, biases=5)


def count_with_one_norm(vocabulary, context, width, layers):
    norm = width
    attention = 4 * width**2 + 4 * width
    mlp = 8 * width**2 + 5 * width
    return vocabulary * width + context * width + layers * (attention + mlp + 2 * norm) + norm


def count_without_mlp(vocabulary, context, width, layers):
    return count(vocabulary, context, width, layers, biases=9) - layers * 8 * width**2


def count_of_real_gpt2(vocabulary, context, width, layers):
    return 124_439_808


WRONG = {
    "keep_top_p": [
        (nucleus_without_the_last, "carries the sum over p"),
        (nucleus_in_sorted_order, "sorted order"),
        (nucleus_not_scaled, "divide by the sum"),
        (lambda probabilities, p: probabilities, "should become"),
        (two_always, "that one token must stay"),
        (nucleus_as_a_list, "returned a list"),
        (one_more_at_equality, "reach p = 0.75 exactly"),
        (all_above_a_limit, "equally probable"),
        (sorted_and_not_scaled, "and scale them"),
        (first_that_reaches, "with p = 1 all tokens stay"),
        (after_the_nucleus, "after the nucleus"),
        (lambda probabilities, p: probabilities[:2], "four must come out"),
    ],
    "count_gpt2": [
        (lambda *sizes: count(*sizes, head=1), "head is counted"),
        (lambda *sizes: count(*sizes, positions=0), "position embedding is missing"),
        (lambda *sizes: count(*sizes, final=0), "final layer norm"),
        (lambda *sizes: count(*sizes, biases=0), "biases of the blocks"),
        (lambda *sizes: count(*sizes, norms=0), "two layer norms, and attention's biases"),
        (count_without_attention_biases, "two layer norms, and attention's biases"),
        (count_with_one_norm, "a scale *and* a shift"),
        (count_without_mlp, "the MLPs are missing"),
        (lambda *sizes: count(*sizes, biases=4), "biases of the MLPs"),
        (lambda *sizes: count(*sizes, norms=0, final=0), "all layer norms are missing"),
        (lambda *sizes: count(*sizes, head=-1), "token embedding is missing"),
        (
            lambda vocabulary, context, width, layers: count(vocabulary, context, width, layers) - layers * width**2,
            "a second matrix",
        ),
        (lambda *sizes: count(*sizes, norms=2), "a scale and a shift"),
        (lambda *sizes: 0, "count one block first"),
        (count_of_real_gpt2, "not for gpt2-mini"),
    ],
    "bits_per_byte": [
        (lambda losses, text: losses.sum().item() / len(text.encode()), "these are nats"),
        (lambda losses, text: losses.sum().item() * math.log(2) / len(text.encode()), "more than a bit"),
        (lambda losses, text: losses.sum().item() / math.log(2) / len(text), "divide by characters"),
        (lambda losses, text: losses.mean().item() / math.log(2) / len(text.encode()), "the mean of the losses"),
        (lambda losses, text: losses.mean().item() / math.log(2), "for each token"),
        (lambda losses, text: losses.sum().item() / math.log(2), "of the whole text"),
        (lambda losses, text: 1.0, "are 1.603 bits a byte, yours is 1.000"),
        (lambda losses, text: losses.sum().item() / math.log(2) / 9, "not for others"),
    ],
}
