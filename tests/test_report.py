"""The report and the model card of a run: they hold the facts, stand alone, and show what strangers wrote as text."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from jinja2 import UndefinedError
from markdown_it import MarkdownIt

from course_utils import report
from course_utils.plots.report import draw_confusion, draw_curves, draw_reliability

EVIL = "<script>alert('gotcha')</script><img src=x onerror=alert(2)> \"' & {{ 7 * 7 }}"


def score(value: float, half: float = 0.05) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def make_facts(labels=("account", "billing", "returns")) -> dict:
    """The facts of a small invented run; all that the functions under test look at."""
    labels, many = list(labels), len(labels)
    confusion = [[8 if i == j else int(j == i + 1) for j in range(many)] for i in range(many)]
    counts = {label: 10 + i for i, label in enumerate(labels)}
    bins = [{"low": i / 10, "high": (i + 1) / 10, "rows": 0, "confidence": None, "accuracy": None} for i in range(10)]
    bins[7] |= {"rows": 20, "confidence": 0.74, "accuracy": 0.65}
    validation = {"epoch": 1, "train_loss": 0.9, "validation_loss": 0.8, "accuracy": 0.7, "macro_f1": 0.61}
    return {
        "format": 1,
        "name": "mine",
        "created": "2030-01-02T03:04:05+00:00",
        "command": "python -m course_utils finetune data.csv --out runs/mine",
        "model": {
            "name": "gpt2-mini", "type": "gpt2", "parameters": 6_900_000, "trainable": 6_900_000, "pooling": "last",
            "head": "random", "lora": False, "frozen_blocks": 0, "device": "cpu", "processes": 1, "precision": "fp32",
        },
        "labels": labels,
        "data": {
            "files": {"train": "data.csv", "validation": None, "test": None},
            "text_column": "message",
            "label_column": "queue",
            "rows_read": 1234,
            "rows_used": 1200,
            "cleaning": [{"kind": "html", "rows": 3, "action": "tags removed"}],
            "splits": {name: {"rows": 100, "labels": counts} for name in ("train", "validation", "test")},
            "imbalance": 2.5,
            "leaks": {"found": 0, "action": "No training row is a near duplicate of a test row.", "examples": []},
            "max_tokens": 128,
            "truncated": {"train": 4, "validation": 0, "test": 1},
            "longest": 233,
            "notes": ["5 texts are cut."],
        },
        "settings": {
            "learning_rate": 1e-3, "epochs": 5, "batch_size": 16, "accumulate": 1, "monitor": "macro_f1", "seed": 0,
        },
        "history": {
            "loss": [1.1, 0.9, 0.7], "learning_rate": [1e-3] * 3, "best_step": 3, "ended": "finished",
            "validations": [{**validation, "step": 2}, {**validation, "step": 3, "macro_f1": 0.71}],
        },
        "test": {
            "rows": 87, "loss": 0.31, "accuracy": score(0.81), "macro_f1": score(0.79), "ece": 0.034,
            "classes": [
                {"label": label, "precision": 0.9, "recall": 0.8, "f1": score(0.85), "support": 9} for label in labels
            ],
            "confusion": confusion,
            "reliability": bins,
            "worst_errors": [{"text": "A text", "true": labels[0], "predicted": labels[1], "confidence": 0.98}],
        },
        "baselines": {
            "majority": {"accuracy": score(0.41), "macro_f1": score(0.19), "seconds": 0.01},
            "tfidf": {"accuracy": score(0.83), "macro_f1": score(0.82), "seconds": 0.4, "ms_per_text": 0.02},
        },
        "comparison": {"difference": score(-0.03)},
        "cost": {"ms_per_text": 4.2, "tfidf_ms_per_text": 0.02, "times": 210.0},
        "verdict": {"kind": "tfidf as good", "sentence": "TF-IDF is as good and 210 times cheaper to run: use it."},
        "seconds": {"expected": 25.0, "training": 22.4, "resumed": False, "evaluation": 0.6, "total": 27.9},
        "versions": {"python": "3.12", "torch": "2.13", "transformers": "5.23", "course": "0.1"},
        "license": None,
    }  # fmt: skip


def soil(value, with_what: str):
    """The same facts with a text put behind every string, and into every label that is a key."""
    if isinstance(value, dict):
        return {k: soil(v, with_what) for k, v in value.items()}
    if isinstance(value, list):
        return [soil(item, with_what) for item in value]
    return value + with_what if isinstance(value, str) else value


def soiled_facts() -> dict:
    """Facts in which every string ends in markup, the labels among them."""
    facts = soil(make_facts(), EVIL)
    for split in facts["data"]["splits"].values():
        split["labels"] = {label + EVIL: count for label, count in split["labels"].items()}
    facts["model"]["pooling"], facts["history"]["ended"] = "last", "finished"
    return facts


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> BeautifulSoup:
    folder = tmp_path_factory.mktemp("report")
    report.write_report(make_facts(), folder)
    return BeautifulSoup((folder / "report.html").read_text(encoding="utf-8"), "html.parser")


def card_of(facts: dict, folder: Path) -> tuple[dict, str]:
    """A model card's front matter and its text."""
    report.write_model_card(facts, folder)
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


# --- the page ---------------------------------------------------------------------------------------------------


def test_the_verdict_comes_first_and_the_baselines_stand_beside_the_model(page):
    assert "210 times cheaper to run: use it." in page.select_one("header .verdict").text
    rows = [
        [cell.get_text(strip=True) for cell in row.select("th, td")] for row in page.select("h2#scores + div tbody tr")
    ]
    assert rows == [
        ["gpt2-mini", "0.79 (0.74 to 0.84)", "0.81 (0.76 to 0.86)", "4.20"],
        ["TF-IDF with logistic regression", "0.82 (0.77 to 0.87)", "0.83 (0.78 to 0.88)", "0.020"],
        ["always the commonest label", "0.19 (0.14 to 0.24)", "0.41 (0.36 to 0.46)", "–"],
    ]
    assert "-0.03 (-0.08 to 0.02)" in page.text


def test_every_part_of_the_run_is_told(page):
    text = " ".join(page.get_text(" ").split())
    for wanted in (
        "1,234 rows read, 1,200 used", "tags removed", "No training row is a near duplicate", "5 texts are cut.",
        "4 in train, 0 in validation, 1 in test", "3 steps, finished, 22 seconds (expected: 25)",
        "The weights are those after step 3", "calibration error", "account billing 1", "A text account billing 0.98",
        "finetune data.csv --out runs/mine", "learning rate 0.001", "2.5 times as many",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_figures_are_part_of_the_page_and_have_words(page):
    images = page.select("img")
    assert len(images) == 4
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in images)
    assert all(len(image["alt"]) > 30 for image in images)
    assert all(table.select("th[scope]") for table in page.select("table"))
    headings = {heading["id"] for heading in page.select("h2")}
    assert {link["href"].lstrip("#") for link in page.select("nav a")} == headings


def test_the_page_asks_for_nothing_from_anywhere(page):
    assert not page.select("script, link, iframe, object, embed, form")
    policy = page.select_one('meta[http-equiv="Content-Security-Policy"]')["content"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    addresses = [tag[name] for tag in page.select("*") for name in ("src", "href") if tag.has_attr(name)]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "http" not in page.select_one("style").text and "url(" not in page.select_one("style").text


def test_markup_in_any_string_is_shown_and_becomes_no_element(tmp_path, page):
    report.write_report(soiled_facts(), tmp_path)
    soiled = BeautifulSoup((tmp_path / "report.html").read_text(encoding="utf-8"), "html.parser")
    assert [tag.name for tag in soiled.select("*")] == [tag.name for tag in page.select("*")]  # not one element more
    assert not [name for tag in soiled.select("*") for name in tag.attrs if name.startswith("on")]
    shown = soiled.select_one("td.quoted").text
    assert shown == "A text" + EVIL  # every character of it, and no template ran
    assert soiled.text.count("<script>alert('gotcha')</script>") > 30


def test_what_no_page_can_show_does_no_harm(tmp_path):
    facts = make_facts(["a\x00b", "\ud800 half a letter", "\u202eright to left"])
    facts["test"]["worst_errors"][0]["text"] = "NUL \x00, bell \x07, \ud83d, 荷物 📦\nnext line"
    report.write_report(facts, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "NUL \N{REPLACEMENT CHARACTER}, bell \N{REPLACEMENT CHARACTER}" in text and "荷物 📦\nnext line" in text
    assert not re.search(r"[\x00-\x08]", text)
    _, card = card_of(facts, tmp_path)
    assert "a\N{REPLACEMENT CHARACTER}b" in card


def test_a_run_without_errors_validation_loss_or_expected_time(tmp_path):
    facts = make_facts()
    facts["test"]["worst_errors"] = []
    facts["test"]["confusion"] = [[9, 0, 0], [0, 9, 0], [0, 0, 9]]
    facts["test"]["loss"] = facts["seconds"]["expected"] = None
    facts["test"]["classes"][0]["f1"] = {"value": 1.0, "low": None, "high": None}
    facts["history"] |= {"validations": [], "best_step": None, "ended": "diverged"}
    report.write_report(facts, tmp_path)
    text = " ".join(BeautifulSoup((tmp_path / "report.html").read_text(), "html.parser").text.split())
    assert "Nothing: every test text got its label." in text and "There is none" in text
    assert "Loss on the test: – nats" in text and "expected" not in text.split("3 steps, ")[1][:60]


@pytest.mark.parametrize("part, key", [("data", "imbalance"), ("verdict", "sentence"), ("test", "confusion")])
def test_a_fact_that_is_missing_is_an_error_and_leaves_no_half_page(part, key, tmp_path):
    facts = make_facts()
    del facts[part][key]
    with pytest.raises((KeyError, TypeError, UndefinedError)):
        report.write_report(facts, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_facts_make_the_same_bytes(tmp_path):
    pages = []
    for _ in range(2):
        report.write_report(copy.deepcopy(make_facts()), tmp_path)
        pages.append((tmp_path / "report.html").read_bytes())
    assert pages[0] == pages[1]


# --- its figures ------------------------------------------------------------------------------------------------


def test_the_confusion_matrix_says_its_numbers_up_to_twenty_labels():
    labels = [f"label {i}" for i in range(60)]
    for many in (3, 60):
        confusion = make_facts(labels[:many])["test"]["confusion"]
        figure, words = draw_confusion(labels[:many], confusion)
        assert words == f"confusion matrix: {8 * many} of {9 * many - 1} test rows on the diagonal"
        assert len(figure.axes[0].texts) == (9 if many == 3 else 0)
        assert max(figure.get_size_inches()) < 15


def test_the_reliability_diagram_leaves_out_empty_bins():
    figure, words = draw_reliability(make_facts()["test"]["reliability"])
    assert words == "reliability by bins of confidence: 0.74 sure, 0.65 right (20 rows)"
    (bar,) = figure.axes[0].patches
    assert figure.axes[0].get_xlim()[1] > 1  # the frame cuts no dot at 1
    assert bar.get_height() == 0.65 and [text.get_text() for text in figure.axes[0].texts] == ["20"]


def test_the_curves_name_the_best_step():
    _, words = draw_curves(make_facts()["history"])
    assert words == "learning curves: training loss from 1.10 to 0.90 in 3 steps, macro-F1 on validation at best 0.71"


# --- the model card ---------------------------------------------------------------------------------------------


def test_the_card_has_the_front_matter_of_the_hub_and_leaves_the_licence_to_the_user(tmp_path):
    front, text = card_of(make_facts(), tmp_path)
    assert front == {
        "library_name": "transformers", "metrics": ["accuracy", "f1"], "pipeline_tag": "text-classification",
    }  # fmt: skip
    assert "# license: choose one" in (tmp_path / "README.md").read_text()
    for section in ("Labels", "How to use it", "How good it is", "Training data", "Limits", "Training", "Licence"):
        assert f"\n## {section}\n" in text
    assert "| this model | 0.79 (0.74 to 0.84) |" in text and "| TF-IDF with logistic regression | 0.82" in text
    assert "- account (10 training texts)" in text
    assert "This folder does no such cleaning" in text and "Texts are read up to\n128 tokens." in text


@pytest.mark.parametrize(
    "name, base",
    [
        ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"), ("distilgpt2", "distilgpt2"), ("owner/gpt", "owner/gpt"),
        ("gpt2-mini", None), ("/home/somebody/secret/gpt", None), ("tests/answers", None),
    ],
)  # fmt: skip
def test_the_base_model_is_named_where_it_is_on_the_hub_and_no_folder_is_given_away(name, base, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    facts = make_facts()
    facts["model"]["name"] = name
    front, text = card_of(facts, tmp_path)
    assert front.get("base_model") == base
    assert "somebody" not in text


def test_the_card_quotes_no_text_of_the_data_and_no_command(tmp_path):
    _, text = card_of(make_facts(), tmp_path)
    assert "A text" not in text.replace("A text classifier", "") and "finetune data.csv" not in text


def test_a_mean_pooled_model_is_not_offered_to_the_pipeline(tmp_path):
    facts = make_facts()
    facts["model"]["pooling"] = "mean"
    _, text = card_of(facts, tmp_path)
    assert "load_fine_tuned" in text and "from transformers import pipeline" not in text


@pytest.mark.parametrize(
    "label",
    [
        EVIL,
        "# not a heading",
        "1. no list",
        "- no item",
        "a|b",
        "[x](http://evil.example)",
        "*bold* `code` ~~gone~~",
        "a\nb",
    ],
)
def test_markdown_in_a_label_is_shown_as_it_is(label, tmp_path):
    _, text = card_of(make_facts([label, "b", "c"]), tmp_path)
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    tree = BeautifulSoup(rendered, "html.parser")
    line = " ".join(label.split())
    assert tree.select_one("h2 + ul li").text.strip() == f"{line} (10 training texts)"
    assert tree.select("table")[1].select_one("tbody td").text == line
    assert not tree.select("script, img, a, del, li h1, li ol, li ul, td strong, td em, td code")


def test_facts_as_json_holds_them_are_enough(tmp_path):
    facts = json.loads(json.dumps(make_facts(), allow_nan=False))
    report.write_report(facts, tmp_path)
    report.write_model_card(facts, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "report.html"]
