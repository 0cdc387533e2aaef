"""Lesson 4: batches, optimizer, schedule."""

import pytest
import torch
from datasets import Dataset

from course_utils.architecture import body_parts, freeze_below
from course_utils.models import load_classifier
from course_utils.pipeline import LengthBuckets, collate, decay_groups, make_loader, make_optimizer, make_scheduler

ROWS = [{"input_ids": [5, 6, 7], "label": 1}, {"input_ids": [8], "label": 0}]


def test_collate_pads_on_the_right_to_the_longest():
    batch = collate(ROWS, pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [1, 0]


def test_leaving_out_the_mask_changes_nothing():
    model = load_classifier(["a", "b"]).eval()
    ids = collate(ROWS, model.config.pad_token_id)["input_ids"]
    with torch.no_grad():
        without = model(input_ids=ids).logits
        with_mask = model(input_ids=ids, attention_mask=(ids != model.config.pad_token_id).long()).logits
    torch.testing.assert_close(without, with_mask, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("rows", "size"), [(100, 7), (5, 8), (64, 16), (1, 1)])
def test_buckets_give_every_row_once(rows, size):
    buckets = LengthBuckets([i % 13 for i in range(rows)], size)
    batches = list(buckets)
    assert sorted(i for batch in batches for i in batch) == list(range(rows))
    assert len(batches) == len(buckets)
    assert all(len(batch) <= size for batch in batches)


def test_buckets_repeat_with_the_seed_and_differ_by_epoch():
    lengths = [(7 * i) % 50 for i in range(200)]
    one, two = LengthBuckets(lengths, 8, seed=3), LengthBuckets(lengths, 8, seed=3)
    assert list(one) == list(two)
    two.set_epoch(1)
    assert list(one) != list(two)


def test_buckets_waste_less_padding_than_random_batches(splits, tokenizer):
    lengths = [len(ids) for ids in tokenizer(splits["train"]["text"].tolist()).input_ids]

    def padding(batches):
        return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in batches)

    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0)).tolist()
    random = [order[i : i + 16] for i in range(0, len(order), 16)]
    assert padding(LengthBuckets(lengths, 16)) < 0.3 * padding(random)


def test_loader_serves_batches_of_the_data_set(few):
    loader = make_loader(few["train"], 5, pad_id=1)
    assert sum(len(batch["labels"]) for batch in loader) == len(few["train"])


def test_an_empty_data_set_or_batch_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        make_loader(Dataset.from_dict({"input_ids": [], "label": []}), 4, 0)
    with pytest.raises(ValueError, match="at least one row"):
        make_loader(Dataset.from_list(ROWS), 0, 0)


def test_matrices_decay_and_biases_and_norms_do_not():
    model = load_classifier(["a", "b"])
    decaying, resting = decay_groups(model, 0.1)
    assert (decaying["weight_decay"], resting["weight_decay"]) == (0.1, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("bias" in names[id(p)] or "ln_" in names[id(p)] for p in resting["params"])
    assert not any("bias" in names[id(p)] or "ln_" in names[id(p)] for p in decaying["params"])
    assert len(decaying["params"]) + len(resting["params"]) == len(names)


def test_the_optimizer_leaves_frozen_parameters_out():
    model = freeze_below(load_classifier(["a", "b"]), 6)
    optimizer = make_optimizer(model, 1e-3)
    assert [p.shape for group in optimizer.param_groups for p in group["params"]] == [(2, 256)]


def test_layer_decay_gives_lower_layers_lower_rates():
    model = load_classifier(["a", "b"])
    groups = make_optimizer(model, 1e-2, layer_decay=0.5).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    parts = body_parts(model)
    depths = [[parts.head, parts.norm], *([block] for block in reversed(parts.blocks)), parts.embeddings]
    assert len(depths) == 8
    for depth, modules in enumerate(depths):
        own = {rates[id(p)] for module in modules for p in module.parameters()}
        assert list(own) == [pytest.approx(1e-2 * 0.5**depth)]
    plain = {id(p): g["weight_decay"] for g in make_optimizer(model, 1e-2).param_groups for p in g["params"]}
    assert plain == {id(p): group["weight_decay"] for group in groups for p in group["params"]}


@pytest.mark.parametrize("rate", [0, -1e-3, float("nan")])
def test_an_impossible_learning_rate_is_refused(rate):
    with pytest.raises(ValueError, match="above 0"):
        make_optimizer(load_classifier(["a", "b"]), rate)


def test_a_model_frozen_whole_is_refused():
    with pytest.raises(ValueError, match="Every parameter is frozen"):
        make_optimizer(load_classifier(["a", "b"]).requires_grad_(False), 1e-3)


@pytest.mark.parametrize(
    ("kind", "middle", "end"), [("linear", 50 / 90, 0.0), ("cosine", 0.587, 0.0), ("constant", 1.0, 1.0)]
)
def test_schedules_warm_up_and_then_follow_their_kind(kind, middle, end):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = make_scheduler(optimizer, steps=100, warmup_share=0.1, kind=kind)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == 0
    assert rates[5] == pytest.approx(0.5)
    assert rates[10] == pytest.approx(1)
    assert rates[50] == pytest.approx(middle, abs=2e-3)
    assert rates[100] == pytest.approx(end, abs=1e-6)


def test_an_unknown_schedule_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match="linear, cosine, constant"):
        make_scheduler(optimizer, 10, kind="spiral")
    with pytest.raises(ValueError, match="share of all steps"):
        make_scheduler(optimizer, 10, warmup_share=5)
