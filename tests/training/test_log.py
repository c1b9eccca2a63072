"""The record of a run: losses, scores, and the weights of balancing over time."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

import manyheads.training.log as log_module
from manyheads.start import train_run
from manyheads.training.log import EVENTS, HISTORY, PLOT
from manyheads.training.progress import Quiet

TASKS = ("entities", "section", "answers", "similarity")


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars of the TensorBoard file by name, as plain TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / EVENTS))
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


@pytest.mark.parametrize("method", ["uncertainty", "gradnorm", "pcgrad"])
def test_weights_over_time_are_in_the_history_the_events_and_the_plot(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    drawn: list[dict[str, list[tuple[int, float]]]] = []
    plain = log_module.draw

    def draw(path: Path, losses: log_module.Points, scores: log_module.Points, weights: log_module.Points) -> None:
        drawn.append({name: list(points) for name, points in weights.items()})
        plain(path, losses, scores, weights)

    monkeypatch.setattr(log_module, "draw", draw)
    folder, _ = train_run(project, None, ["training.steps=6", f"training.balancing={method}"], Quiet())
    history: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in map(json.loads, (folder / HISTORY).read_text().splitlines()):
        for task, weight in row.get("weight", {}).items():
            history[task].append((row["step"], weight))
    assert set(history) == set(TASKS)
    assert all(len(points) == 6 for points in history.values())
    assert all(len({weight for _, weight in points}) > 1 for points in history.values()), "the weights move"
    assert drawn == [history]
    found = events(folder)
    for task in TASKS:
        assert found[f"weight/{task}"] == [(step, pytest.approx(weight)) for step, weight in history[task]]
    assert {"rate", "gradient_norm", "validation/combined", "loss/answers", "validation/section/accuracy"} <= set(found)
    assert (folder / PLOT).stat().st_size > 10_000


def test_static_weights_take_no_panel(project: Path) -> None:
    moved, still = (project.parent / name for name in ("moved.png", "still.png"))
    points = {"a": [(0, 1.0), (1, 0.5)]}
    log_module.draw(moved, points, points, points)
    log_module.draw(still, points, points, {"a": [(0, 1.0), (1, 1.0)]})
    assert width(moved) > 1.3 * width(still)


def width(picture: Path) -> int:
    """Pixels, from the header of a PNG file."""
    return int.from_bytes(picture.read_bytes()[16:20], "big")
