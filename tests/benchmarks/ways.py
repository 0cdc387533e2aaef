"""One training, in a process of its own: `python tests/benchmarks/ways.py WAY MODEL ROWS BATCH SEED` prints JSON.

Four ways to do the same job: one epoch over the same tickets with the same weights, learning rate and linear schedule.

    course         course_utils.training.fine_tune
    trainer        transformers.Trainer as people use it: defaults, and batches padded by DataCollatorWithPadding
    trainer_tuned  Trainer at its best: grouped lengths, fused AdamW, no cache, bf16 where that is faster
    textbook_loop  a plain loop: batches in random order, all padded to the longest ticket, AdamW, linear schedule
"""

import json
import math
import sys
import tempfile
import time

import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    GPT2Config,
    GPT2ForSequenceClassification,
    Trainer,
    TrainingArguments,
    get_scheduler,
    set_seed,
)

from course_utils.architecture import body_parts
from course_utils.data import QUEUES, load_ticket_splits, tokenize
from course_utils.devices import bf16_pays
from course_utils.evaluation import evaluate
from course_utils.history import FineTuneSettings
from course_utils.models import finish_model, load_classifier, load_tokenizer, locate_model
from course_utils.training import fine_tune

RATES = {"smollm2": 1e-4, "gpt2-shape": 1e-4}  # others: 1e-3


def load_data(tokenizer, rows: int):
    """Training tickets in a random order, the first `rows`, over and over if there are fewer; the validation split."""
    data = tokenize(load_ticket_splits(), tokenizer)
    train = data["train"].shuffle(seed=0)
    return train.select([i % len(train) for i in range(rows)]), data["validation"]


def build_ours(model: str):
    """The course's classifier. "gpt2-shape" is GPT-2's shape of 124 million weights, random ones."""
    if model != "gpt2-shape":
        return load_classifier(QUEUES, model)
    torch.manual_seed(0)
    options = {name: 0.0 for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    config = GPT2Config(num_labels=len(QUEUES), activation_function="gelu_pytorch_tanh", use_cache=False, **options)
    config.id2label = dict(enumerate(QUEUES))
    config.label2id = {label: i for i, label in config.id2label.items()}
    config.pooling = "last"
    return finish_model(GPT2ForSequenceClassification(config), load_tokenizer("gpt2-mini")).train()


def build_plain(model: str):
    """transformers' classifier with the same weights, head included, as a book would load it."""
    ours = build_ours(model)
    if model == "gpt2-shape":
        ours.set_attn_implementation("sdpa")
        ours.config.use_cache = True
        return ours
    names = {"id2label": ours.config.id2label, "label2id": ours.config.label2id}
    plain = AutoModelForSequenceClassification.from_pretrained(locate_model(model), dtype=torch.float32, **names)
    if plain.get_input_embeddings().num_embeddings != ours.get_input_embeddings().num_embeddings:
        plain.resize_token_embeddings(ours.get_input_embeddings().num_embeddings, mean_resizing=False)
    plain.config.pad_token_id = ours.config.pad_token_id
    plain.load_state_dict(ours.state_dict())
    return plain.train()


def train_course(model: str, train, tokenizer, batch: int, seed: int):
    network = build_ours(model)
    rate = RATES.get(model, 1e-3)
    settings = FineTuneSettings(rate, epochs=1, batch_size=batch, warmup_share=0, patience=None, seed=seed)
    start = time.perf_counter()
    few = train.select(range(8))  # a validation costs next to nothing here: what is measured is training
    fine_tune(network, train, few, settings)
    return network, time.perf_counter() - start


def train_trainer(model: str, train, tokenizer, batch: int, seed: int, **options):
    network = build_plain(model)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=batch, learning_rate=RATES.get(model, 1e-3),
            report_to="none", disable_tqdm=True, save_strategy="no", logging_strategy="no", use_cpu=True, seed=seed,
            **options,
        )  # fmt: skip
        rows = train.remove_columns([name for name in train.column_names if name not in ("input_ids", "label")])
        collator = DataCollatorWithPadding(tokenizer)
        trainer = Trainer(network, arguments, train_dataset=rows, data_collator=collator)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    return network, seconds


def train_trainer_tuned(model: str, train, tokenizer, batch: int, seed: int):
    options = {"train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused"}
    return train_trainer(model, train, tokenizer, batch, seed, bf16=bf16_pays(), weight_decay=0.01, **options)


def train_textbook_loop(model: str, train, tokenizer, batch: int, seed: int):
    network = build_plain(model)
    set_seed(seed)
    padded = tokenizer.pad({"input_ids": train["input_ids"]}, return_tensors="pt")
    labels, order = torch.tensor(train["label"]), torch.randperm(len(train))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATES.get(model, 1e-3))
    schedule = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=math.ceil(len(order) / batch))
    start = time.perf_counter()
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        output = network(input_ids=padded["input_ids"][rows], attention_mask=padded["attention_mask"][rows])
        loss = F.cross_entropy(output.logits, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network, time.perf_counter() - start


WAYS = {
    "course": train_course,
    "trainer": train_trainer,
    "trainer_tuned": train_trainer_tuned,
    "textbook_loop": train_textbook_loop,
}


def count_matrices(network) -> int:
    """Parameters in the matrices that every token is multiplied with: those of the blocks."""
    return sum(p.numel() for p in body_parts(network).blocks.parameters() if p.ndim == 2)


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource  # Windows has no such module

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux KiB


def measure(way: str, model: str, rows: int, batch: int, seed: int) -> dict:
    """Train once; seconds, peak memory of this process in MiB, macro-F1 on the validation split, real tokens."""
    tokenizer = load_tokenizer("gpt2-mini" if model == "gpt2-shape" else model)
    train, validation = load_data(tokenizer, rows)
    network, seconds = WAYS[way](model, train, tokenizer, batch, seed)
    peak = peak_memory() / 2**20
    network.config.use_cache = False
    scored = validation if model == "gpt2-mini" else validation.select(range(64))
    return {
        "seconds": seconds, "peak_mib": round(peak), "rows": rows, "tokens": sum(map(len, train["input_ids"])),
        "matrices": count_matrices(network), "macro_f1": evaluate(network, scored).macro_f1,
    }  # fmt: skip


if __name__ == "__main__":
    way, model, *numbers = sys.argv[1:]
    print(json.dumps(measure(way, model, *map(int, numbers))))
