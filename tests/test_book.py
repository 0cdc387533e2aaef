"""The book: every lesson is in it, its links hold, and the site, once built, is whole, offline and accessible.

The first tests need no build. Those of the built site need what `make book` installs, and are skipped where that is
missing.
"""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
INDEX = (ROOT / "docs" / "book" / "index.md").read_text(encoding="utf-8")
TEACHING = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#:\s]+)\)")


def load_builder():
    spec = importlib.util.spec_from_file_location("build_book", ROOT / "docs" / "book" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


builder = load_builder()

# --- without a build --------------------------------------------------------------------------------------------


def listed_pages() -> list[str]:
    """The pages that the book's contents name, in their order."""
    tocs = re.findall(r"```\{toctree\}\n(.*?)```", INDEX, re.DOTALL)
    lines = [line for toc in tocs for line in toc.splitlines() if line and not line.startswith(":")]
    return [re.sub(r".*<(.*)>", r"\1", line) for line in lines]


def test_the_contents_name_every_lesson_in_order():
    assert [page for page in listed_pages() if page.startswith("notebooks/")] == [
        f"notebooks/{p.stem}" for p in LESSONS
    ]


def test_the_contents_name_every_other_page_once():
    pages = [path for pattern in ("README.md", "docs/*.md", "data/*/*.md") for path in ROOT.glob(pattern)]
    expected = [str(path.relative_to(ROOT).with_suffix("")).replace(os.sep, "/") for path in pages]
    assert sorted(page for page in listed_pages() if not page.startswith("notebooks/")) == sorted(expected)


def rows_of_lessons(page: str) -> dict[str, tuple[str, str]]:
    """Minutes and seconds of every lesson, from the table of a page that links to the lessons."""
    header = next(line for line in page.splitlines() if line.startswith("| lesson |"))
    columns = [name.strip() for name in header.strip("|").split("|")]
    found = {}
    for line in page.splitlines():
        if match := re.match(r"\| \[.*?\]\([./]*notebooks/(\w+)\.ipynb\)", line):
            cells = dict(zip(columns, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
            found[match.group(1)] = (cells["minutes"], cells["runs in"])
    return found


def test_lesson_readme_and_teachers_page_agree_about_minutes():
    teaching, readme = rows_of_lessons(TEACHING), rows_of_lessons(README)
    assert list(teaching) == list(readme) == [path.stem for path in LESSONS]
    assert teaching == readme
    for path in LESSONS:
        first = nbformat.read(path, as_version=4).cells[0].source
        said = [*re.findall(r"about (\d+) minutes to work", first), *re.findall(r"and (\d+) more for the", first)]
        assert " + ".join(said) == teaching[path.stem][0], path.stem


def sources():
    """Every page of the book as (folder, text of its prose)."""
    yield ROOT / "docs" / "book", INDEX
    for pattern in ("README.md", "docs/*.md", "data/*/*.md"):
        for path in ROOT.glob(pattern):
            yield path.parent, path.read_text(encoding="utf-8")
    for path in LESSONS:
        cells = nbformat.read(path, as_version=4).cells
        yield path.parent, "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_links_between_pages_lead_somewhere():
    links = [(folder, link) for folder, text in sources() for link in LINK.findall(text)]
    assert len(links) > 40
    dead = [link for folder, link in links if not (folder / link).exists() and "runs/" not in link]
    assert dead == []


def test_files_that_the_teachers_page_names_are_there():
    for name in re.findall(r"`([\w./-]+\.csv|tests/\w+|data/\w+)`", TEACHING):
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "data" / "tickets")), name


def test_the_builder_gives_figures_their_summary_and_keeps_folds(tmp_path):
    picture = new_output("display_data", data={"image/png": "", "text/plain": "<Figure>"})
    words = new_output("stream", name="stdout", text="8 of 8 right\nFigure: the loss falls.\n")
    drawing, plain = new_code_cell("draw()", outputs=[words, picture]), new_code_cell("1 + 1")
    folded = new_code_cell("answer", metadata={"jupyter": {"outputs_hidden": True}, "tags": ["kept"]})
    prose = new_markdown_cell("The [report](../runs/mine/report.html), [next](02_next.ipynb), [licence](../LICENSE).")
    (tmp_path / "notebooks").mkdir()
    builder.prepare_notebook(new_notebook(cells=[drawing, plain, folded, prose]), tmp_path / "notebooks", tmp_path)
    assert drawing.metadata["mystnb"]["image"]["alt"] == "the loss falls."
    assert "mystnb" not in plain.metadata and folded.metadata["tags"] == ["kept", "hide-output"]
    assert prose.source == "The report, [next](02_next.ipynb), [licence](../LICENSE)."
    assert (tmp_path / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    silent = new_notebook(cells=[new_code_cell("draw()", outputs=[picture])])
    with pytest.raises(ValueError, match="prints no line 'Figure"):
        builder.prepare_notebook(silent, tmp_path / "notebooks", tmp_path)


# --- the built site ---------------------------------------------------------------------------------------------

CHECKED = (  # a folded output, tables of texts, formulas and wide tables are among them
    "index.html",
    "notebooks/03_prepare_data.html",
    "notebooks/05_fine_tune.html",
    "notebooks/06_evaluate.html",
    "docs/teaching.html",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder of a fresh build; any warning of Sphinx fails it."""
    missing = [
        name for name in ("sphinx", "myst_nb", "furo", "axe_playwright_python") if not importlib.util.find_spec(name)
    ]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: `make book` installs what building the book needs.")
    out = tmp_path_factory.mktemp("book") / "site"
    command = [sys.executable, str(ROOT / "docs" / "book" / "build.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


class Page(HTMLParser):
    """What a page holds: the addresses it loads, those it links to, its ids, its pictures' alternative texts."""

    def __init__(self, path):
        super().__init__()
        self.path, self.loaded, self.links, self.ids, self.alts, self.details = path, [], [], set(), [], 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, pairs):
        attributes = dict(pairs)
        self.ids.add(attributes.get("id"))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag == "link" and "href" in attributes:
            self.loaded.append(attributes["href"])
        if "src" in attributes:
            self.loaded.append(attributes["src"])
        if tag == "img":
            self.alts.append(attributes.get("alt"))
        self.details += tag == "details"


def read_pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def foreign(pages) -> list[str]:
    """Addresses of other hosts that pages load something from."""
    return [address for page in pages.values() for address in page.loaded if urlsplit(address).netloc]


def dead_links(pages) -> list[tuple[str, str]]:
    """Links within the site that lead to no file, or to a place that is not on the page."""
    dead = []
    for path, page in pages.items():
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].ids):
                dead.append((path.name, address))
    return dead


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return read_pages(site)


def test_a_planted_dead_link_and_a_script_of_another_host_are_noticed(tmp_path):
    good = '<a href="b.html#here">b</a> <a href="https://example.org">out</a><img src="c.png" alt="c">'
    bad = '<b id="here"></b><a href="a.html#gone">a</a><a href="d.html">d</a><script src="//example.org/x.js"></script>'
    (tmp_path / "a.html").write_text(good)
    (tmp_path / "b.html").write_text(bad)
    (tmp_path / "c.png").touch()
    planted = read_pages(tmp_path)
    assert foreign(planted) == ["//example.org/x.js"]
    assert dead_links(planted) == [("b.html", "a.html#gone"), ("b.html", "d.html")]


def test_nothing_is_loaded_from_another_host(pages, site):
    assert sum(len(page.loaded) for page in pages.values()) > 100 and foreign(pages) == []
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", styles)


def test_no_internal_link_is_dead(pages):
    assert sum(len(page.links) for page in pages.values()) > 500 and dead_links(pages) == []


def test_lessons_are_complete_and_every_picture_has_a_text(pages, site):
    for lesson in LESSONS:
        page = pages[site / "notebooks" / f"{lesson.stem}.html"]
        cells = nbformat.read(lesson, as_version=4).cells
        drawn = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
        folds = sum(cell.source.count("<details>") for cell in cells if cell.cell_type == "markdown")
        assert len(page.alts) == drawn and all(page.alts), lesson.stem
        assert page.details >= folds > 0, lesson.stem


def test_the_search_index_knows_a_word_of_lesson_5(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert "notebooks/05_fine_tune" in index and '"overfit"' in index


def test_search_works_from_a_disk_and_asks_no_other_host(site, browser):
    page, asked, errors = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((site / "index.html").as_uri())
    page.fill(".sidebar-search", "overfit")
    page.press(".sidebar-search", "Enter")
    page.click("#search-results a:has-text('Fine-tune')")
    page.wait_for_url("**/05_fine_tune.html*")
    assert errors == [] and [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(site, browser, scheme):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    for name in CHECKED:
        page.goto((site / name).as_uri())
        found = [(v["impact"], v["id"], v["nodes"][0]["html"]) for v in Axe().run(page).response["violations"]]
        assert [violation for violation in found if violation[0] in ("serious", "critical")] == [], name
    page.evaluate("document.querySelector('h1').innerHTML = '<img src=\"x\">'")  # proof that axe can find something
    assert "image-alt" in {violation["id"] for violation in Axe().run(page).response["violations"]}
    context.close()


def test_no_page_is_wider_than_its_window(site, browser):
    page = browser.new_page()
    for width in (390, 1024, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        for lesson in LESSONS:
            page.goto((site / "notebooks" / f"{lesson.stem}.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (lesson.stem, width)
    page.close()
