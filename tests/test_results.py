"""The measured results in data/results: whole, and the same as what lessons, cards and README say of them."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import nbformat
import pytest

from course_utils import experiments as e

ROOT = Path(__file__).resolve().parent.parent
MEASURED = sorted(path.stem for path in e.RESULTS.glob("*.json"))
METRICS = ("macro_f1", "accuracy")
CELL = re.compile(r"\d\.\d\d ± \d\.\d\d \(\d+\)")
# Which document shows which table of which study.
TABLES = [
    ("data/gpt2-mini/README.md", "trec6", "accuracy"),
    ("data/gpt2-mini/README.md", "movie_reviews", "accuracy"),
    ("data/gpt2-mini/README.md", "transfer", "macro_f1"),
    ("data/tickets/README.md", "transfer", "macro_f1"),
    ("data/tickets/README.md", "sentence_encoder", "macro_f1"),
]


@pytest.mark.parametrize("name", e.STUDIES)
def test_every_study_is_measured_to_the_end(name):
    study, results = e.STUDIES[name], e.read_results(name)
    wanted = {f"{c}, {size or 'all'}, seed {seed}" for c, size, seed in e.plan(study, study.sizes, study.seeds)}
    assert set(results["runs"]) == wanted
    assert study.seeds >= 3
    for key, run in results["runs"].items():
        assert 0 <= run["macro_f1"] <= 1, key
        contestant = key.split(", ")[0]
        if contestant in e.NETWORKS:
            assert run["rate"] in e.NETWORKS[contestant].rates, key


@pytest.mark.parametrize("name", MEASURED)
def test_results_tell_how_they_were_made(name):
    settings = e.read_results(name)["settings"]
    networks = {key.split(", ")[0] for key in e.read_results(name)["runs"]} & set(e.NETWORKS)
    assert networks <= set(settings["recipes"])
    assert {"torch", "transformers", "scikit-learn"} <= set(settings["packages"])
    assert settings["rows"]["test"] > 0
    assert settings["model"] == "gpt2-mini"


@pytest.mark.parametrize("name", e.STUDIES)
def test_results_were_made_with_the_recipes_of_today(name):
    """Whoever changes a recipe must measure it again."""
    for contestant, recipe in e.read_results(name)["settings"]["recipes"].items():
        assert recipe == json.loads(json.dumps(asdict(e.NETWORKS[contestant]))), contestant


@pytest.mark.parametrize("document, study, metric", TABLES)
def test_a_documents_table_is_the_measured_one(document, study, metric):
    text = (ROOT / document).read_text()
    for name, cells in e.results_table(e.read_results(study), metric).fillna("").iterrows():
        assert f"| {name} | {' | '.join(cells)} |" in text, (document, name)


def prose() -> dict[str, str]:
    """All that a person wrote: the Markdown files, and the lessons' Markdown cells."""
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("data/**/*.md")]}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        texts[path.stem] = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return texts


def test_every_mean_with_an_interval_in_prose_was_measured():
    known = {
        cell
        for name in MEASURED
        for metric in METRICS
        for cell in e.results_table(e.read_results(name), metric).to_numpy().ravel()
    }
    quoted = {(place, cell) for place, text in prose().items() for cell in CELL.findall(text)}
    assert quoted
    assert not {(place, cell) for place, cell in quoted if cell not in known}
    loose = {place for place, text in prose().items() if re.search(r"± \d\.\d\d(?! \(\d)", text)}
    assert not loose, "write mean ± half-width (seeds), so that the figure can be compared"


# --- what the lessons, the cards and the README say in words ------------------------------------------------------

SIZES = ("8", "16", "32", "64", "128", "all")
CLAIMS = [
    *(("transfer", "pre-trained", "random weights", size, "ahead") for size in SIZES),
    *(("transfer", "pre-trained", "frozen body", size, "no difference shown") for size in SIZES[:3]),
    *(("transfer", "pre-trained", "frozen body", size, "ahead") for size in SIZES[3:]),
    *(("transfer", "pre-trained", "TF-IDF", size, "behind") for size in SIZES),
    ("methods", "LoRA", "pre-trained", "32", "behind"),
    *(
        ("methods", name, "pre-trained", "32", "no difference shown")
        for name in ("last token", "3 blocks frozen", "lower rates below", "adapted")
    ),
    ("regularization", "dropout 0.1", "plain", "16", "ahead"),
    ("regularization", "weight decay 1", "plain", "16", "behind"),
    *(
        ("regularization", name, "plain", "16", "no difference shown")
        for name in ("dropout 0.3", "weight decay 0.1", "label smoothing 0.1")
    ),
    *(("sentence_encoder", "sentence encoder", "TF-IDF", size, "ahead") for size in ("8", "16", "32")),
]


@pytest.mark.parametrize("study, first, second, size, shown", CLAIMS)
def test_what_is_said_of_two_contestants_is_what_their_seeds_show(study, first, second, size, shown):
    assert e.differences(e.read_results(study), first, second).loc[size, "shown"] == shown


@pytest.mark.parametrize(
    "study, size, rival, shown",
    [
        ("trec6", "32", "random weights", "ahead"),
        ("trec6", "32", "TF-IDF", "ahead"),
        ("trec6", "all", "TF-IDF", "ahead"),
        ("movie_reviews", "1000", "random weights", "no difference shown"),
        ("movie_reviews", "1000", "TF-IDF", "behind"),
    ],
)
def test_where_the_pretrained_network_stands_on_other_tasks(study, size, rival, shown):
    table = e.differences(e.read_results(study), "pre-trained", rival, "accuracy")
    assert table.loc[size, "shown"] == shown


def test_the_learning_rates_form_a_hill():
    means = {name: mean for (name, _), (mean, _, _) in e.summarize(e.read_results("learning_rates")).items()}
    scores = list(means.values())
    top = scores.index(max(scores))
    assert list(means)[top] == "rate 0.001"
    assert scores[: top + 1] == sorted(scores[: top + 1])
    assert scores[top:] == sorted(scores[top:], reverse=True)
    assert all(means[f"rate {rate}"] < max(scores) / 2 for rate in ("1e-05", "0.01", "0.1"))
