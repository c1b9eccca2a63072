"""The written record of a run: `history.jsonl`, TensorBoard events, and a plot of losses and scores."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from manyheads.errors import TrainingError

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.training.loop import StepRecord

HISTORY = "history.jsonl"
EVENTS = "tensorboard"
PLOT = "training.png"
SMOOTHING = 0.9
"""Weight of the past in the plotted running mean of a loss."""


class RunLog:
    """Writes into the output folder while a run goes on."""

    def __init__(self, folder: Path, *, step: int = 0, keep_bytes: int = 0) -> None:
        """Creates the folder. A run that goes on at `step` keeps so many bytes of the history and drops the rest.

        Raises TrainingError where that cannot be, as all that writes does.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        self._losses: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._scores: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._weights: dict[str, list[tuple[int, float]]] = defaultdict(list)
        path = folder / HISTORY
        with _written(path), ExitStack() as opened:
            folder.mkdir(parents=True, exist_ok=True)
            self.whole = (path.stat().st_size if path.exists() else 0) >= keep_bytes
            """Whether the history that was to be kept was there."""
            self._history = opened.enter_context(path.open("r+b" if path.exists() else "w+b"))
            self._history.truncate(keep_bytes if self.whole else 0)
            for line in self._history:
                with suppress(ValueError, TypeError, AttributeError):  # damaged: a point less in the plot
                    self._remember(json.loads(line))
            with _written(folder / EVENTS):
                self._events = SummaryWriter(str(folder / EVENTS), purge_step=step)
            opened.pop_all()

    @property
    def size(self) -> int:
        """Bytes of the history so far."""
        return self._history.tell()

    @property
    def losses(self) -> dict[str, list[float]]:
        """Of the steps so far, by task."""
        return {name: [loss for _, loss in points] for name, points in self._losses.items()}

    def sync(self) -> None:
        """Wait until what is written so far is on the disk."""
        with _written(self.folder / EVENTS):
            self._events.flush()
        with _written(self.folder / HISTORY):
            os.fsync(self._history.fileno())

    def step(self, record: StepRecord) -> None:
        """One training step."""
        skipped = record.skip.to_json() if record.skip is not None else {}
        pulls = {"pull": dict(record.pulls)} if record.pulls else {}
        self.event({"step": record.step, "loss": dict(record.losses), "weight": dict(record.weights),
                    "tokens": dict(record.tokens), "rate": record.rate, "gradient_norm": record.gradient_norm,
                    "packs": record.packs, "phase": record.phase, **pulls, **skipped})  # fmt: skip
        with _written(self.folder / EVENTS):
            for name, loss in record.losses.items():
                self._events.add_scalar(f"loss/{name}", loss, record.step)
            for name, weight in record.weights.items():
                self._events.add_scalar(f"weight/{name}", weight, record.step)
            for name, pull in record.pulls.items():
                self._events.add_scalar(f"pull/{name}", pull, record.step)
            self._events.add_scalar("rate", record.rate, record.step)
            self._events.add_scalar("gradient_norm", record.gradient_norm, record.step)

    def scores(
        self, step: int, metrics: Mapping[str, Metrics], headlines: Mapping[str, float], combined: float
    ) -> None:
        """One evaluation on validation data."""
        self.event({"step": step, "validation": metrics, "headline": dict(headlines), "combined": combined})
        with _written(self.folder / EVENTS):
            for name, values in metrics.items():
                for metric, value in values.items():
                    self._events.add_scalar(f"validation/{name}/{metric}", value, step)
            self._events.add_scalar("validation/combined", combined, step)

    def close(self, plot: bool) -> None:
        """Close the files; draw the plot."""
        for file in (self._history, self._events):
            with suppress(OSError):  # a write that failed has been told of, and fails here once more
                file.close()
        if plot:
            draw(self.folder / PLOT, self._losses, self._scores, self._weights)

    def event(self, row: Mapping[str, Any]) -> None:
        """A row of the history."""
        with _written(self.folder / HISTORY):
            self._history.write(json.dumps(row).encode() + b"\n")
            self._history.flush()
        self._remember(row)

    def _remember(self, row: Mapping[str, Any]) -> None:
        """For the plot."""
        for key, points in (("loss", self._losses), ("weight", self._weights), ("headline", self._scores)):
            for name, value in row.get(key, {}).items():
                points[name].append((row["step"], value))


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raise TrainingError when the disk fails."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written ({error.strerror or error}): mend that, then go on with --resume"
        ) from None


class Unlogged:
    """Writes nothing: for the processes that do not lead."""

    whole = True
    size = 0
    losses: Mapping[str, list[float]] = MappingProxyType({})

    def step(self, record: StepRecord) -> None:
        """Nothing."""

    def scores(
        self, step: int, metrics: Mapping[str, Metrics], headlines: Mapping[str, float], combined: float
    ) -> None:
        """Nothing."""

    def event(self, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def close(self, plot: bool) -> None:
        """Nothing."""


Points = Mapping[str, list[tuple[int, float]]]
"""For each task (step, value)."""


def draw(path: Path, losses: Points, scores: Points, weights: Points) -> None:
    """Panels side by side: each task's loss (running mean), its score on validation data, and its weight if that moved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    moved = any(weight != points[0][1] for points in weights.values() for _, weight in points)
    figure = Figure(figsize=(15.5 if moved else 11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3 if moved else 2)
    color = {name: f"C{i}" for i, name in enumerate([*losses, *(name for name in scores if name not in losses)])}
    for name, points in losses.items():
        panels[0].plot(
            [step for step, _ in points], _running_mean(points), color=color[name], label=name, linewidth=1.6
        )
    panels[0].set(title="Training loss (running mean; by default 1 = an uninformed head)", xlabel="step", ylabel="loss")
    panels[0].set_ylim(bottom=0)
    for name, points in scores.items():
        panels[1].plot(
            *zip(*points, strict=True), color=color[name], marker="o", markersize=4, label=name, linewidth=1.6
        )
    panels[1].set(title="Validation score", xlabel="step", ylabel="score", ylim=(0, 1))
    if moved:
        for name, points in weights.items():
            panels[2].plot(*zip(*points, strict=True), color=color[name], label=name, linewidth=1.2)
        panels[2].set(title="Weight of the loss or gradient", xlabel="step", ylabel="weight")
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9, loc="upper right")  # "best" warns where it takes a second
    figure.savefig(path, dpi=130)


def _running_mean(points: list[tuple[int, float]]) -> list[float]:
    smooth, mean, weight = [], 0.0, 0.0
    for _, value in points:
        mean, weight = SMOOTHING * mean + (1 - SMOOTHING) * value, SMOOTHING * weight + 1 - SMOOTHING
        smooth.append(mean / weight)
    return smooth
