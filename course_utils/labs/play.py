"""What the small widgets of lessons 1 to 6 share: named controls, a picture or some HTML, and a line of words."""

import html
import io
from collections.abc import Sequence

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from course_utils.labs.controls import NAMED, check_value, with_number


def text_field(description: str, value: str) -> widgets.Text:
    """A named field to type in, which reports when Enter is pressed or the field is left."""
    return widgets.Text(
        value=value, description=description, continuous_update=False, style=NAMED, layout={"width": "640px"}
    )


class Play:
    """A small panel that shows anew what its controls say, whenever one of them is changed.

    `controls` maps a setting's name to its widget; `view` is the whole panel as one widget. The picture is drawn by
    setting one trait, on a canvas of its own.
    """

    title = "Panel"
    inches = (8.0, 3.4)

    def __init__(self, controls: dict[str, widgets.Widget], below: Sequence[widgets.Widget] = ()):
        self.controls = controls
        self.chart = widgets.Image(format="png", layout={"width": "100%", "max_width": f"{90 * self.inches[0]:.0f}px"})
        self.status = widgets.HTML()
        self.view = widgets.VBox([*map(with_number, controls.values()), self.chart, self.status, *below])
        self._figure = Figure(self.inches, dpi=120, layout="constrained")
        FigureCanvasAgg(self._figure)
        for control in controls.values():
            control.observe(lambda change: self.refresh(), "value")
        self.refresh()

    def draw(self, figure: Figure) -> None:
        """Draw the picture on a figure, wiping it first."""
        raise NotImplementedError

    def words(self) -> str:
        """The picture in one sentence, as plain text."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Show what the controls say now."""
        self.draw(self._figure)
        picture = io.BytesIO()
        self._figure.canvas.print_png(picture)
        self.chart.value = picture.getvalue()
        self.say(self.words())

    def say(self, text: str) -> None:
        """Write a line of plain text below the picture."""
        self.status.value = f'<div role="status">{html.escape(text)}</div>'

    def set(self, **values) -> None:
        """Set controls by name, as a hand would.

        Raises ValueError for a name that is none or a value that a control does not take; then none is changed.
        """
        for name, value in values.items():
            if name not in self.controls:
                raise ValueError(f"There is no control {name!r} here: choose among {', '.join(self.controls)}.")
            control = self.controls[name]
            if isinstance(control, widgets.Text):
                if not isinstance(value, str):
                    raise ValueError(f"The control {name!r} does not take {value!r}: give a text.")
            elif isinstance(control, widgets.IntSlider):
                if not isinstance(value, int) or not control.min <= value <= control.max:
                    raise ValueError(
                        f"The control {name!r} does not take {value!r}: give a whole number from {control.min} to "
                        f"{control.max}."
                    )
            else:
                check_value(name, control, value)
        for name, value in values.items():
            self.controls[name].value = value

    def figure(self) -> Figure:
        """What is shown now as a static figure, with its words printed."""
        figure = plt.figure(figsize=self.inches, dpi=150, layout="constrained")  # pyplot's own are shown everywhere
        self.draw(figure)
        plt.close(figure)
        print(f"Figure: {self.words()}")
        return figure

    def _repr_mimebundle_(self, **options):
        """Show the widgets in Jupyter; where there are none, a sentence."""
        bundle = self.view._repr_mimebundle_(**options)
        bundle["text/plain"] = f"{self.title}: run this cell in JupyterLab to use it."
        return bundle
