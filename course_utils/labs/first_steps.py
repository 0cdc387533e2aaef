"""Play of lessons 1 to 3: type a text and see its tokens, ask for the next token, freeze a model block by block.

box = TokenizerBox(tokenizer)
box                                          # in the last line of a cell: the widgets
box.set(text="My parcel is late.")           # the same by code
box.figure()                                 # a static picture of what it shows
"""

import html

import ipywidgets as widgets
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_utils.architecture import body_parts, context_length, count_parameters, freeze_below
from course_utils.labs.controls import NAMED, WIDE, dropdown
from course_utils.labs.play import Play, text_field
from course_utils.plots.architecture import draw_trained_parts
from course_utils.plots.style import FILLS
from course_utils.plots.texts import draw_next_tokens, plot_tokens

SHOWN = 10  # bars of the likeliest tokens


class TokenizerBox(Play):
    """Type a text; see the tokens that a model gets, each with its id. Special tokens that are typed stay text."""

    title = "Tokenizer box"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str = "My neighbour's parcel was left in the rain."):
        self.tokenizer = tokenizer
        self.chips = widgets.HTML()
        super().__init__({"text": text_field("your text", text)}, below=[self.chips])
        self.chart.layout.display = "none"  # the chips are text, which a screen reader can read

    def ids(self) -> list[int]:
        """The ids of the text in the box."""
        return self.tokenizer(self.controls["text"].value, split_special_tokens=True).input_ids

    def refresh(self) -> None:
        """Write the chips anew."""
        names = self.tokenizer.convert_ids_to_tokens(self.ids())
        chips = (write_chip(name, i, FILLS[n % 4]) for n, (name, i) in enumerate(zip(names, self.ids(), strict=True)))
        self.chips.value = f'<div style="line-height: 3.2em">{"".join(chips)}</div>'
        self.say(self.words())

    def words(self) -> str:
        """How many tokens the text costs."""
        text, ids = self.controls["text"].value, self.ids()
        if not ids:
            return "An empty text has no tokens: type something."
        return f"{len(text)} characters, {len(ids)} tokens: {len(text) / len(ids):.1f} characters a token."

    def figure(self) -> Figure:
        """The chips as a static figure. Raises ValueError while the box is empty."""
        if not self.ids():
            raise ValueError("The box is empty: set a text first, for example box.set(text='Where is it?').")
        print(self.words())
        return plot_tokens(self.tokenizer.convert_ids_to_tokens(self.ids()), self.ids())


def write_chip(name: str, number: int, color: str) -> str:
    """Write one token as HTML: its name in a coloured box, its id below."""
    box = f"background: {color}; color: black; border: 1px solid #444; border-radius: 4px; padding: 1px 4px"
    return (
        '<span style="display: inline-block; text-align: center; line-height: 1.3em; margin: 1px; '
        f'font-family: monospace"><span style="{box}">{html.escape(name)}</span><br><small>{number}</small></span>'
    )


class NextTokenBox(Play):
    """Type a prompt, set temperature and top-k; see the likeliest next tokens, and let the model write on."""

    title = "Next-token box"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str = "I would like to"):
        self.model, self.tokenizer, self.written = model, tokenizer, 0
        temperature = widgets.FloatLogSlider(
            value=1.0, base=2, min=-3, max=2, step=0.25, readout_format=".2f", continuous_update=False,
            description="temperature", style=NAMED, layout=WIDE,
        )  # fmt: skip
        top_ks = [*((str(k), k) for k in (1, 3, 10, 50, 200)), ("all", len(tokenizer))]
        controls = {
            "prompt": text_field("prompt", prompt),
            "temperature": temperature,
            "top_k": dropdown("top-k", top_ks, len(tokenizer)),
        }
        self.button = widgets.Button(description="Write on", tooltip="draw 20 tokens, other ones at each press")
        self.button.on_click(lambda _: self.write_on())
        self.output = widgets.HTML()
        super().__init__(controls, below=[self.button, self.output])

    def prompt_ids(self) -> torch.Tensor:
        """The prompt as ids, shape (1, tokens): the last of them if it is long, the end of text if it is empty."""
        ids = self.tokenizer(self.controls["prompt"].value, split_special_tokens=True).input_ids
        return torch.tensor([ids or [self.tokenizer.eos_token_id]])[:, 20 - context_length(self.model) :]

    @torch.no_grad()
    def probabilities(self, ids: torch.Tensor) -> torch.Tensor:
        """What follows `ids` (1, tokens), with the temperature and top-k that are set: shape (vocabulary,), sum 1."""
        ids = ids[:, -context_length(self.model) :]
        logits = self.model(ids.to(self.model.device)).logits[0, -1].cpu() / self.controls["temperature"].value
        weakest_kept = logits.topk(min(self.controls["top_k"].value, len(logits))).values[-1]
        return logits.masked_fill(logits < weakest_kept, -torch.inf).softmax(dim=-1)

    def draw(self, figure: Figure) -> None:
        """Draw bars of the likeliest tokens."""
        figure.clear()
        probabilities = self.probabilities(self.prompt_ids())
        top = likeliest(probabilities)
        names = [self.tokenizer.decode(i) for i in top.indices]
        prompt = self.controls["prompt"].value
        shown = prompt if len(prompt) <= 50 else "..." + prompt[-47:]
        temperature, top_k = self.controls["temperature"].value, self.controls["top_k"].value
        title = f"Next token after {shown!r}\n(temperature {temperature:g}, top-k {top_k})"
        draw_next_tokens(figure.subplots(), names, top.values.tolist(), title)

    def words(self) -> str:
        """The likeliest token, and how many could be drawn."""
        probabilities = self.probabilities(self.prompt_ids())
        best = self.tokenizer.decode(probabilities.argmax())
        shown = likeliest(probabilities).values
        return (
            f"the likeliest next token is {best!r}, with a probability of ≈ {probabilities.max():.2f}; the "
            f"{len(shown)} bars hold ≈ {shown.sum():.0%} of it all."
        )

    def write_on(self, count: int = 20) -> str:
        """Draw `count` tokens after the prompt, show them and return them; each call draws others."""
        self.written += 1
        dice = torch.Generator().manual_seed(self.written)
        start = ids = self.prompt_ids()
        for _ in range(count):
            drawn = torch.multinomial(self.probabilities(ids), num_samples=1, generator=dice)
            ids = torch.cat([ids, drawn[None]], dim=1)
        text = self.tokenizer.decode(ids[0, start.shape[1] :])
        shown = f"<b>{html.escape(self.controls['prompt'].value)}</b>{html.escape(text)}"
        self.output.value = f'<div role="status" style="white-space: pre-wrap">{shown}</div>'
        return text


def likeliest(probabilities: torch.Tensor) -> torch.return_types.topk:
    """The likeliest tokens, at most `SHOWN`, without those that cannot be drawn."""
    return probabilities.topk(min(SHOWN, int((probabilities > 0).sum())))


class FreezeBox(Play):
    """Freeze a classifier from below, block by block, and see which parameters are left to train."""

    title = "Freeze box"

    def __init__(self, model: nn.Module):
        self.model, blocks = model, len(body_parts(model).blocks)
        slider = widgets.IntSlider(
            value=0, min=0, max=blocks, continuous_update=False, description="blocks frozen", style=NAMED, layout=WIDE
        )
        super().__init__({"blocks": slider})
        number = widgets.BoundedIntText(
            value=0, min=0, max=blocks, description="blocks frozen, as a number", layout={"width": "260px"},
            style={"description_width": "170px"},
        )  # fmt: skip
        widgets.link((slider, "value"), (number, "value"))
        self.view.children = [widgets.HBox([slider, number]), *self.view.children[1:]]

    def parts(self) -> pd.DataFrame:
        """One row for each part, lowest first: its parameters, and whether it is trainable."""
        parts = body_parts(self.model)
        modules = {
            "embeddings": nn.ModuleList(parts.embeddings),
            **{f"block {i}": block for i, block in enumerate(parts.blocks)},
            "final norm": parts.norm,
            "head": parts.head,
        }
        counts = {name: count_parameters(module) for name, module in modules.items()}
        rows = {name: (total, trainable > 0) for name, (trainable, total) in counts.items()}
        return pd.DataFrame(rows, index=["parameters", "trainable"]).T.astype({"parameters": int, "trainable": bool})

    def draw(self, figure: Figure) -> None:
        """Freeze the model as the slider says, and draw its parts as a stack."""
        freeze_below(self.model, self.controls["blocks"].value)
        draw_trained_parts(figure, self.parts(), "What training may change")

    def words(self) -> str:
        """How many parameters are left."""
        trainable, total = count_parameters(self.model)
        return f"{trainable:,} of {total:,} parameters ({trainable / total:.2%}) are left to train."
