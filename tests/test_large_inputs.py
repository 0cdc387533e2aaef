"""Many rows: read, cleaned, compared and tokenized in little memory (docs/large_files.md: up to a million rows)."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from course_utils import duplicates
from course_utils.cli import prepare
from course_utils.data import count_tokens
from course_utils.pipeline import make_loader

PEAK = Path("/proc/self/clear_refs")  # Linux: writing a 5 there sets the peak of this process back to what it has now
ROWS = 10_000


@pytest.fixture
def many(splits, tmp_path) -> Path:
    """A file of ROWS rows of the tickets' words, every tenth a near duplicate of the row before it."""
    words = np.array(" ".join(splits["train"]["text"]).split())
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 15)) for _ in range(ROWS)]
    for i in range(9, ROWS, 10):
        texts[i] = texts[i - 1] + " thanks"
    labels = np.array(["a", "b", "c", "d"])[np.arange(ROWS) // 2 % 4]
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "many.csv", index=False)
    return tmp_path / "many.csv"


@pytest.mark.skipif(not PEAK.exists(), reason="only Linux can set the peak of a process back")
def test_ten_thousand_rows_take_little_memory_and_stay_on_the_disk(many, tokenizer, monkeypatch):
    monkeypatch.setattr(duplicates, "EXACT", 1000)
    monkeypatch.setattr(prepare, "LARGE", 1000)
    columns = {"text_column": "text", "label_column": "label", "encoding": "utf-8", "labels": None}
    options = Namespace(data=str(many), validation=None, test=None, seed=0, **columns)
    PEAK.write_text("5")
    before = psutil.Process().memory_info().rss
    tables, _ = prepare.read_splits(options)
    data, _ = prepare.tokenize_splits(tables, tokenizer, 128)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 - before
    assert peak < 150e6
    assert sum(map(len, data.values())) == ROWS
    assert all(rows.cache_files for rows in data.values())
    # Near duplicates stayed together: the row before one that ends with thanks is in the same split.
    for table in tables.values():
        thanked = table.index[table["text"].str.endswith(" thanks") & (table.index % 10 == 9)]
        assert set(thanked - 1) <= set(table.index)
    batch = next(iter(make_loader(data["train"], 16, tokenizer.pad_token_id)))
    assert len(batch["labels"]) == 16 and count_tokens(data["train"]).min() > 0
