"""Build the book, a static site of all lessons as they are stored: `make book`. Nothing is executed.

Sphinx reads a copy of the pages, because three things have to be changed for it: figures get an alternative text,
outputs that a lesson folds stay folded, and links that lead out of the book are mended.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent.parent
PAGES = ("README.md", "docs/*.md", "data/*/*.md", "data/*/*.png", "notebooks/*.ipynb")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)\)")


def copy_pages(stage: Path) -> None:
    """Copy every page of the book to `stage`, in the same folders, so that links between pages hold."""
    for path in (BOOK / "conf.py", BOOK / "book.css"):
        shutil.copy(path, stage)
    index = (BOOK / "index.md").read_text(encoding="utf-8").replace("](../../", "](")
    (stage / "index.md").write_text(index, encoding="utf-8")
    paths = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    for path in paths:
        target = stage / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for path in paths:
        if path.suffix == ".md":
            target = stage / path.relative_to(ROOT)
            target.write_text(mend_links(path.read_text(encoding="utf-8"), target.parent, stage), encoding="utf-8")
        elif path.suffix == ".ipynb":
            target = stage / path.relative_to(ROOT)
            notebook = nbformat.read(path, as_version=4)
            prepare_notebook(notebook, target.parent, stage)
            nbformat.write(notebook, target)


def prepare_notebook(notebook, folder: Path, stage: Path) -> None:
    """Change a notebook in place: alternative texts, folded outputs, links."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = mend_links(cell.source, folder, stage)
            continue
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            cell.metadata["mystnb"] = {"image": {"alt": summary(cell)}}
        if cell.metadata.get("jupyter", {}).get("outputs_hidden"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-output"]


def summary(cell) -> str:
    """The sentence that a lesson prints for a figure, without the word "Figure:" in front."""
    printed = "\n".join(output.text for output in cell.outputs if output.output_type == "stream")
    found = re.search(r"^Figure: (.+)$", printed, re.MULTILINE)
    if not found:
        raise ValueError(f"A cell draws a figure and prints no line 'Figure: ...' for it: {cell.source[:200]}")
    return found.group(1)


def mend_links(text: str, folder: Path, stage: Path) -> str:
    """Bring along what a page links to, such as a module; a file that only a run makes is left as its name."""

    def mend(match):
        words, link = match.groups()
        inside = (folder / link).resolve().relative_to(stage.resolve())
        source, target = ROOT / inside, stage / inside
        if inside.parts[0] == "runs":
            return words
        if not target.exists() and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        return match.group(0)

    return LINK.sub(mend, text)


MENDED = (  # what theme and notebook format leave out for screen readers and keyboards
    (r'(<p class="caption" role="heading")', r'\1 aria-level="2"'),
    (r'(<aside class="sidebar-drawer")', r'\1 aria-label="All pages"'),
    (r'(<aside class="toc-drawer[^"]*")', r'\1 aria-label="On this page"'),
    # What may be wider than a small screen can be reached, and so be scrolled, by keyboard.
    (r'(<div class="(?:output text_html|table-wrapper)[^"]*")', r'\1 role="group" tabindex="0" aria-label="Table"'),
    (r'(<div class="math-wrapper[^"]*")', r'\1 role="group" tabindex="0" aria-label="Formula"'),
    # The corner of a table is empty and heads nothing.
    (r'<th></th>|<th class="head"><p></p></th>', "<td></td>"),
)


def mend_page(html: str) -> str:
    """Make a page of Sphinx accessible; its words stay as they are."""
    for pattern, replacement in MENDED:
        html = re.sub(pattern, replacement, html)
    return html


def build(out: Path) -> int:
    """Build the site in the folder `out`, replacing what is there; a warning of Sphinx is an error. 0 is success."""
    from sphinx.cmd.build import main  # here, so that the functions above can be tested without Sphinx

    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as stage:
        copy_pages(Path(stage))
        status = main(["-W", "--keep-going", "-q", "-E", "-b", "html", "-d", f"{stage}/.doctrees", stage, str(out)])
    for page in out.rglob("*.html"):
        page.write_text(mend_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    return status


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "book"
    status = build(folder)
    if not status:
        print(f"The book is in {folder / 'index.html'}")
    sys.exit(status)
