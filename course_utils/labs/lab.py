"""What the labs share: named controls, buttons, a chart with its line of text, one run at a time."""

import html
import io
import threading
import time
from collections.abc import Callable

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from course_utils import QUIET
from course_utils.contestants import PIECE
from course_utils.diagnosis import describe_run, running_mean
from course_utils.history import History
from course_utils.labs.controls import check_value, describe_value, tell_apart, with_number
from course_utils.labs.tickets import Tickets
from course_utils.live import LiveTraining, check_limit

REDRAW = 0.3  # seconds between two pictures
KEPT = 3  # earlier runs that stay on the chart
BUSY = "A run is going on: press Stop first."


def small_batches(rows: int) -> dict[str, int]:
    """Settings that work off a step of `rows` rows in batches of at most 8."""
    # Stop and Pause are obeyed between two batches. The published measurements (`contestants.recipe_settings`) cut
    # their steps in the same way, so a lab sees the batches that they saw.
    return {"batch_size": min(PIECE, rows), "accumulate": max(1, rows // PIECE)}


class Lab:
    """A panel with one run at a time.

    `controls` maps a setting's name to its widget, `buttons` a button's to it; `view` is the whole lab as one widget;
    `current` is the run of now or the last one, `earlier` are those before it; `tickets` are five messages that the
    network labels at every picture.
    """

    title = "Lab"
    inches = (10.5, 5.4)
    plain = ""  # the name of a run in which nothing is switched on

    def __init__(self, controls: dict[str, widgets.Widget], tickets: Tickets):
        self.controls, self.tickets = controls, tickets
        self.current: LiveTraining | None = None
        self.earlier: list[LiveTraining] = []
        self.notice = ""
        self.chart = widgets.Image(format="png", layout={"width": "100%", "max_width": "945px"})
        self.status = widgets.HTML()
        self.buttons: dict[str, widgets.Button] = {}
        self.add_button("Run", "train from the start, with the settings above", self.start)
        self.add_button("Pause", "hold; press again to go on", self.pause)
        self.add_button("Stop", "end this run", self.stop)
        self.add_button("Reset", "stop, and clear the chart", self.reset)
        self.row = widgets.HBox(list(self.buttons.values()))
        self.view = widgets.VBox([*map(with_number, controls.values()), self.row, self.chart, self.status])
        # Drawn on a canvas of its own, not by pyplot, which belongs to the main thread.
        self._figure = Figure(self.inches, dpi=90)
        self._drawing = threading.RLock()  # who holds it may change what is drawn, or draw
        FigureCanvasAgg(self._figure)
        self._due, self._shown = 0.0, ""  # when the next picture is due, and the state of the run on the last one
        self._stop_wanted = self._reset_wanted = False  # pressed during the run of now
        self.refresh()

    def add_button(self, name: str, tip: str, action: Callable[[], None]) -> None:
        """Make a button that calls `action`."""
        self.buttons[name] = widgets.Button(description=name, tooltip=tip)
        self.buttons[name].on_click(lambda _: action())

    # --- what each lab defines ----------------------------------------------------------------------------------

    def make_run(self, **options) -> LiveTraining:
        """Build the run that the controls describe."""
        raise NotImplementedError

    def draw(self, figure: Figure) -> None:
        """Draw the chart."""
        raise NotImplementedError

    def words(self) -> str:
        """The chart in a few sentences."""
        if self.current is None:
            return "Press Run."
        self.name_runs()
        before = "; ".join(f"{run.name}: {self.describe_earlier(run)}" for run in self.earlier)
        before = f" Beside it, {before}." if before else ""
        return self.describe(self.current) + before + self.tickets.words()

    def describe(self, run: LiveTraining) -> str:
        """The facts of the current run as a few sentences."""
        return describe_run(run)

    def describe_earlier(self, run: LiveTraining) -> str:
        """The facts of an earlier run in a few words."""
        return f"loss ≈ {running_mean(run.history.loss)[-1]:.2f}"

    def settings_shown(self, run: LiveTraining) -> dict[str, str]:
        """The settings of a run as a person reads them: what two runs are told apart by."""
        turned = {"turned at step": ", ".join(f"{step}" for step, _ in run.changes)} if run.changes else {}
        return run.values | turned

    def kept(self, runs: list[LiveTraining]) -> list[LiveTraining]:
        """Which of the runs before the current one stay on the chart."""
        return runs[-KEPT:]

    def finish(self, run: LiveTraining) -> None:
        """Do what is left to do after the last step; in the run's thread, while the lab still counts as busy."""

    def can_be_compared(self, run: LiveTraining | None) -> bool:
        """Whether a run stays on the chart when the next one begins."""
        return run is not None and len(run.history.loss) > 0

    def clear(self) -> None:
        """Forget all runs and draw an empty chart."""
        with self._drawing:
            self.current, self.earlier, self._reset_wanted = None, [], False
            self.tickets.forget()
            self.refresh()

    # --- what the buttons do, and code can do as well -----------------------------------------------------------

    def set(self, **values) -> None:
        """Set controls by name.

        Raises ValueError for a name that is none or a value that a control does not take; then none is changed.
        """
        for name, value in values.items():
            if name not in self.controls:
                raise ValueError(f"There is no control {name!r} here: choose among {', '.join(self.controls)}.")
            check_value(name, self.controls[name], value)
        for name, value in values.items():
            self.controls[name].value = value

    def start(self) -> None:
        """Run in the background. While one run is going on, a second is refused with a sentence."""
        self.start_run(self.make_run)

    def run(self, steps: int | None = None, **values) -> History:
        """Run at once, without widgets, for at most `steps` steps; `values` are controls by name.

        Raises RuntimeError while another run is going on, ValueError for values that no control takes.
        """
        self.refuse_if_busy()
        self.set(**values)
        return self.finish_run(self.make_run, steps)

    def start_run(self, make_run: Callable[..., LiveTraining]) -> None:
        """Start a run in the background, unless one is going on."""
        if self.is_busy:
            self.notice = f" {BUSY}"
            self.say(self.words() + self.notice)
            return
        try:
            run = make_run(on_change=self._on_change, on_end=self._end)
        except (ValueError, OSError) as error:
            self.say(str(error))
            return
        self._take(run)
        run.start()

    def finish_run(self, make_run: Callable[..., LiveTraining], steps: int | None = None) -> History:
        """Run in the caller's thread, with a progress bar, to the end. Raises RuntimeError for a run that failed."""
        self.refuse_if_busy()
        check_limit(steps)
        with tqdm(unit="step", desc=self.title, disable=QUIET) as bar:
            run = make_run(on_change=lambda run: bar.update(len(run.history.loss) - bar.n), on_end=self._end)
            bar.total = min(steps or run.steps, run.steps)
            self._take(run)
            run.run(steps)
        if run.state == "failed":
            raise RuntimeError(run.message)
        self.refresh()
        return run.history

    def refuse_if_busy(self) -> None:
        """Raise RuntimeError while a run goes on in the background."""
        if self.is_busy:
            raise RuntimeError("A run is going on in the background: press Stop, or call stop(), first.")

    def pause(self) -> None:
        """Pause, or go on."""
        if self.is_busy and self.current.is_held:
            self.current.resume()
        elif self.is_busy:
            self.current.pause()

    def stop(self, wait: float = 2.0) -> None:
        """Stop the run, if there is one, and wait up to `wait` seconds for its end."""
        run = self.current
        if run is not None and run.is_going:
            self._stop_wanted = True  # `finish` looks at it: after the last step the run itself no longer does
            run.stop()
            run.wait(wait)

    def reset(self) -> None:
        """Stop, and clear the chart, if need be as soon as the run has ended."""
        self._reset_wanted = True
        self.stop()
        if self.is_busy:  # its thread still works on the network, and clears the chart when it ends
            self.say("The chart is cleared as soon as the run has ended.")
        if not self.is_busy:
            self.clear()

    @property
    def is_busy(self) -> bool:
        """Whether a run is going on."""
        run = self.current
        return run is not None and run.is_going

    def _take(self, run: LiveTraining) -> None:
        """Make `run` the current one; the one before stays on the chart, without its network."""
        with self._drawing:  # the thread of the run before may still be drawing its last picture
            if self._reset_wanted:
                self.clear()
            if self.can_be_compared(self.current):
                self.current.release()
                self.earlier = self.kept([*self.earlier, self.current])
            run.values = {name.replace("_", " "): describe_value(box) for name, box in self.controls.items()}
            self.tickets.forget()
            self.current, self.notice, self._stop_wanted = run, "", False

    def _end(self, run: LiveTraining) -> None:
        """Let the network, which has its best weights back, label the messages; then what each lab does at the end."""
        if run.outcome != "failed":
            self.tickets.ask(run.model)
        self.finish(run)

    # --- picture and text ---------------------------------------------------------------------------------------

    def _on_change(self, run: LiveTraining) -> None:
        """Redraw, but not too often: called in the run's thread, many times a second."""
        start = time.monotonic()
        if run.state == self._shown and start < self._due:
            return
        self._shown = run.state
        try:
            if self._reset_wanted and run is self.current and not run.is_going:
                self.clear()
            elif run.is_going:  # between two batches; not in `refresh`, which a button in another thread calls as well
                self.tickets.ask(run.model)
            self.refresh()
        except Exception as error:  # a picture that fails must not end the training
            self.say(f"The chart could not be drawn. {type(error).__name__}: {error}")
        # On a slow machine, at most half of the time goes into pictures.
        end = time.monotonic()
        self._due = end + max(REDRAW, end - start)

    def refresh(self) -> None:
        """Write the line under the chart, which is quickly done, and draw the chart."""
        with self._drawing:  # a button may be pressed while the run's thread is drawing
            paused = self.current is not None and self.current.state == "paused"
            self.buttons["Pause"].description = "Resume" if paused else "Pause"
            self.say(self.words() + (self.notice if self.is_busy else ""))
            self.draw(self._figure)
            picture = io.BytesIO()
            self._figure.canvas.print_png(picture)
            self.chart.value = picture.getvalue()

    def name_runs(self) -> None:
        """Name the runs on the chart by what differs between them."""
        runs = [*self.earlier, *([self.current] if self.current else [])]
        names = tell_apart([self.settings_shown(run) for run in runs], self.plain)
        for run, name in zip(runs, names, strict=True):
            run.name = name

    def say(self, text: str) -> None:
        """Write a line of plain text under the chart."""
        self.status.value = f'<div role="status">{html.escape(text)}</div>'

    def figure(self) -> Figure:
        """The chart as a static figure, with its words printed. Raises RuntimeError while a run is changing it."""
        if self.is_busy and self.current.state != "paused":
            raise RuntimeError("A run is going on: press Pause or Stop first.")
        figure = plt.figure(figsize=self.inches)  # by pyplot: only its figures are pictures to every notebook
        self.draw(figure)
        plt.close(figure)
        print("Figure: " + self.words())
        return figure

    def _repr_mimebundle_(self, **options):
        """Show the widgets in Jupyter; where there are none, a sentence."""
        bundle = self.view._repr_mimebundle_(**options)
        bundle["text/plain"] = f"{self.title}: run this cell in JupyterLab to use it."
        return bundle
