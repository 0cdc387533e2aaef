"""Five messages that the network of a lab labels again and again while it learns."""

import numpy as np
from torch.nn import functional as F

from course_utils.evaluation import predict_logits

# Messages of lesson 5, each with the queue that it belongs to. They are in no split.
MESSAGES = {
    "I was charged twice for the same lamp.": "billing",
    "Where is my parcel? It was due on Monday.": "delivery",
    "How do I send back a jumper that is too small?": "returns",
    "I cannot sign in to my account.": "account",
    "Does the lamp come in green?": "product",
}


class Tickets:
    """Messages with their queues, and what a network makes of them.

    `labels` are all queues, in the order of the network's classes; `rows` holds for each message its text and its
    queue; `probabilities` has the shape (messages, queues), and is None until a network has been asked.
    """

    def __init__(self, tokenizer, labels, messages: dict[str, str] = MESSAGES):
        self.labels, self.rows = list(labels), list(messages.items())
        self.ids = [tokenizer(text).input_ids for text in messages]
        self.probabilities: np.ndarray | None = None

    def ask(self, model) -> None:
        """Let a network label the messages: one small batch, with dropout off, which draws no random number."""
        self.probabilities = F.softmax(predict_logits(model, self.ids).double(), dim=-1).numpy()

    def forget(self) -> None:
        """Show no bars until a network has been asked again."""
        self.probabilities = None

    def words(self) -> str:
        """The bars in a sentence: how sure the network is of the right queue of each message."""
        if self.probabilities is None:
            return ""
        own = [row[self.labels.index(queue)] for row, (_, queue) in zip(self.probabilities, self.rows, strict=True)]
        right = sum(value == row.max() for value, row in zip(own, self.probabilities, strict=True))
        each = ", ".join(f"{queue} ≈ {value:.2f}" for value, (_, queue) in zip(own, self.rows, strict=True))
        return f" Of the five messages ≈ {right} are in the right queue; probability of the right one: {each}."
