"""Where measured numbers come from, so that one file of results never mixes models, data sets or recipes."""

import hashlib
import json
from collections.abc import Sequence

import pandas as pd

from course_utils.models import load_language_model

# What all measurements in a file share: the settings' names, and how a sentence names them.
SHARED = {
    "model": "model",
    "weights": "set of pre-trained weights",
    "student": "student",  # where somebody was taught
    "data": "data set",
    "sentence encoder": "sentence encoder",
    "batch size": "batch size",
    "steps": "rule for steps",
    "validation": "rule for validation",
    "learning rate": "rule for the learning rate",
}


def fingerprint_data(splits: dict[str, pd.DataFrame]) -> str:
    """12 hexadecimal digits that change with any text, label, row order or split."""
    rows = {name: splits[name][["text", "label"]].to_numpy().tolist() for name in sorted(splits)}
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def fingerprint_model(model: str) -> str:
    """12 hexadecimal digits that change with any weight of a pre-trained body."""
    digest = hashlib.sha256()
    for name, tensor in load_language_model(model).base_model.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def continue_results(old: dict, new: dict, contestants: Sequence[str], name: str, again: bool) -> dict:
    """Return what new runs may be added to: the results in the file `name`, with the settings of the new runs noted.

    Raises ValueError, naming what differs and what to do, where the new runs would be made otherwise than the old, or
    where the file does not say how the old ones were made.
    """
    settings, runs = old.get("settings"), old["runs"]
    if not isinstance(settings, dict) or not {"recipes", "python", "packages"} <= settings.keys():
        raise ValueError(f"{name} does not say how it was measured: choose another file with --out.")
    recipes = settings["recipes"] | new["recipes"]
    compared = [key for key in SHARED if key != "student" or (key in settings and key in new)]
    different = [SHARED[key] for key in compared if settings.get(key) != new[key]]
    if again and different:
        return {"settings": new, "runs": []}
    if again:
        runs = [run for run in runs if run["contestant"] not in contestants]
    else:
        different += [f"recipe of {key!r}" for key in settings["recipes"] if settings["recipes"][key] != recipes[key]]
        if different:
            raise ValueError(
                f"{name} was measured with another {' and another '.join(different)}: choose another file with --out, "
                "or measure anew with --again."
            )
    packages = {key: note_version(settings["packages"].get(key), now) for key, now in new["packages"].items()}
    python = note_version(settings["python"], new["python"])
    noted = {"recipes": recipes, "python": python, "packages": packages}
    noted |= {"student": new["student"]} if "student" in new else {}
    return {"settings": settings | noted, "runs": runs}


def note_version(known: str | None, now: str) -> str:
    """Add a version to those that earlier measurements were made with: "2.13.0, 2.14.1"."""
    return ", ".join(dict.fromkeys([*(known.split(", ") if known else ()), now]))
