"""Lesson 11: what a run found out, as one web page and as a model card for the hub.

Both are written from the facts that `finetune` collects (report.json). Labels, texts and file names come from
strangers: Jinja2 escapes each of them in the page, `plain_markdown` in the card. The page needs nothing from anywhere:
its figures are part of it, and it forbids the browser to run scripts or to load anything.
"""

import base64
import html
import io
import re
from pathlib import Path

import matplotlib
from huggingface_hub import ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from course_utils.checkpoints import replace_safely
from course_utils.models import may_be_on_hub
from course_utils.plots.report import draw_confusion, draw_curves, draw_reliability, draw_scores

TEMPLATES = Path(__file__).with_name("templates")
MIXED_UP = 10  # rows in the table of commonest mix-ups
ON_THE_HUB = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct", "gpt2-mini": None}  # None: it is not there
# What is markup inside a line of Markdown, what only begins one, and what makes an address a link.
MARKDOWN = re.compile(r"([\\`*_\[\]|~@]|^[#+\-=]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
HIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def write_report(facts: dict, folder: Path) -> None:
    """Write report.html: one page with scores, figures, errors, data and a verdict, that opens without a network.

    `facts`: the content of report.json. Where it lacks something, that is an error, and nothing is written.
    """
    figures = {
        "scores": draw_scores(facts),
        "confusion": draw_confusion(facts["labels"], facts["test"]["confusion"]),
        "reliability": draw_reliability(facts["test"]["reliability"]),
        "curves": draw_curves(facts["history"]),
    }
    pictures = {name: {"source": as_data(figure), "words": words} for name, (figure, words) in figures.items()}
    page = templates(autoescape=True).get_template("report.html")
    text = page.render(facts, figures=pictures, mixed_up=commonest_mix_ups(facts["labels"], facts["test"]["confusion"]))
    write_whole(folder / "report.html", text)


def write_model_card(facts: dict, folder: Path) -> None:
    """Write README.md in the form of the hub's model cards: YAML in front, then sections. It quotes no text.

    The licence is left open: which one may be given depends on the texts and the base model, and the user knows them.
    """
    base = hub_name(facts["model"]["name"])
    front = ModelCardData(
        library_name="transformers", pipeline_tag="text-classification", metrics=["accuracy", "f1"], base_model=base
    ).to_yaml()
    card = templates(autoescape=False)
    card.filters["plain"] = plain_markdown
    write_whole(folder / "README.md", card.get_template("card.md").render(facts, front=front, base=base))


# --- what the templates use -------------------------------------------------------------------------------------


def templates(autoescape: bool) -> Environment:
    """The templates of this package, with filters for numbers; a name that the facts lack is an error."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    jinja.filters |= {"number": show_number, "score": show_score, "count": "{:,}".format, "shown": show_hidden}
    return jinja


def show_number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def show_score(score: dict) -> str:
    """A score with its interval, "0.87 (0.81 to 0.93)"."""
    value, low, high = (show_number(score[name]) for name in ("value", "low", "high"))
    return value if score["low"] is None else f"{value} ({low} to {high})"


def show_hidden(text: object) -> str:
    """A text in which characters that no page can show, such as NUL, are replaced by a visible sign."""
    return HIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(text))


def plain_markdown(text: object) -> str:
    """A text as one line of Markdown that shows it as it is: no HTML, no links, no table cells."""
    line = html.escape(" ".join(show_hidden(text).split()), quote=False)
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", MARKDOWN.sub(r"\\\1", line))  # "1. x" would begin a list


def commonest_mix_ups(labels: list[str], confusion: list[list[int]]) -> list[dict]:
    """The commonest pairs of true and predicted label that differ, commonest first: dicts of true, predicted, rows."""
    pairs = [
        {"true": true, "predicted": predicted, "rows": rows}
        for true, row in zip(labels, confusion, strict=True)
        for predicted, rows in zip(labels, row, strict=True)
        if true != predicted and rows
    ]
    return sorted(pairs, key=lambda pair: -pair["rows"])[:MIXED_UP]


def as_data(figure: Figure) -> str:
    """A figure as a data address that can stand in the page: SVG, with letters as outlines, so no font is needed.

    In an <img>, SVG is a picture and nothing else; a browser runs no script in it.
    """
    picture = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "report"}):  # the same bytes every time
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(picture.getvalue()).decode()


def hub_name(model: str) -> str | None:
    """A base model's name on the hub; None for one that is not there, such as a folder."""
    if model in ON_THE_HUB:
        return ON_THE_HUB[model]
    return model if may_be_on_hub(model) and not Path(model).exists() else None


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replace_safely(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
