"""What the commands print: on the screen of the first process only, and never with a user's control characters."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from course_utils import JOINERS

UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def printable(text: object, width: int | None = None) -> str:
    """A text of a user's as one printable line: control characters could move the cursor or change colours."""
    letters = (c if c.isprintable() or c in JOINERS else " " if c.isspace() else UNKNOWN for c in str(text))
    line = "".join(letters)
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    from course_utils.devices import processes

    return processes().is_main_process


def say(*sentences: str) -> None:
    """Print sentences, each on a line of its own."""
    if is_first():
        for sentence in sentences:
            print(printable(sentence), flush=True)


def say_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; all columns but the first are numbers."""
    if not is_first():
        return
    table = Table(title=Text(printable(title)), title_justify="left", min_width=len(title))
    for i, name in enumerate(columns):
        table.add_column(Text(printable(name)), justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(markup=False, highlight=False, emoji=False)
    with console.capture() as drawn:  # printed by itself, it would end the process where the pipe is closed
        console.print(table)
    print(drawn.get(), end="", flush=True)


def show_score(score: dict) -> str:
    """A score with its interval: 0.874 [0.810, 0.931]; a dash where there is none."""
    if score["value"] is None:
        return "–"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def show_number(number: float | None) -> str:
    """A number between 0 and 1; a dash where there is none."""
    return "–" if number is None else f"{number:.3f}"
