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


def without_keepdim(logits, labels, largest=False, total=False):
    shifted = logits - logits.max(dim=1, keepdim=largest).values
    return -(shifted - shifted.exp().sum(dim=1, keepdim=total).log())[torch.arange(len(labels)), labels].mean()


def logarithm_of_a_quotient(logits, labels, added=0.0):
    powers = (logits - logits.max(dim=1, keepdim=True).values).exp()
    probabilities = powers / powers.sum(dim=1, keepdim=True)
    return -(probabilities[torch.arange(len(labels)), labels] + added).log().mean()


def forgets_to_return(logits, labels):
    naive(logits, labels)


def uses_the_library(logits, labels):
    return F.cross_entropy(logits, labels)


def cross_entropy(logits, labels):
    """Call PyTorch's function in one that has its name, as the exercise's has."""
    return F.cross_entropy(logits, labels)


def uses_a_module(logits, labels):
    return torch.nn.CrossEntropyLoss()(logits, labels)


def uses_two_modules(logits, labels):
    return torch.nn.NLLLoss()(torch.nn.LogSoftmax(dim=1)(logits), labels)


def uses_logsumexp(logits, labels):
    return (logits.logsumexp(dim=1) - logits[torch.arange(len(labels)), labels]).mean()


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


def returns_nothing(model, batches, optimizer):
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def returns_the_sum(model, batches, optimizer):
    return sum(plain_step(model, x, y, optimizer) for x, y in batches)


def plain_step(model, x, y, optimizer):
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def losses_after_the_step(model, batches, optimizer):
    losses = []
    for x, y in batches:
        plain_step(model, x, y, optimizer)
        losses.append(F.cross_entropy(model(x), y).item())
    return losses


def no_backward(model, batches, optimizer):
    losses = []
    for x, y in batches:
        losses.append(F.cross_entropy(model(x), y).item())
        optimizer.step()
        optimizer.zero_grad()
    return losses


def steps_twice(model, batches, optimizer):
    for x, y in batches:
        plain_step(model, x, y, optimizer)
    return [plain_step(model, x, y, optimizer) for x, y in batches]


def steps_after_the_loop(model, batches, optimizer):
    losses = []
    for x, y in batches:
        optimizer.zero_grad()
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


def stop(scores, patience, first=1, ties=False, extra=0, previous=False, in_a_row=True, from_first=False):
    best, waited = 0, 0
    for i, score in enumerate(scores):
        if i and (score > scores[best] or (ties and score == scores[best])):
            best, waited = i, 0 if in_a_row else waited
        elif i or from_first:
            waited = 0 if previous and score > scores[i - 1] else waited + 1
        if waited >= patience + extra:
            return best + first, i + first
    return best + first, len(scores) - 1 + first


def begins_with_zero(scores, patience):
    best, best_epoch = 0, 0
    for epoch, score in enumerate(scores, start=1):
        if score > best:
            best, best_epoch = score, epoch
        elif epoch - best_epoch >= patience:
            return best_epoch, epoch
    return best_epoch, len(scores)


def never_stops(scores, patience):
    return scores.index(max(scores)) + 1, len(scores)


def best_of_all(scores, patience):
    return scores.index(max(scores)) + 1, stop(scores, patience)[1]


def right_best_no_stop(scores, patience):
    return stop(scores, patience)[0], len(scores)


def lower_is_better(scores, patience):
    return stop([-score for score in scores], patience)


def needs_the_stop(scores, patience, missing=0):
    best, last = stop(scores, patience)
    return best, last if last - best >= patience else missing


WRONG = {
    "cross_entropy": [
        (logarithm_of_a_quotient, "take no logarithm of a quotient"),
        (forgets_to_return, "returned nothing"),
        (uses_the_library, "made by cross_entropy"),
        (cross_entropy, "made by cross_entropy"),
        (F.cross_entropy, "made by cross_entropy"),
        (torch.nn.CrossEntropyLoss(), "made by CrossEntropyLoss"),
        (uses_a_module, "made by CrossEntropyLoss"),
        (uses_two_modules, "made by NLLLoss, LogSoftmax"),
        (uses_logsumexp, "made by logsumexp"),
        (lambda logits, labels: "0.9", "returned a str"),
        (lambda logits, labels: -logits.log_softmax(1)[:, labels].mean(), "torch.arange"),
        (lambda logits, labels: -logits.softmax(1)[torch.arange(len(labels)), labels].mean(), "logarithm"),
        (lambda logits, labels: logits.softmax(1)[torch.arange(len(labels)), labels].mean(), "mean probability"),
        (lambda logits, labels: -logits[torch.arange(len(labels)), labels].mean(), "you return logits"),
        (naive, "shift each row first"),
        (shifts_by_the_batch, "shift each row first"),
        (clamps, "not for large ones"),
        (lambda logits, labels: logarithm_of_a_quotient(logits, labels, 1e-9), "added inside the logarithm"),
        (without_keepdim, "keepdim=True"),
        (lambda logits, labels: without_keepdim(logits, labels, total=True), "keepdim=True"),
        (lambda logits, labels: without_keepdim(logits, labels, largest=True), "keepdim=True"),
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
        (lambda *given: list(torch.tensor([plain_step(given[0], *b, given[2]) for b in given[1]])), "unless detached"),
        (returns_in_the_loop, "it should return 2 losses"),
        (steps_once_at_the_end, "steps once, at the end"),
        (steps_after_the_loop, "only the last batch"),
        (returns_nothing, "returned nothing"),
        (returns_the_sum, "a list with a loss for each batch, not a float"),
        (losses_after_the_step, "the losses before each step"),
        (no_backward, "have not moved"),
        (steps_twice, "one plain step a batch"),
        (steps_before_backward, "only the first batch"),
    ],
    "stop_early": [
        (lambda scores, patience: stop(scores, patience, first=0), "count from 0"),
        (lambda scores, patience: stop(scores, patience, previous=True), "better than the epoch before"),
        (lambda scores, patience: stop(scores, patience, extra=1), "one more"),
        (begins_with_zero, "begin with the first score"),
        (never_stops, "whatever the patience"),
        (best_of_all, "never seen"),
        (right_best_no_stop, "where patience runs out"),
        (lower_is_better, "a higher score is better"),
        (lambda scores, patience: stop(scores, patience, extra=-1), "patience is 2"),
        (lambda scores, patience: (stop(scores, patience)[0] - 1, stop(scores, patience)[1]), "the best counts from 0"),
        (lambda scores, patience: stop(scores, patience)[::-1], "other way round"),
        (lambda scores, patience: (stop(scores, patience)[1],) * 2, "not the last one trained"),
        (lambda scores, patience: (max(scores[:4]), stop(scores, patience)[1]), "number of its epoch"),
        (lambda scores, patience: stop(scores, patience)[0], "returned an int, 2, for"),
        (lambda scores, patience: (5, 5), "not (5, 5)"),
        (lambda scores, patience: stop(scores, patience, ties=True), "equal score"),
        (lambda scores, patience: stop(scores, patience, from_first=True), "the first epoch is a best"),
        (lambda scores, patience: stop(scores, patience, in_a_row=False), "in a row"),
        (needs_the_stop, "scores run out"),
        (
            lambda scores, patience: needs_the_stop(scores, patience, None),
            "(3, None), for ([0.1, 0.2, 0.3], 1); wanted",
        ),
    ],
}
