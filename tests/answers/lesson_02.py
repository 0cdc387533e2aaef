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


def return_nothing(model):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.endswith(".bias") or name.startswith("score")


WRONG = {
    "last_real_positions": [
        (always_the_end, "a pad token"),
        (count_too_far, "one too far"),
        (first_real, "multiply by the positions"),
        (count, "right for right padding"),
        (fixed_pad, "not with a fixed number"),
        (lambda input_ids, pad_id: count(input_ids, pad_id) - 1, "positions are 1 and 3"),
    ],
    "train_biases": [
        (choose(lambda name: name.endswith(".bias")), "the head is frozen"),
        (choose(lambda name: name.startswith("score")), "all biases are frozen"),
        (choose(lambda name: "attn.c_attn.bias" in name or "score" in name), "some biases"),
        (choose(lambda name: True), "weights are still trainable"),
        (choose(lambda name: False), "nothing is left"),
        (only_freeze, "frozen before"),
        (return_nothing, "return model"),
    ],
}
