"""The controls of the labs: each has a name, and takes no value in silence that is not one of its own."""

from collections import Counter
from collections.abc import Sequence
from numbers import Real

import ipywidgets as widgets

WIDE, NAMED = {"width": "430px"}, {"description_width": "150px"}


def dropdown(description: str, options: Sequence, value) -> widgets.Dropdown:
    """A named list to choose from."""
    return widgets.Dropdown(options=options, value=value, description=description, style=NAMED, layout=WIDE)


def rate_slider(value: float = 1e-3) -> widgets.FloatLogSlider:
    """A slider on a log scale, which reports where it is let go and not every place it passes."""
    return widgets.FloatLogSlider(
        value=value, min=-6, max=0, step=0.125, readout_format=".1e", continuous_update=False,
        description="learning rate", style=NAMED, layout=WIDE,
    )  # fmt: skip


def find_range(slider: widgets.FloatLogSlider) -> tuple[float, float]:
    """Lowest and highest value of a slider, whose own `min` and `max` are powers."""
    return slider.base**slider.min, slider.base**slider.max


def with_number(control: widgets.Widget) -> widgets.Widget:
    """Put a number field beside a slider: exact, and named to a screen reader, which a slider's handle is not."""
    if not isinstance(control, widgets.FloatLogSlider):
        return control
    low, high = find_range(control)
    number = widgets.BoundedFloatText(
        value=control.value, min=low, max=high, step=low, description=f"{control.description}, as a number",
        style={"description_width": "170px"}, layout={"width": "260px"}, continuous_update=False,
    )  # fmt: skip
    widgets.link((control, "value"), (number, "value"))
    return widgets.HBox([control, number])


def check_value(name: str, control: widgets.Widget, value) -> None:
    """Raise ValueError for a value that a control does not take; a slider itself would move to its end in silence."""
    if isinstance(control, widgets.FloatLogSlider):
        low, high = find_range(control)
        if not isinstance(value, Real) or not low <= value <= high:
            raise ValueError(f"The control {name!r} does not take {value!r}: give a number from {low:g} to {high:g}.")
        return
    known = [option[1] if isinstance(option, tuple) else option for option in control.options]
    if value not in known:
        raise ValueError(f"The control {name!r} does not take {value!r}: choose among {', '.join(map(str, known))}.")


def describe_value(control: widgets.Widget) -> str:
    """What a control says, as a person reads it: the entry of a list, or a number."""
    return f"{control.value:.2g}" if isinstance(control, widgets.FloatLogSlider) else str(control.label)


def tell_apart(runs: Sequence[dict[str, str]], plain: str = "") -> list[str]:
    """Name runs, each given as {setting: value}, by the settings in which they differ; number those that agree.

    `plain` is the name of a run that has none of the settings in which others differ.
    """
    settings = dict.fromkeys(name for run in runs for name in run)
    different = [name for name in settings if len({run.get(name) for run in runs}) > 1]
    names = [", ".join(f"{name} {run[name]}" for name in different if name in run) or plain for run in runs]
    again, count = Counter(names), Counter()
    for i, name in enumerate(names):
        if again[name] > 1:
            count[name] += 1
            names[i] = f"{name} (run {count[name]})" if name else f"run {count[name]}"
    return names
