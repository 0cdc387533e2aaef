"""Lesson 11: the functions of the lessons as one command.

    python -m course_utils finetune data.csv --text-column message --label-column queue --out runs/mine

arguments  the words of the command line
finetune   data -> folder: report, train, evaluate once, write
prepare    files -> splits and tokens, with notes
estimate   settings that suit a model, minutes before they pass
memory     what training will take, and less where it is short
measure    scores, baselines, verdict
folders    a folder whole or not at all
predict    label texts as they come
evaluate   a saved classifier on a labelled file
doctor     what this machine can do
prefetch   fill the cache
show       print
"""

import importlib
import os
import sys
from collections.abc import Sequence

from course_utils.cli.arguments import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 2 after a sentence on what is wrong, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    options.words = arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter of a label shows its number
            stream.reconfigure(errors="backslashreplace")
    trains = options.command == "finetune"
    again = "; if its folder is not there yet, the same command with --resume goes on" if trains else ""
    try:
        # Imported only now: `--help` and a misspelled option need no PyTorch. It takes seconds, and Ctrl-C may come.
        return importlib.import_module(f"course_utils.cli.{options.command}").run(options)
    except BrokenPipeError:  # whoever read the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if trains:
            print(f"finetune: stopped, for nobody reads what it prints{again}.", file=sys.stderr)
        return 2 if trains else 0
    except (OSError, ValueError, FloatingPointError) as error:
        from course_utils.cli.show import is_first, printable

        if is_first():
            print(f"{options.command}: {printable(explain(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{options.command}: stopped{again}.", file=sys.stderr)
        return 130


def explain(error: Exception) -> str:
    """An error in one sentence; the system's own get a file and a reason."""
    if isinstance(error, OSError) and error.strerror:
        name = f" ({error.filename!r})" if error.filename else ""
        return f"{error.strerror}{name}: make room or choose another place, then try again."
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
