"""Settings that suit a model, and how long training will take: measured on its first steps, said before it starts."""

import time
from dataclasses import dataclass, replace

from datasets import Dataset

from course_utils.data import count_tokens
from course_utils.history import FineTuneSettings
from course_utils.pipeline import LengthBuckets, steps_in_epoch
from course_utils.training import train_and_validate

HEAD_ROWS = 2_000  # training rows at most that a logistic regression reads to give the head its first weights
TIMED_STEPS = 4  # the first of them warms up and is not counted
FORWARD_SHARE = 1 / 3  # of a training step; the way back costs about twice as much


@dataclass(frozen=True)
class Recipe:
    """Default settings of a model; `lora_rate` is the learning rate where only LoRA's matrices and the head learn."""

    learning_rate: float
    lora_rate: float
    epochs: int
    batch_size: int = 16
    pooling: str = "last"


# gpt2-mini was taught to put what a text means into the mean of its states: read there, it knows far more.
RECIPES = {
    "gpt2-mini": Recipe(1e-3, 3e-3, epochs=5, pooling="mean-block"),
    "smollm2": Recipe(1e-4, 1e-3, epochs=3),
}
OTHERS = Recipe(1e-4, 1e-3, epochs=3)  # GPTs of more than 100 million parameters


def choose_pooling(model: str) -> str:
    """What the head of this model had best read, by default: something that transformers can load without us."""
    return RECIPES.get(model, OTHERS).pooling


def choose_settings(model: str, lora: bool, chosen: dict) -> FineTuneSettings:
    """The settings of a run: those `chosen`, and the model's defaults where these are None."""
    recipe = RECIPES.get(model, OTHERS)
    rate = recipe.lora_rate if lora else recipe.learning_rate
    defaults = FineTuneSettings(learning_rate=rate, epochs=recipe.epochs, batch_size=recipe.batch_size)
    return replace(defaults, **{name: value for name, value in chosen.items() if value is not None})


def expected_seconds(model, train: Dataset, validation: Dataset, settings: FineTuneSettings, done: int = 0) -> float:
    """How long the steps after the first `done` will take at most, from the time of the first four.

    The model is left as it was. Steps are compared by the numbers of their tokens, padding included. Early stopping can
    only make a run shorter.
    """
    batches = padded_tokens(train, settings)
    group = settings.accumulate
    steps_per_epoch = steps_in_epoch(len(train), settings.batch_size, group)
    wanted = min(TIMED_STEPS, steps_per_epoch)
    loop = train_and_validate(model, train, validation, settings)
    marks = []
    for history in loop:
        marks.append(time.perf_counter())
        if len(history.loss) == wanted:
            break
    loop.close()  # before any validation: then the weights are those it began with
    first = 1 if wanted > 1 else 0
    tokens = sum(batches[first * group : wanted * group])
    per_token = (marks[-1] - marks[first]) / tokens
    epoch = per_token * sum(batches)
    validating = per_token * FORWARD_SHARE * count_tokens(validation).sum()
    remaining = max(0, (settings.steps or settings.epochs * steps_per_epoch) - done) / steps_per_epoch
    return remaining * (epoch + validating)


def padded_tokens(train: Dataset, settings: FineTuneSettings) -> list[int]:
    """How many tokens each batch of the first epoch has, padding included, in the order of training."""
    lengths = count_tokens(train)
    buckets = LengthBuckets(lengths, settings.batch_size, settings.seed)
    buckets.set_epoch(1)
    return [len(batch) * int(lengths[batch].max()) for batch in buckets]


def in_words(seconds: float) -> str:
    """A duration for people: "40 seconds", "3 minutes", "2.5 hours"."""
    if seconds < 90:
        count = max(1, round(seconds))
        return f"{count} second{'s' if count > 1 else ''}"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
