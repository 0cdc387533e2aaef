"""Play of lesson 11: type a message, and see how sure the classifier is of each label.

lab = message_lab(model, tokenizer)
lab                                          # in the last line of a cell: the widgets
lab.set(message="Please mend the gate.")     # the same by code
lab.figure()                                 # a static picture of what it shows
"""

import html

import ipywidgets as widgets
from matplotlib.figure import Figure
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_utils.architecture import context_length
from course_utils.data import MAX_TOKENS, clean_text
from course_utils.evaluation import predict_logits
from course_utils.labs.play import Play, text_field
from course_utils.plots.style import FILLS, HATCHES, plain

SHOWN = 12  # labels that have a bar; of more, the likeliest


def message_lab(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, message: str = "", max_tokens: int = MAX_TOKENS
) -> "MessageLab":
    """Make the widget for any classifier of the course; `message` is what stands in the field at first."""
    return MessageLab(model, tokenizer, message, max_tokens)


class MessageLab(Play):
    """Type a message; a bar for each label moves with every letter. What is typed is cleaned and cut as in training."""

    title = "Message lab"
    inches = (7.0, 3.0)

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, message: str, max_tokens: int):
        self.model, self.tokenizer = model, tokenizer
        self.limit = min(max_tokens, context_length(model))
        self.bars = widgets.HTML()
        field = text_field("message", message)
        field.continuous_update = True  # bars that move while one types show which word moves them
        super().__init__({"message": field}, below=[self.bars])
        self.chart.layout.display = "none"  # bars of text and boxes: quickly drawn, and a screen reader can read them

    def probabilities(self) -> dict[str, float]:
        """The probability of every label, likeliest first; none for a message with nothing in it."""
        text = clean_text(self.controls["message"].value)
        if not text:
            return {}
        ids = self.tokenizer(text, truncation=True, max_length=self.limit, split_special_tokens=True).input_ids
        values = F.softmax(predict_logits(self.model, [ids])[0].double(), dim=-1).tolist()
        found = {self.model.config.id2label[i]: value for i, value in enumerate(values)}
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def bars_shown(self) -> dict[str, float]:
        """The labels that have a bar, in an order that does not change while one types, unless there are many."""
        found = self.probabilities()
        chosen = list(found)[:SHOWN]
        return {label: found[label] for label in self.model.config.id2label.values() if label in chosen}

    def refresh(self) -> None:
        """Write the bars and the words anew."""
        rows = "".join(write_bar(label, value) for label, value in self.bars_shown().items())
        self.bars.value = f'<table style="width: 640px">{rows}</table>'
        self.say(self.words())

    def words(self) -> str:
        """The likeliest label, and the others that it might well be."""
        found = list(self.probabilities().items())
        if not found:
            return "There is no message yet: type something."
        others = [f"{label!r} ≈ {value:.2f}" for label, value in found[1:3] if value >= 0.05]
        then = f", then come {' and '.join(others)}" if others else ", and nothing else comes near"
        return f"the likeliest label is {found[0][0]!r} with ≈ {found[0][1]:.2f}{then}."

    def draw(self, figure: Figure) -> None:
        """Draw the bars as a picture."""
        figure.clear()
        found, axes = self.bars_shown(), figure.subplots()
        bars = axes.barh(list(map(plain, found)), found.values(), color=FILLS[0], hatch=HATCHES[1], edgecolor="black")
        axes.bar_label(bars, fmt="{:.2f}", padding=3)
        axes.invert_yaxis()
        text = " ".join(self.controls["message"].value.split())
        axes.set(xlim=(0, 1.1), xlabel="probability", title=plain(text if len(text) <= 60 else text[:59] + "…"))

    def figure(self) -> Figure:
        """The bars as a static figure, with their words. Raises ValueError while there is no message."""
        if not self.probabilities():
            raise ValueError("There is no message yet: set one first, for example lab.set(message='Where is it?').")
        return super().figure()


def write_bar(label: str, value: float) -> str:
    """Write one row as HTML: label, bar, number. The bar is decoration; label and number say it all."""
    box = f"width: {100 * value:.1f}%; background: {FILLS[0]}; border: 1px solid #444; height: 1.1em"
    return (
        f'<tr><th scope="row" style="text-align: left; width: 30%; overflow-wrap: anywhere">{html.escape(label)}</th>'
        f'<td><div aria-hidden="true" style="{box}"></div></td><td style="width: 3em">{value:.2f}</td></tr>'
    )
