"""Lessons 7 to 9: widgets around `live.LiveTraining`. Turn a knob and watch the network answer.

    lab = LearningRateLab()
    lab                                          # in the last line of a cell: the widgets
    lab.run(steps=60, learning_rate=1e-3)        # the same without widgets, with the same numbers
    lab.figure()

A run has a thread of its own, so the kernel stays free for other cells. The chart is one picture, drawn anew in that
thread two or three times a second.
"""

import html
import io
import json
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from course_utils import QUIET, plots
from course_utils.data import QUEUES, clean, read_examples, split_examples, take_per_label, tokenize
from course_utils.evaluation import evaluate
from course_utils.experiments import (
    FEW,
    NETWORKS,
    RESULTS,
    build,
    draw_few,
    measure,
    prepare_run,
    read_results,
    summarize,
)
from course_utils.live import LiveTraining, RangeTest, describe, read_range_test
from course_utils.models import load_classifier, load_tokenizer, set_dropout
from course_utils.pipeline import SCHEDULES
from course_utils.training import FineTuneSettings, History, copy_weights, put_weights

REDRAW = 0.3  # seconds between two pictures
KEPT = 3  # earlier runs that stay on the chart
WIDE, NAMED = {"width": "430px"}, {"description_width": "150px"}


@lru_cache(maxsize=1)
def load_splits() -> dict:
    """The course's tickets, cleaned and split: read once for all labs of a kernel."""
    return split_examples(clean(read_examples(label="queue"), QUEUES)[0])


def dropdown(description: str, options: Sequence, value) -> widgets.Dropdown:
    """A named list to choose from."""
    return widgets.Dropdown(options=options, value=value, description=description, style=NAMED, layout=WIDE)


def rate_slider(value: float = 1e-3) -> widgets.FloatLogSlider:
    """A slider on a log scale, which reports where it is let go and not every place it passes."""
    return widgets.FloatLogSlider(
        value=value, min=-6, max=0, step=0.125, readout_format=".1e", continuous_update=False,
        description="learning rate", style=NAMED, layout=WIDE,
    )  # fmt: skip


def with_number(control: widgets.Widget) -> widgets.Widget:
    """Put a number field beside a slider: exact, and named to a screen reader, which a slider's handle is not."""
    if not isinstance(control, widgets.FloatLogSlider):
        return control
    number = widgets.BoundedFloatText(
        value=control.value, min=0, max=1, step=1e-6, description=f"{control.description}, as a number", style=NAMED,
        layout={"width": "260px"}, continuous_update=False,
    )  # fmt: skip
    number.style.description_width = "170px"
    widgets.link((control, "value"), (number, "value"))
    return widgets.HBox([control, number])


class Lab:
    """What the labs share: named controls, buttons, a chart with its line of text, one run at a time.

    `controls` maps a setting's name to its widget, `buttons` a button's to it; `view` is the whole lab as one widget;
    `current` is the run of now or the last one, `earlier` are those before it.
    """

    title = "Lab"
    inches = (10.5, 3.4)

    def __init__(self, controls: dict[str, widgets.Widget], above: Sequence[widgets.Widget] = ()):
        self.controls = controls
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
        shown = [*above, *map(with_number, controls.values()), self.row, self.chart, self.status]
        self.view = widgets.VBox(shown)
        # Drawn on a canvas of its own, not by pyplot, which belongs to the main thread.
        self._figure, self._drawing = Figure(self.inches, dpi=90), threading.Lock()
        FigureCanvasAgg(self._figure)
        self._drawn = (0.0, "")  # when the chart was drawn last, and in which state of the run
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
        """The chart in one or two sentences."""
        return describe(self.current) if self.current else "Press Run."

    def finish(self, run: LiveTraining) -> None:
        """Do what is left to do when a run has ended; in the run's thread."""

    # --- what the buttons do, and code can do as well -----------------------------------------------------------

    def set(self, **values) -> None:
        """Set controls by name. Raises ValueError for a name that is none, or a value that a control does not take."""
        for name, value in values.items():
            if name not in self.controls:
                raise ValueError(f"There is no control {name!r} here: choose among {', '.join(self.controls)}.")
            try:
                self.controls[name].value = value
            except Exception:
                raise ValueError(f"The control {name!r} does not take {value!r}.") from None

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
            self.notice = " A run is going on: press Stop first."
            self.say(self.words() + self.notice)
            return
        try:
            run = make_run(on_change=self._on_change)
        except (ValueError, OSError) as error:
            self.say(str(error))
            return
        self._take(run)
        run.start()

    def finish_run(self, make_run: Callable[..., LiveTraining], steps: int | None = None) -> History:
        """Run in the caller's thread, with a progress bar, to the end."""
        self.refuse_if_busy()
        with tqdm(unit="step", desc=self.title, disable=QUIET) as bar:
            run = make_run(on_change=lambda run: bar.update(len(run.history.loss) - bar.n))
            bar.total = min(steps or run.steps, run.steps)
            self._take(run)
            run.run(steps)
        if run.state == "failed":
            raise RuntimeError(run.message)
        self.finish(run)
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
        if self.is_busy:
            self.current.stop()
            self.current.wait(wait)

    def reset(self) -> None:
        """Stop, and clear the chart."""
        self.stop()
        if self.is_busy:  # its thread still works on the network
            self.say("The run has not ended yet: press Reset again in a moment.")
            return
        self.current, self.earlier = None, []
        self.refresh()

    @property
    def is_busy(self) -> bool:
        """Whether a run is going on."""
        return self.current is not None and self.current.is_going

    def _take(self, run: LiveTraining) -> None:
        """Make `run` the current one; the one before stays on the chart, without its network."""
        if self.current is not None and self.current.history.loss:
            self.current.release()
            self.earlier = [*self.earlier, self.current][-KEPT:]
        self.current, self.notice = run, ""

    # --- picture and text ---------------------------------------------------------------------------------------

    def _on_change(self, run: LiveTraining) -> None:
        """Redraw, but not too often: called in the run's thread, many times a second."""
        try:
            if not run.is_going:
                self.finish(run)
            drawn, state = self._drawn
            if run.state != state or time.monotonic() - drawn > REDRAW:
                self._drawn = (time.monotonic(), run.state)
                self.refresh()
        except Exception as error:  # a picture that fails must not end the training
            self.say(f"The chart could not be drawn. {type(error).__name__}: {error}")

    def refresh(self) -> None:
        """Write the line under the chart, which is quickly done, and draw the chart."""
        with self._drawing:  # a button may be pressed while the run's thread is drawing
            paused = self.current is not None and self.current.state == "paused"
            self.buttons["Pause"].description = "Resume" if paused else "Pause"
            self.say(self.words() + (self.notice if self.is_busy else ""))
            if self.chart_changes:
                self.draw(self._figure)
                picture = io.BytesIO()
                self._figure.canvas.print_png(picture)
                self.chart.value = picture.getvalue()

    @property
    def chart_changes(self) -> bool:
        """Whether the chart has to be drawn again."""
        return True

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


class LearningRateLab(Lab):
    """Lesson 7: the learning rate, turned while the network trains. A new rate holds from the next step on."""

    title = "Learning-rate lab"
    presets: ClassVar = {"too low": 1e-5, "good": 1e-3, "too high": 1e-1, "stuck": 1e-2}

    def __init__(self, model: str = "gpt2-mini", steps: int = 120, validation_rows: int = 8):
        splits = load_splits()
        validation = take_per_label(splits["validation"], validation_rows)
        self.data = tokenize({"train": splits["train"], "validation": validation}, load_tokenizer(model))
        self.steps = steps
        self.model = load_classifier(QUEUES, model)
        self.untrained = copy_weights(self.model)
        self.preset = dropdown("preset", ["choose ...", *self.presets], "choose ...")
        self.preset.observe(lambda change: self.take_preset(change["new"]), "value")
        controls = {
            "learning_rate": rate_slider(),
            "schedule": dropdown("schedule", SCHEDULES, "constant"),
            "warmup_share": dropdown("warm-up, share of steps", [0.0, 0.1, 0.3], 0.0),
            "batch_size": dropdown("batch size", [4, 8, 16, 32], 16),
        }
        controls["learning_rate"].observe(lambda change: self.set_learning_rate(change["new"]), "value")
        super().__init__(controls, above=[self.preset])
        self.add_button("Range test", "raise the rate step by step, from a millionth to 1", self.start_range_test)
        self.row.children = list(self.buttons.values())

    def make_run(self, **options) -> LiveTraining:
        """Build a run that begins, like every other, with the same untrained head."""
        put_weights(self.model, self.untrained)
        settings = FineTuneSettings(patience=None, **{name: box.value for name, box in self.controls.items()})
        run = LiveTraining(
            self.model, self.data["train"], self.data["validation"], settings, self.steps, validate_every=20, **options
        )
        run.name = f"{settings.learning_rate:.1e}, {settings.schedule}"
        return run

    def make_range_test(self, **options) -> RangeTest:
        """Build a sweep over all rates of the slider."""
        put_weights(self.model, self.untrained)
        settings = FineTuneSettings(batch_size=self.controls["batch_size"].value)
        return RangeTest(self.model, self.data["train"], self.data["validation"], settings, **options)

    def start_range_test(self) -> None:
        """Sweep in the background."""
        self.start_run(self.make_range_test)

    def run_range_test(self) -> tuple[float, float | None]:
        """Sweep at once; return the rates of steepest descent and of the blow-up (None: there was none)."""
        history = self.finish_run(self.make_range_test)
        return read_range_test(history.learning_rate, history.loss)

    def set_learning_rate(self, rate: float) -> None:
        """What moving the slider does to a run that is going on."""
        if self.is_busy:
            self.current.set_learning_rate(rate)

    def take_preset(self, name: str) -> None:
        """Set the rate of a preset, constant from the first step on."""
        if name in self.presets:
            self.set(learning_rate=self.presets[name], schedule="constant", warmup_share=0.0)

    def _take(self, run: LiveTraining) -> None:
        if isinstance(self.current, RangeTest):  # a sweep cannot be compared with runs
            self.current = None
        super()._take(run)

    def draw(self, figure: Figure) -> None:
        """The chart of the runs, or of the range test."""
        if not isinstance(self.current, RangeTest):
            plots.draw_runs(figure, self.current, self.earlier)
            return
        history, marks = self.current.history, {}
        if self._sweep_is_done():
            steepest, blow_up = read_range_test(history.learning_rate, history.loss)
            marks = {"steepest descent": steepest} | ({"blow-up": blow_up} if blow_up else {})
        plots.draw_range_test(figure, history.learning_rate, history.loss, marks)

    def words(self) -> str:
        """The state of the run, or what the range test says."""
        if not self._sweep_is_done():
            return super().words()
        steepest, blow_up = read_range_test(self.current.history.learning_rate, self.current.history.loss)
        end = f"blows up at ≈ {blow_up:.1e}" if blow_up else "does not blow up"
        return f"Range test: the loss falls most steeply at a rate of ≈ {steepest:.1e}, and {end}."

    def _sweep_is_done(self) -> bool:
        return isinstance(self.current, RangeTest) and not self.is_busy and len(self.current.history.loss) >= 20


class RegularizationLab(Lab):
    """Lesson 8: few labels, and what keeps the network from learning them by heart."""

    title = "Regularization lab"

    def __init__(self, model: str = "gpt2-mini", steps: int = 150, validation_rows: int = 8):
        self.steps, self.validation_rows, self.tokenizer = steps, validation_rows, load_tokenizer(model)
        self.model = load_classifier(QUEUES, model)
        self.untrained = copy_weights(self.model)
        controls = {
            "labels": dropdown("labels a queue", [4, 8, 16, 32], 16),
            "dropout": dropdown("dropout", [0.0, 0.1, 0.3, 0.5], 0.0),
            "weight_decay": dropdown("weight decay", [0.0, 0.01, 0.1, 1.0], 0.0),
            "label_smoothing": dropdown("label smoothing", [0.0, 0.1, 0.2], 0.0),
            # 0 and not None, which a list shows as no choice at all.
            "patience": dropdown(
                "patience, validations", [("never stop", 0), *((f"{count}", count) for count in (1, 2, 3, 5))], 0
            ),
            "learning_rate": rate_slider(),
            "seed": dropdown("seed, for the draw of labels", list(range(5)), 0),
        }
        super().__init__(controls)

    def make_run(self, **options) -> LiveTraining:
        """Build a run on few labels, validated every 10 steps, the best validation loss kept."""
        values = {name: box.value for name, box in self.controls.items()}
        values["patience"] = values["patience"] or None
        name = ", ".join(f"{key} {value:g}" for key, value in values.items() if value and key != "learning_rate")
        tables = load_splits()
        few = {
            "train": take_per_label(tables["train"], values.pop("labels"), values["seed"]),
            "validation": take_per_label(tables["validation"], self.validation_rows),
        }
        data = tokenize(few, self.tokenizer)
        put_weights(self.model, self.untrained)
        set_dropout(self.model, values.pop("dropout"))
        settings = FineTuneSettings(**values, warmup_share=0.0, schedule="constant", monitor="validation_loss")
        run = LiveTraining(self.model, data["train"], data["validation"], settings, self.steps, 10, **options)
        run.name = name
        return run

    def draw(self, figure: Figure) -> None:
        """Both losses, the gap between them, and the score."""
        plots.draw_gap(figure, self.current, self.earlier)

    def words(self) -> str:
        """The state of the run, the gap, and what early stopping saved."""
        run, text = self.current, super().words()
        if run is None or not run.history.epochs:
            return text
        last, best = run.history.epochs[-1], run.history.epochs[run.history.best_epoch - 1]
        gap = last["validation_loss"] - last["train_loss"]
        text += f" Validation loss is ≈ {abs(gap):.2f} {'above' if gap >= 0 else 'below'} training loss."
        if run.state == "stopped early":
            text += f" Stopped early: ≈ {run.steps - len(run.history.loss)} of {run.steps} steps saved."
        if not run.is_going:
            text += f" Back to step ≈ {best['step']}, with a validation loss of ≈ {best['validation_loss']:.2f}."
        return text


class TransferLab(Lab):
    """Lesson 9: what pre-training is worth. Measured curves, and points of your own trained on demand."""

    title = "Transfer lab"
    inches = (9, 4.6)
    networks = (
        "pre-trained", "frozen body", "random weights", "last token", "3 blocks frozen", "LoRA", "lower rates below",
    )  # fmt: skip
    baselines = ("majority class", "TF-IDF")

    def __init__(self, results: Path = RESULTS / "transfer.json"):
        self.measured = json.loads(results.read_text())
        self.model = self.measured["settings"]["model"]
        self.tokenizer = load_tokenizer(self.model)
        runs = {**read_results("methods")["runs"], **self.measured["runs"]}
        self.rates = {key: run["rate"] for key, run in runs.items() if "rate" in run}
        per_queue = self.measured["settings"]["rows"]["train"] / len(QUEUES)
        self.curves: dict[str, list[tuple[float, float, float]]] = {}
        for (name, size), (mean, half, _) in summarize(self.measured).items():
            labels = per_queue if size == "all" else int(size)
            self.curves.setdefault(name, []).append((labels, mean, half))
        self.points: list[tuple[str, int, float]] = []  # (name, labels, macro-F1)
        controls = {
            "contestant": dropdown("network or baseline", [*self.networks, *self.baselines], "pre-trained"),
            "labels": dropdown("labels a queue", [8, 16, 32, 64], 16),
            "seed": dropdown("seed", list(range(10)), 0),
        }
        super().__init__(controls)

    def prepare(self):
        """Tokenize the tickets that the controls ask for."""
        return tokenize(
            draw_few(load_splits(), self.controls["labels"].value, self.controls["seed"].value), self.tokenizer
        )

    def make_run(self, **options) -> LiveTraining:
        """Build the run of the measurements: same recipe, same steps, the rate that was best there.

        What was measured with other seeds or another number of labels only takes the rate that was best there.
        """
        name, labels, seed = (box.value for box in self.controls.values())
        places = [(labels, seed), (labels, 0), (FEW, 0)]
        known = [self.rates[key] for size, s in places if (key := f"{name}, {size}, seed {s}") in self.rates]
        rate = (known or NETWORKS[name].rates)[0]
        data = self.prepare()
        network = build(NETWORKS[name], QUEUES, seed, self.model)
        run = prepare_run(NETWORKS[name], network, data, rate, seed, **options)
        run.name, run.labels, run.test = name, labels, data["test"]
        return run

    def start(self) -> None:
        """Train in the background; a baseline takes no time and is fitted at once."""
        if self.controls["contestant"].value not in self.baselines:
            super().start()
        elif self.is_busy:
            self.say(self.words() + " A run is going on: press Stop first.")
        else:
            self.fit_baseline()

    def run(self, steps: int | None = None, **values) -> History | None:
        """Train at once; fewer `steps` than the measurements took make a point that cannot be compared with them."""
        self.refuse_if_busy()
        self.set(**values)
        if self.controls["contestant"].value not in self.baselines:
            return super().run(steps)
        return self.fit_baseline()

    def fit_baseline(self) -> None:
        """Fit the chosen baseline and put its point on the chart."""
        self.refuse_if_busy()
        name, labels, seed = (box.value for box in self.controls.values())
        self.current = None
        self.points.append((name, labels, measure(name, self.prepare(), seed)["macro_f1"]))
        self.refresh()

    def finish(self, run: LiveTraining) -> None:
        """Score a finished network on the test split, as the measurements were."""
        if run.state == "finished":
            self.points.append((run.name, run.labels, evaluate(run.model, run.test).macro_f1))

    def reset(self) -> None:
        """Stop, and take all points of your own off the chart."""
        self.stop()
        if not self.is_busy:
            self.points.clear()
        super().reset()

    def draw(self, figure: Figure) -> None:
        """The measured curves and the points of your own."""
        plots.draw_label_curves(figure, self.curves, self.points)

    @property
    def chart_changes(self) -> bool:
        """Only when a run has ended: until then there is no new point."""
        return not self.is_busy

    def words(self) -> str:
        """The state of the run, and the last point beside what was measured there."""
        if self.current is None and not self.points:
            ends = "; ".join(f"{name} {rows[0][1]:.2f} and {rows[-1][1]:.2f}" for name, rows in self.curves.items())
            least = min(rows[0][0] for rows in self.curves.values())
            return f"Measured with {least:g} labels a queue, and with most: {ends}. Press Run for a point of your own."
        text = "" if self.current is None else super().words()
        if self.is_busy or not self.points:
            return text
        name, labels, score = self.points[-1]
        text += f" Point {len(self.points)}: {name}, {labels} labels a queue, test macro-F1 ≈ {score:.2f}."
        known = [(mean, half) for size, mean, half in self.curves.get(name, []) if size == labels]
        if known:
            text += f" Measured over several seeds: ≈ {known[0][0]:.2f} ± ≈ {known[0][1]:.2f}."
        return text.strip()
