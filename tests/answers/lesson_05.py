"""Wrong answers to the exercises of lesson 5, each with a part of the hint that it must get."""

import math

import torch
from torch.nn import functional as F


def naive(logits, labels):
    log_probabilities = logits - logits.exp().sum(dim=1, keepdim=True).log()
    return -log_probabilities[torch.arange(len(labels)), labels].mean()


def shifts_by_the_batch(logits, labels):
    return naive(logits - logits.max(), labels)


def clamps(logits, labels):
    return naive(logits.clamp(-20, 20), labels)


def library(logits, labels, reduction="mean"):
    return F.cross_entropy(logits, labels, reduction=reduction)


def without_zero_grad(model, batches, optimizer):
    losses = []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def zeroed_too_early(model, batches, optimizer):
    losses = []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        losses.append(loss.item())
    return losses


def keeps_tensors(model, batches, optimizer):
    losses = []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
    return losses


def returns_in_the_loop(model, batches, optimizer):
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return [loss.item()]


def steps_once_at_the_end(model, batches, optimizer):
    losses = []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        losses.append(loss.item())
    optimizer.step()
    return losses


def steps_before_backward(model, batches, optimizer):
    losses = []
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        optimizer.step()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
    return losses


def stop(scores, patience, first=1, ties=False, extra=0, previous=False, in_a_row=True):
    best, waited = 0, 0
    for i, score in enumerate(scores):
        if i and (score > scores[best] or (ties and score == scores[best])):
            best, waited = i, 0 if in_a_row else waited
        elif i:
            waited = 0 if previous and score > scores[i - 1] else waited + 1
        if waited >= patience + extra:
            return best + first, i + first
    return best + first, len(scores) - 1 + first


def never_stops(scores, patience):
    return scores.index(max(scores)) + 1, len(scores)


def needs_the_stop(scores, patience):
    best, last = stop(scores, patience)
    return best, last if last - best >= patience else None


WRONG = {
    "cross_entropy": [
        (naive, "shift each row first"),
        (shifts_by_the_batch, "shift each row first"),
        (clamps, "not for large ones"),
        (lambda logits, labels: library(logits, labels, "none"), "take their mean"),
        (lambda logits, labels: library(logits, labels, "sum"), "divide by their number"),
        (lambda logits, labels: -library(logits, labels), "sign is wrong"),
        (lambda logits, labels: library(logits, labels) / math.log(2), "in bits"),
        (lambda logits, labels: -logits.log_softmax(dim=1).mean(), "average over all classes"),
        (lambda logits, labels: -logits.log_softmax(dim=0)[torch.arange(len(labels)), labels].mean(), "dim=1"),
        (lambda logits, labels: library(logits.softmax(dim=1), labels), "for the example"),
    ],
    "train_on": [
        (without_zero_grad, "zero_grad() in every turn"),
        (zeroed_too_early, "have not moved"),
        (keeps_tensors, "loss.item()"),
        (returns_in_the_loop, "it should return 2 losses"),
        (steps_once_at_the_end, "one plain step a batch"),
        (steps_before_backward, "only the first batch"),
    ],
    "stop_early": [
        (lambda scores, patience: stop(scores, patience, first=0), "count from 0"),
        (lambda scores, patience: stop(scores, patience, previous=True), "no new best"),
        (lambda scores, patience: stop(scores, patience, extra=1), "one more"),
        (never_stops, "no new best"),
        (lambda scores, patience: stop(scores, patience, ties=True), "equal score"),
        (lambda scores, patience: stop(scores, patience, in_a_row=False), "in a row"),
        (needs_the_stop, "scores run out"),
    ],
}
