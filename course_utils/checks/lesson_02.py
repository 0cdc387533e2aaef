"""Checks of lesson 2: modify the architecture."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from course_utils.checks.base import describe, exercise, hint_at_known, require, same, tensor


@exercise("a tensor with one position for each text, shape (texts,)", tensor)
def check_last_real_positions(last_real_positions) -> str:
    """`last_real_positions(input_ids, pad_id)`: the rightmost token that is no padding, whichever side is padded."""
    found = last_real_positions(torch.tensor([[7, 8, 9, 4], [5, 6, 1, 1]]), 1)
    require(found.shape == (2,), f"two texts have two last tokens: the shape is (2,), yours {tuple(found.shape)}.")
    mistakes = {
        (3, 3): "for a row of two tokens and two pads you answer 3, a pad token: read the last *real* token.",
        (4, 2): "you count the real tokens; positions start at 0, so you are one too far to the right.",
        (4, 6): "you return the ids of the last real tokens: return their positions.",
        (0, 2): "you look for padding: the real tokens are those that are != pad_id.",
        (1, 1): "that is the row and the column of the very last one: wanted is a position for each row.",
        (0, 0): "argmax of zeros and ones finds the first real token: multiply by the positions to find the last.",
    }
    right = tuple(found.tolist())
    require(right not in mistakes, mistakes.get(right))
    require(right == (3, 1), f"for 4 and 2 real tokens, padded on the right, positions are 3 and 1, yours {right}.")
    require(not found.is_floating_point(), f"positions are whole numbers, yours {found.dtype}, which is no index.")
    left = last_real_positions(torch.tensor([[7, 8, 9, 4], [1, 1, 5, 6]]), 1).tolist()
    require(left != [3, 1], "right for right padding; on the left, the number of tokens does not say where they are.")
    require(left == [3, 3], f"padded on the left, the last real token is at position 3 in both rows, yours {left}.")
    other_pad = last_real_positions(torch.tensor([[5, 1, 0, 0]]), 0).tolist()
    require(other_pad == [1], "with another pad id your answer is wrong: compare with `pad_id`, not a fixed number.")
    return "it finds the last real token on either side. For right padding, counting and subtracting one does as well."


@exercise("a tensor with an output for each input, shape (..., outputs)", tensor)
def check_lora_output(lora_output) -> str:
    """`lora_output(x, W, A, B, alpha)`: a matrix with LoRA's correction, applied to x."""
    dice = torch.Generator().manual_seed(0)
    x, W, A, B = (torch.randn(*shape, generator=dice) for shape in ((2, 5, 4), (4, 6), (3, 4), (6, 3)))
    plain, low = x @ W, x @ A.T @ B.T
    result = lora_output(x, W, A, B, 12)
    shape = tuple(result.shape)
    require(shape == (2, 5, 6), f"x of shape (2, 5, 4) and 6 outputs make (2, 5, 6), yours has the shape {shape}.")
    mistakes = [
        (plain, "that is x W alone: add the correction"),
        (12 / 3 * low, "that is the correction alone: add it to x W"),
        (plain + low, "the correction is not scaled: multiply it by alpha divided by the rank"),
        (plain + 12 * low, "you multiply the correction by alpha: divide by the rank, too"),
        (plain + low / 3, "you divide the correction by the rank: multiply by alpha, too"),
        (plain + 3 / 12 * low, "the scale is upside down: alpha divided by the rank"),
        (plain + 12 / 4 * low, "you divide by the number of inputs: the rank is the number of *rows* of A"),
        (plain + 12 / 6 * low, "you divide by the number of outputs: the rank is the number of rows of A"),
        (12 / 3 * (plain + low), "you scale x W as well: only the correction is scaled"),
    ]
    hint_at_known(result, mistakes, tolerance=1e-4)
    close = torch.allclose(result.float(), plain + 12 / 3 * low, atol=1e-4)
    require(
        close, "the shape is right, the numbers are not: x W, plus alpha / rank times x through A and then through B."
    )
    small = lora_output(x[0, 0], W, A[:2], B[:, :2], 1)
    right = same(small, x[0, 0] @ W + 1 / 2 * x[0, 0] @ A[:2].T @ B[:, :2].T, 1e-4)
    require(
        right,
        "right for rank 3 and alpha 12, not for rank 2, alpha 1 and a single vector: use the arguments, divide with /.",
    )
    x, W, A, B = (torch.ones(*shape) for shape in ((2, 40), (40, 60), (3, 40), (60, 3)))
    with FlopCounterMode(display=False) as counter:  # two operations for each product
        lora_output(x, W, A, B, 12)
    require(
        counter.get_total_flops() < 2 * (x.numel() * 60 + B.numel() * 40),  # what x W takes, and B A alone
        "the numbers are right, but you build the product of A and B, as large as W: send x through A, then through B.",
    )
    return "x W plus the scaled correction: through A and B, rank * (inputs + outputs) products an input, not more."


@exercise("the model that it was given", None)
def check_train_biases(train_biases) -> str:
    """`train_biases(model)`: all biases and the head trainable, all else frozen."""
    for start in (True, False):
        model = tiny_classifier().requires_grad_(start)
        result = train_biases(model)
        flags = {name: p.requires_grad for name, p in model.named_parameters()}
        trainable = any(flags.values())
        require(not start or not all(flags.values()), "weights are still trainable: here nothing is frozen at all.")
        require(start or trainable, "a model frozen before stays frozen: set requires_grad to True where it is due.")
        require(trainable, "nothing is left to train: unfreeze biases and head after freezing the rest.")
        head = flags.pop("score.weight")
        biases = [flag for name, flag in flags.items() if name.endswith(".bias")]
        weights = [flag for name, flag in flags.items() if not name.endswith(".bias")]
        require(any(biases), "all biases are frozen: they are the parameters whose names end with '.bias'.")
        require(
            all(biases), "some biases are still frozen: layer norms and MLPs have biases, too, not attention alone."
        )
        require(not any(weights), "weights are still trainable: freeze all that is neither a bias nor in the head.")
        require(head, "the head is frozen, and it has no bias: a head that cannot learn stays random for ever.")
    require(
        result is not None, "the model is as it should be, but your function returns nothing: end with return model."
    )
    require(result is model, f"the model is as it should be, but you return {describe(result)}: return model.")
    return "biases and head learn, all else keeps still, whatever was frozen before."


def tiny_classifier() -> torch.nn.Module:
    """Build a GPT-2 classifier of one block and width 8, for checks that must not take time."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"vocab_size": 10, "max_position_embeddings": 8, "hidden_size": 8, "num_hidden_layers": 1}
    tokens = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    config = AutoConfig.for_model("gpt2", **sizes, **tokens, num_attention_heads=1, num_labels=2)
    return AutoModelForSequenceClassification.from_config(config)
