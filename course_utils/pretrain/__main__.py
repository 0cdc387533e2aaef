"""The command line of the first stage.

The folder holds `.txt` or `.txt.xz` files, one source each, documents separated by a line `<|endoftext|>`. A name
that is no folder is taken as a data set of the hub and streamed. Work in progress (tokens, checkpoint) lies in
`--work`; kill the command at any moment and start it again, and it goes on with the same loss curve.
`torchrun --nproc_per_node 2 -m course_utils.pretrain ...` shares every step among processes.
"""

import argparse
from pathlib import Path

from course_utils.pretrain.loop import pretrain
from course_utils.pretrain.settings import PretrainSettings, add_options, read_options


def main() -> None:
    """Read the command line and pre-train."""
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.pretrain", description="Pre-train a small GPT-2 on plain text.", epilog=__doc__
    )
    parser.add_argument("--corpus", required=True, help="folder of .txt or .txt.xz files, or a data set of the hub")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the finished model to")
    parser.add_argument("--work", type=Path, default=Path("pretraining"), help="folder for tokens and the checkpoint")
    parser.add_argument("--compile", action="store_true", help="compile the model first (needs a C++ compiler)")
    add_options(parser, PretrainSettings)
    options = vars(parser.parse_args())
    settings = read_options(PretrainSettings, options)
    try:
        pretrain(options["corpus"], options["out"], options["work"], settings, options["compile"])
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\nStopped. The same command goes on from the last checkpoint in {options['work']}.\n")


if __name__ == "__main__":
    main()
