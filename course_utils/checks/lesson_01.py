"""Checks of lesson 1: load a pre-trained model."""

import math

import torch

from course_utils.checks.base import exercise, hint_at_known, number, require, round_all, same, tensor


@exercise("a tensor with a probability for each token, in the order in which they came", tensor)
def check_keep_top_p(keep_top_p) -> str:
    """`keep_top_p(probabilities, p)`: the nucleus of a distribution, scaled to sum to 1."""
    kept = keep_top_p(torch.tensor([0.1, 0.5, 0.15, 0.25]), 0.7)
    require(kept.shape == (4,), f"four probabilities go in, so four must come out, not the shape {tuple(kept.shape)}.")
    in_its_place = "put each number back in the place of its token (scatter)"
    mistakes = [
        ([0, 1, 0, 0], "you keep only 0.5, but p is 0.7: the token that carries the sum over p belongs to the nucleus"),
        ([2 / 3, 1 / 3, 0, 0], f"the numbers are right but in sorted order: {in_its_place}"),
        ([0.5, 0.25, 0, 0], f"the numbers stand in sorted order, and sum to 0.75: {in_its_place}, and scale them"),
        ([0, 0.5, 0, 0.25], "you keep the right tokens, but they sum to 0.75: divide by the sum of what is left"),
        ([0.4, 0, 0.6, 0], "you keep what comes after the nucleus: keep the tokens before which p is not yet reached"),
    ]
    hint_at_known(kept, mistakes)
    require(
        same(kept, [0, 2 / 3, 0, 1 / 3]),
        f"0.1, 0.5, 0.15, 0.25 with p = 0.7 should become 0, 0.67, 0, 0.33, yours is {round_all(kept)}: sort, "
        "sum up from the most probable, keep until the sum reaches p.",
    )
    small = round_all(keep_top_p(torch.tensor([0.4, 0.6]), 0.3))
    require(small == [0, 1], f"with p below the highest probability that one token must stay, yours leaves {small}.")
    exact = round_all(keep_top_p(torch.tensor([0.125, 0.5, 0.125, 0.25]), 0.75))
    require(exact == [0, 0.67, 0, 0.33], f"0.5 and 0.25 reach p = 0.75 exactly and are enough, yours leaves {exact}.")
    tie = round_all(keep_top_p(torch.tensor([0.25, 0.5, 0.25]), 0.75))
    require(
        sorted(tie) == [0, 0.33, 0.67],
        f"of 0.25, 0.5, 0.25 two tokens reach p = 0.75, yours leaves {tie}: where two are equally probable, one may "
        "stay and the other go, so keep a number of tokens, not all above a limit.",
    )
    every = round_all(keep_top_p(torch.tensor([0.25, 0.5, 0.25]) * (1 - 2**-20), 1.0))
    require(
        every == [0.25, 0.5, 0.25],
        f"with p = 1 all tokens stay, also where rounding lets their sum end just below 1; yours leaves {every}.",
    )
    return "the fewest tokens that reach p stay, in their places, and sum to 1: few if the model is sure, many if not."


@exercise("a whole number of parameters", number)
def check_count_gpt2(count_gpt2) -> str:
    """`count_gpt2(vocabulary, context, width, layers)`: parameters of a GPT-2 with tied head."""
    vocabulary, context, width, layers = 50257, 1024, 768, 12
    off = count_gpt2(vocabulary, context, width, layers) - 124_439_808
    mistakes = {
        vocabulary * width: "the head is counted as well: it is the token embedding itself and costs nothing more",
        -vocabulary * width: "the token embedding is missing: one row for each token of the vocabulary",
        -context * width: "the position embedding is missing: one row for each place in the context",
        -2 * width: "the final layer norm, after the last block, is missing",
        -layers * 9 * width: "the biases of the blocks' matrices are missing: 3d + d + 4d + d in each block",
        -layers * 5 * width: "the biases of the MLPs are missing: 4d + d in each block",
        -layers * 4 * width: "4d are missing in each block: so many have its two layer norms, and attention's biases",
        -layers * 2 * width: "each block has two layer norms, and each has a scale and a shift",
        -(layers * 2 + 1) * width: "each layer norm lacks d: it has a scale *and* a shift for each input, so 2d",
        -(layers * 4 + 2) * width: "all layer norms are missing: two in each block and one after the last block",
        -layers * 8 * width**2: "the MLPs are missing: d times 4d and 4d times d in each block",
        -layers * width**2: "attention has a second matrix, d times d, besides the one with d times 3d",
    }
    too = f"for GPT-2 you are {abs(off):,.0f} too {'high' if off > 0 else 'low'}"
    hint_at_known(off, {wrong: f"{too}: {reason}" for wrong, reason in mistakes.items()})
    require(off == 0, f"{too}: count one block first: attention, MLP, two layer norms, every matrix with its bias.")
    mini = count_gpt2(8192, 128, 256, 6)
    require(mini == 6_868_992, "right for GPT-2 itself, but not for gpt2-mini: use the arguments, not GPT-2's numbers.")
    return "124,439,808 for GPT-2 and 6,868,992 for gpt2-mini, which is what their files hold."


@exercise("one number, the bits for each byte", number)
def check_bits_per_byte(bits_per_byte) -> str:
    """`bits_per_byte(losses, text)`: a text's loss in bits, divided by its bytes."""
    result = bits_per_byte(torch.tensor([1.0, 2.0, 3.0, 4.0]), "Päckchen")  # eight letters, nine bytes
    mistakes = {
        10 / 9: "these are nats: divide by the logarithm of 2",
        10 * math.log(2) / 9: "a nat is more than a bit: divide by the logarithm of 2, do not multiply",
        10 / 8 / math.log(2): "you divide by characters, but the ä takes two bytes: text.encode() gives them",
        2.5 / 9 / math.log(2): "you take the mean of the losses: sum them",
        2.5 / math.log(2): "these are bits for each token: divide the sum by the bytes",
        10 / math.log(2): "these are the bits of the whole text: divide by its bytes",
    }
    hint_at_known(result, mistakes)
    require(
        same(result, 10 / 9 / math.log(2)),
        f"losses of 1, 2, 3 and 4 nats over the nine bytes of Päckchen are 1.603 bits a byte, yours is {result:.3f}.",
    )
    other = same(bits_per_byte(torch.tensor([1.0, 0.5]), "Tür"), 1.5 / 4 / math.log(2))
    require(other, "right for four losses and nine bytes, not for others: use the `losses` and the `text` given.")
    return "all losses, in bits, by all bytes: models with different tokenizers can be compared by it."
