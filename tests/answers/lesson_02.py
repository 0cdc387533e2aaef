"""Wrong answers to the exercises of lesson 2, each with a part of the hint that it must get."""

import torch


def always_the_end(input_ids, pad_id):
    return torch.full((len(input_ids),), input_ids.shape[1] - 1)


def count_too_far(input_ids, pad_id):
    return (input_ids != pad_id).sum(dim=1)


def count(input_ids, pad_id):
    return (input_ids != pad_id).sum(dim=1) - 1


def first_real(input_ids, pad_id):
    return (input_ids != pad_id).int().argmax(dim=1)


def fixed_pad(input_ids, pad_id):
    return (torch.arange(input_ids.shape[1]) * (input_ids != 1)).argmax(dim=1)


def ids_of_the_last(input_ids, pad_id):
    return input_ids.gather(1, count(input_ids, pad_id)[:, None])[:, 0]


def last_pad(input_ids, pad_id):
    return (input_ids == pad_id).int().argmax(dim=1)


def as_a_list(input_ids, pad_id):
    return [max(i for i, token in enumerate(row) if token != pad_id) for row in input_ids.tolist()]


def as_floats(input_ids, pad_id):
    return torch.tensor(as_a_list(input_ids, pad_id), dtype=torch.float)


def one_for_all(input_ids, pad_id):
    return (input_ids != pad_id).sum() - 1


def choose(trainable):
    def train_biases(model):
        for name, parameter in model.named_parameters():
            parameter.requires_grad = trainable(name)
        return model

    return train_biases


def only_freeze(model):
    for name, parameter in model.named_parameters():
        if not (name.endswith(".bias") or name.startswith("score")):
            parameter.requires_grad = False
    return model


def return_another(model):
    return list(choose(lambda name: name.endswith(".bias") or name.startswith("score"))(model).parameters())


def return_nothing(model):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(".bias") or name.startswith("score")


def low(x, A, B):
    return x @ A.T @ B.T


WRONG = {
    "lora_output": [
        (lambda x, W, A, B, alpha: x @ W, "add the correction"),
        (lambda x, W, A, B, alpha: alpha / len(A) * low(x, A, B), "add it to x W"),
        (lambda x, W, A, B, alpha: x @ W + low(x, A, B), "is not scaled"),
        (lambda x, W, A, B, alpha: x @ W + alpha * low(x, A, B), "divide by the rank, too"),
        (lambda x, W, A, B, alpha: x @ W + low(x, A, B) / len(A), "multiply by alpha, too"),
        (lambda x, W, A, B, alpha: x @ W + len(A) / alpha * low(x, A, B), "upside down"),
        (lambda x, W, A, B, alpha: x @ W + alpha / A.shape[1] * low(x, A, B), "number of inputs"),
        (lambda x, W, A, B, alpha: x @ W + alpha / len(B) * low(x, A, B), "number of outputs"),
        (lambda x, W, A, B, alpha: alpha / len(A) * (x @ W + low(x, A, B)), "only the correction is scaled"),
        (lambda x, W, A, B, alpha: x @ W - alpha / len(A) * low(x, A, B), "the numbers are not"),
        (lambda x, W, A, B, alpha: x @ W + 4 * low(x, A, B), "not for rank 2"),
        (lambda x, W, A, B, alpha: x @ W + alpha // len(A) * low(x, A, B), "divide with /"),
        (lambda x, W, A, B, alpha: x @ W + alpha / len(A) * x @ (B @ A).T, "you build the product of A and B"),
        (lambda x, W, A, B, alpha: x @ (W + alpha / len(A) * (B @ A).T), "you build the product of A and B"),
        (lambda x, W, A, B, alpha: low(x, A, B)[0], "make (2, 5, 6)"),
        (lambda x, W, A, B, alpha: x @ W + alpha / len(A) * x @ A @ B, "your code stopped"),
        (lambda x, W, A, B, alpha: (x @ W).tolist(), "returned a list"),
    ],
    "last_real_positions": [
        (always_the_end, "a pad token"),
        (count_too_far, "one too far"),
        (first_real, "multiply by the positions"),
        (count, "right for right padding"),
        (fixed_pad, "compare with `pad_id`"),
        (lambda input_ids, pad_id: count(input_ids, pad_id) - 1, "positions are 3 and 1"),
        (as_a_list, "returned a list"),
        (as_floats, "whole numbers"),
        (ids_of_the_last, "return their positions"),
        (last_pad, "you look for padding"),
        (lambda input_ids, pad_id: (input_ids != pad_id).nonzero()[-1], "the row and the column"),
        (one_for_all, "the shape is (2,)"),
    ],
    "train_biases": [
        (choose(lambda name: name.endswith(".bias")), "the head is frozen"),
        (choose(lambda name: name.startswith("score")), "all biases are frozen"),
        (choose(lambda name: "attn.c_attn.bias" in name or "score" in name), "some biases"),
        (choose(lambda name: True), "weights are still trainable"),
        (choose(lambda name: False), "nothing is left"),
        (only_freeze, "frozen before"),
        (return_nothing, "returns nothing: end with return model"),
        (return_another, "return model"),
        (lambda model: model, "nothing is frozen"),
    ],
}
