"""The record of a run: losses, scores, and the weights of balancing over time."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from manyheads.start import train_run
from manyheads.training.log import HISTORY
from manyheads.training.progress import Quiet
from manyheads.training.trackers.tensorboard import EVENTS

TASKS = ("entities", "section", "answers", "similarity")


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars of the TensorBoard file by name, as plain TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / EVENTS))
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


@pytest.mark.parametrize("method", ["uncertainty", "gradnorm", "pcgrad"])
def test_weights_over_time_are_in_the_history_and_the_events(project: Path, method: str) -> None:
    folder, _ = train_run(project, None, ["training.steps=6", f"training.balancing={method}"], Quiet())
    history: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in map(json.loads, (folder / HISTORY).read_text().splitlines()):
        for task, weight in row.get("weight", {}).items():
            history[task].append((row["step"], weight))
    assert set(history) == set(TASKS)
    assert all(len(points) == 6 for points in history.values())
    assert all(len({weight for _, weight in points}) > 1 for points in history.values()), "the weights move"
    found = events(folder)
    for task in TASKS:
        assert found[f"weight/{task}"] == [(step, pytest.approx(weight)) for step, weight in history[task]]
    assert {"rate", "gradient_norm", "validation/combined", "loss/answers", "validation/section/accuracy"} <= set(found)
