"""The student: a GPT whose pooled states, through a layer that is thrown away later, imitate a teacher's vectors."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from course_utils.architecture import body_parts
from course_utils.pretrain.settings import DistilSettings


class Student(nn.Module):
    """A language model with a projection of its pooled states to the teacher's `size` dimensions."""

    def __init__(self, model: PreTrainedModel, size: int, settings: DistilSettings):
        super().__init__()
        width, blocks = model.config.hidden_size, len(body_parts(model).blocks)
        if settings.block is not None and not 0 < settings.block <= blocks:
            raise ValueError(f"This model has {blocks} blocks, so block is from 1 to {blocks}, not {settings.block}.")
        self.model, self.settings = model, settings
        torch.manual_seed(settings.seed)
        if settings.hidden:
            layers = [nn.Linear(width, settings.hidden), nn.GELU(), nn.Linear(settings.hidden, size)]
            self.projection = nn.Sequential(*layers)
        else:
            self.projection = nn.Linear(width, size)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Read texts: ids (batch, length), padded on the right, and the token that follows each, -100 where none does.

        Returns the texts' vectors (batch, size), of length 1; the language model's mean loss in nats; of how many
        tokens.
        """
        output = self.model.base_model(ids, output_hidden_states=self.settings.block is not None)
        states = output.last_hidden_state
        read = states if self.settings.block is None else output.hidden_states[self.settings.block]
        real = targets != -100
        logits = body_parts(self.model).head(states[real])
        return (
            F.normalize(self.projection(self.pool(read.float(), real)).float(), dim=-1),
            F.cross_entropy(logits.float(), targets[real]),
            int(real.sum()),
        )

    def pool(self, states: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """One vector (batch, width) out of each text's states (batch, length, width)."""
        if self.settings.pooling == "last":
            return states[torch.arange(len(states)), real.sum(dim=1) - 1]
        mask = real.unsqueeze(-1)
        return (states * mask).sum(dim=1) / mask.sum(dim=1)


def pad_texts(rows: list[list[int]], tokenizer, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad token ids on the right: what the student reads, and the next token at each place, both (batch, length).

    After a text comes an end of text, which the student has to predict but never reads.
    """
    rows = [[*ids, tokenizer.eos_token_id] for ids in rows]
    inputs = [torch.tensor(ids[:-1][:context]) for ids in rows]
    targets = [torch.tensor(ids[1:][:context]) for ids in rows]
    return (
        nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=tokenizer.pad_token_id),
        nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=-100),
    )


def cosine_loss(vectors: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """1 - cosine, averaged over the batch; both (batch, size) of length 1."""
    return 1 - (vectors * wanted).sum(dim=-1).mean()


def similarity_loss(vectors: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """How far the student's similarities of each text to the batch's are from the teacher's own, in nats.

    The Kullback-Leibler divergence of the softmax of the cosines over `temperature`. Cosines alone ask for one vector;
    this asks for the right neighbours.
    """
    ours = F.log_softmax(vectors @ wanted.T / temperature, dim=-1)
    theirs = F.log_softmax(wanted @ wanted.T / temperature, dim=-1)
    return F.kl_div(ours, theirs, log_target=True, reduction="batchmean")


def total_loss(student: Student, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All losses of one step: {"loss", "cosine", "similarity", "language"}, scalars.

    The batch has `ids`, `targets`, the teacher's `vectors`, and `windows` (rows, context) for the language model alone.
    """
    settings = student.settings
    vectors, language, count = student(batch["ids"], batch["targets"])
    if len(batch["windows"]):
        rows = batch["windows"]
        running = student.model(input_ids=rows, labels=rows).loss
        extra = rows.size(0) * (rows.size(1) - 1)
        language = (language * count + running * extra) / (count + extra)
    cosine = cosine_loss(vectors, batch["vectors"])
    similarity = similarity_loss(vectors, batch["vectors"], settings.temperature)
    loss = (
        settings.cosine_weight * cosine + settings.similarity_weight * similarity + settings.language_weight * language
    )
    return {"loss": loss, "cosine": cosine, "similarity": similarity, "language": language}
