"""prefetch: fetch a model into the cache while there is a network, for use without one."""

from argparse import Namespace
from pathlib import Path

import huggingface_hub

from course_utils.cli.show import say
from course_utils.models import explain, hub_answers, load_config, load_tokenizer, locate_model, may_be_on_hub

NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # no pickled weights, no code


def run(options: Namespace) -> int:
    """Fetch one model; return the exit status. Raises OSError or ValueError, in one sentence."""
    name = options.name
    place = locate_model(name)  # unpacks smollm2
    if Path(place).is_dir():
        load_config(name)  # refuses a folder that is no model
        load_tokenizer(name)
        say(f"{name} lies in {place}: nothing to download.")
        return 0
    if not may_be_on_hub(name):
        raise OSError(f"{name!r} is no folder and no name of the hub: write it like gpt2 or owner/model.")
    if not hub_answers():
        raise OSError(
            "The hub gives no answer: connect to the network (and leave HF_HUB_OFFLINE unset), then try again."
        )
    try:
        files = huggingface_hub.HfApi().list_repo_files(name)
        if not any(file.endswith(".safetensors") for file in files):
            raise ValueError(f"{name} has no weights in safetensors, and pickled ones could run code: choose another.")
        # Nothing in subfolders: some owners keep the same weights in other formats there.
        folder = huggingface_hub.snapshot_download(name, allow_patterns=NEEDED, ignore_patterns=["*/*"])
    except (OSError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise OSError(f"Fetching {name!r} failed ({explain(error)}): check the spelling and your connection.") from None
    load_config(name)  # refuses what the course cannot fine-tune
    load_tokenizer(name)
    say(f"{name} lies in {folder}: it loads without a network from now on.")
    return 0
