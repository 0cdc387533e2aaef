"""What all tests share: no network, few threads, small real inputs."""

import os

# Before anything imports torch or the hub's client; the kernels of the notebook tests inherit all of it.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores: more threads would only wait
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HTTP_PROXY"] = os.environ["HTTPS_PROXY"] = "http://127.0.0.1:9"  # a port where nothing answers

import pandas as pd
import pytest

from course_utils.data import QUEUES, clean, read_examples, split_examples, take_per_label, tokenize
from course_utils.models import load_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="session")
def raw() -> pd.DataFrame:
    return read_examples(label="queue")


@pytest.fixture(scope="session")
def cleaned(raw):
    return clean(raw, QUEUES)


@pytest.fixture(scope="session")
def splits(cleaned) -> dict[str, pd.DataFrame]:
    return split_examples(cleaned[0])


@pytest.fixture(scope="session")
def few(splits, tokenizer):
    """Four tickets of each queue for training and for validation: enough to run every code path in a second."""
    return tokenize({name: take_per_label(table, 4) for name, table in splits.items()}, tokenizer)
