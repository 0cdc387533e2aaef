"""Lesson 9: what pre-training is worth. Measured curves, and points of your own trained on demand."""

from pathlib import Path

from matplotlib.figure import Figure

from course_utils import plots
from course_utils.contestants import FEW, NETWORKS, build_network, measure_contestant, recipe_settings
from course_utils.data import QUEUES, load_ticket_splits, tokenize
from course_utils.devices import pick_device
from course_utils.evaluation import evaluate
from course_utils.history import History
from course_utils.labs.controls import dropdown
from course_utils.labs.lab import BUSY, Lab
from course_utils.labs.tickets import Tickets
from course_utils.live import LiveTraining
from course_utils.models import load_tokenizer
from course_utils.results import RESULTS, label_curves, read_results
from course_utils.studies import draw_few


class TransferLab(Lab):
    """The measured curves of `results`, and a run that adds a point to them.

    `curves` maps a contestant to rows of (labels a queue, mean macro-F1, half-width of its 95 % interval); `points`
    holds your own as (contestant, labels a queue, macro-F1).
    """

    title = "Transfer lab"
    inches = (9, 5.8)
    networks = (
        "pre-trained", "probe, then all blocks", "frozen body", "random weights", "last token", "3 blocks frozen",
        "LoRA", "lower rates below",
    )  # fmt: skip
    baselines = ("majority class", "TF-IDF")

    def __init__(self, results: Path = RESULTS / "transfer.json"):
        self.measured = read_results(results.stem, results.parent)
        self.model = self.measured["settings"]["model"]
        self.tokenizer = load_tokenizer(self.model)
        runs = [*read_results("methods")["runs"], *self.measured["runs"]]
        self.rates = {(run["contestant"], run["labels"], run["seed"]): run["rate"] for run in runs if "rate" in run}
        self.curves = label_curves(self.measured, len(QUEUES))
        self.points: list[tuple[str, int, float]] = []
        controls = {
            "contestant": dropdown("network or baseline", [*self.networks, *self.baselines], "pre-trained"),
            "labels": dropdown("labels a queue", [8, 16, 32, 64], 16),
            "seed": dropdown("seed", list(range(10)), 0),
        }
        super().__init__(controls, Tickets(self.tokenizer, QUEUES))

    def prepare(self):
        """Tokenize the tickets that the controls ask for."""
        labels, seed = self.controls["labels"].value, self.controls["seed"].value
        return tokenize(draw_few(load_ticket_splits(), labels, seed), self.tokenizer)

    def make_run(self, **options) -> LiveTraining:
        """Build the run of the measurements: same recipe, same steps, the rate that was best there.

        What was measured with other seeds or another number of labels only takes the rate that was best there.
        """
        name, labels, seed = (box.value for box in self.controls.values())
        recipe, places = NETWORKS[name], [(name, labels, seed), (name, labels, 0), (name, FEW, 0)]
        rate = next((self.rates[place] for place in places if place in self.rates), recipe.rates[0])
        data = self.prepare()
        network = build_network(recipe, data["train"], seed, self.model).to(pick_device())
        settings = recipe_settings(recipe, len(data["train"]), len(QUEUES), rate, seed)
        run = LiveTraining(network, data["train"], data["validation"], settings, **options)
        run.name, run.labels, run.test = name, labels, data["test"]
        return run

    def start(self) -> None:
        """Train in the background; a baseline takes no time and is fitted at once."""
        if self.controls["contestant"].value not in self.baselines:
            super().start()
        elif self.is_busy:
            self.say(f"{self.words()} {BUSY}")
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
        self.tickets.forget()
        self.points.append((name, labels, measure_contestant(name, self.prepare(), seed)["macro_f1"]))
        self.refresh()

    def finish(self, run: LiveTraining) -> None:
        """Score a finished network on the test split, as the measurements were, unless Stop or Reset is pressed."""
        if run.outcome != "finished":
            return
        score = evaluate(run.model, run.test).macro_f1
        if self._stop_wanted:
            run.outcome = "stopped"  # and what was stopped is no measurement
        else:
            self.points.append((run.name, run.labels, score))

    def clear(self) -> None:
        """Take all points of your own off the chart."""
        with self._drawing:
            self.points.clear()
            super().clear()

    def draw(self, figure: Figure) -> None:
        """The measured curves and the points of your own; below, what the network of now says to five messages."""
        tickets = None if self.tickets.probabilities is None else self.tickets
        plots.draw_label_curves(figure, self.curves, self.points, tickets)

    def words(self) -> str:
        """The state of the run, and the last point beside what was measured there."""
        if self.current is None and not self.points:
            ends = "; ".join(f"{name} {rows[0][1]:.2f} and {rows[-1][1]:.2f}" for name, rows in self.curves.items())
            least = min(rows[0][0] for rows in self.curves.values())
            return f"Measured with {least:g} labels a queue, and with most: {ends}. Press Run for a point of your own."
        text = "" if self.current is None else self.describe(self.current) + self.tickets.words()
        if self.is_busy or not self.points:
            return text
        name, labels, score = self.points[-1]
        text += f" Point {len(self.points)}: {name}, {labels} labels a queue, test macro-F1 ≈ {score:.2f}."
        known = [(mean, half) for size, mean, half in self.curves.get(name, []) if size == labels]
        if known:
            text += f" Measured over several seeds: ≈ {known[0][0]:.2f} ± ≈ {known[0][1]:.2f}."
        return text.strip()
