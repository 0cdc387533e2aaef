"""Every choice of a run, and what a checkpoint must agree with before the run goes on."""

import argparse
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class PretrainSettings:
    """Every choice of a pre-training run. The model card of `data/gpt2-mini` names the ones that made it.

    `mix` gives each source its share of the batches (None: in proportion to its tokens). One step sees
    `batch_size * context` tokens. The learning rate warms up over `warmup_steps`, holds, and falls linearly to
    zero over the last `decay_share` of `steps`: as long as the fall has not begun, `steps` may be changed when a
    run is resumed (Hu et al. 2024, MiniCPM, arXiv:2404.06395, call this warm-up, stable, decay). With `bf16`, matrix
    products are computed in bfloat16, which only some machines do faster.

    With `start`, the name or folder of a saved GPT, training goes on from its weights with its tokenizer and its
    architecture; vocabulary, width, layers and heads are then not looked at. Take another `seed` than it had, or it
    reads the same batches again.
    """

    vocabulary: int = 8192
    context: int = 128
    width: int = 256
    layers: int = 6
    heads: int = 4
    steps: int = 3_600
    batch_size: int = 32
    learning_rate: float = 2e-3
    muon_weight_decay: float = 0.1
    warmup_steps: int = 100
    decay_share: float = 0.3
    clip: float = 1.0
    seed: int = 0
    bf16: bool = False
    mix: dict[str, float] | None = None
    start: str | None = None


@dataclass(frozen=True)
class DistilSettings:
    """Every choice of the second stage, in which a GPT learns the vectors that a sentence encoder gives to texts.

    start               the GPT to begin with, a name or folder
    pooling, block      a text's vector is the "mean" of its tokens' states, or the "last" one's, after `block` blocks
                        (None: after the last block and the final norm)
    hidden              units between those states and the teacher's dimensions; 0: one matrix. Thrown away at the end
    cosine_weight       weight of 1 - cosine between student's and teacher's vector (Reimers and Gurevych 2020, Making
                        Monolingual Sentence Embeddings Multilingual using Knowledge Distillation, arXiv:2004.09813)
    similarity_weight   weight of the divergence between the two's similarities inside a batch, made distributions at
    temperature         this temperature (Fang et al. 2021, SEED, arXiv:2101.04731)
    language_weight     weight of the language model's loss, in nats a token, as DistilBERT keeps it (Sanh et al. 2019,
                        arXiv:1910.01108)
    windows             windows of running text a step, as long as the model's context, for the language model alone:
                        texts are shorter, and without these the model would forget what to do far from the start
    batch_size          texts a step
    learning_rate       AdamW's, at its highest; it warms up, holds and falls as in the first stage
    projection_rate     times that: the rate of what is thrown away, which starts at random
    """

    start: str = "gpt2-mini"
    pooling: str = "mean"
    block: int | None = None
    hidden: int = 0
    cosine_weight: float = 2.0
    similarity_weight: float = 1.0
    temperature: float = 0.05
    language_weight: float = 0.3
    windows: int = 4
    steps: int = 20_000
    batch_size: int = 80
    learning_rate: float = 1.5e-3
    projection_rate: float = 2.0
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay_share: float = 0.5
    clip: float = 1.0
    seed: int = 0
    bf16: bool = False
    mix: dict[str, float] | None = None

    def __post_init__(self):
        if self.pooling not in ("mean", "last"):
            raise ValueError(f"pooling is 'mean' or 'last', not {self.pooling!r}.")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} counts from 1 up, got {getattr(self, name)}.")


def scheduled_rate(step: int, settings) -> float:
    """The learning rate of one step: warm up, hold, fall to zero."""
    warmup = (step + 1) / max(1, settings.warmup_steps)
    decay = (settings.steps - step) / max(1, settings.decay_share * settings.steps)
    return settings.learning_rate * min(1.0, warmup, decay)


def check_mix(mix: dict[str, float], sources: list[str]) -> None:
    """Raise ValueError for a mix that names a source the corpus lacks, or gives no source a share above 0."""
    unknown = sorted(set(mix) - set(sources))
    if unknown:
        raise ValueError(f"The mix names {unknown[0]!r}, but the corpus has only {', '.join(sorted(sources))}.")
    if min(mix.values(), default=0) < 0 or not sum(mix.values()) > 0:
        raise ValueError(f"The shares of a mix are at least 0, and one is above 0; {mix} are not.")


def check_resumed(saved: dict, settings, step: int) -> None:
    """Raise ValueError unless a run that was begun with the settings `saved` may go on after `step` with `settings`.

    All must be the same, but `steps` may differ when the learning rate had not begun to fall, and does not begin to
    fall earlier than here.
    """
    wanted = asdict(settings)
    different = sorted(name for name in saved.keys() | wanted.keys() if saved.get(name) != wanted.get(name))
    falls_later = all(step <= s["steps"] * (1 - s["decay_share"]) for s in (saved, wanted) if "steps" in s)
    if different and not (different == ["steps"] and falls_later):
        name = different[0]
        reason = ", and its learning rate falls already" if different == ["steps"] else ""
        raise ValueError(
            f"The checkpoint was made with {name}={saved.get(name)}, not {wanted.get(name)}{reason}: give the settings "
            "it was made with, or another --work folder to start anew."
        )


def parse_mix(text: str) -> dict[str, float]:
    """Read "wikipedia=0.4,dialogues=0.2" into a dict."""
    try:
        return {name: float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no mix: write NAME=SHARE,NAME=SHARE") from None


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """Give a command line an option for each field of a settings class."""
    parsers = {"mix": parse_mix, "start": str, "block": int}  # those whose default does not tell
    for field in fields(kind):
        option = f"--{field.name.replace('_', '-')}"
        if field.type is bool:
            parser.add_argument(option, action="store_true")
        else:
            parse = parsers.get(field.name, type(field.default))
            parser.add_argument(option, type=parse, default=field.default, help=f"default: {field.default}")


def read_options(kind: type, options: dict):
    """Make the settings out of parsed options."""
    return kind(**{field.name: options[field.name] for field in fields(kind)})
