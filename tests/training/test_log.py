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
from tracked import tracked

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


def test_the_final_scores_and_the_speed_are_events_too(project: Path) -> None:
    folder, scores = train_run(project, None, ["training.steps=6", "training.evaluate_every=3"], Quiet())
    found = events(folder)
    assert found["final/test/section/accuracy"][0][1] == pytest.approx(scores["section"]["test"]["accuracy"])
    assert [step for step, _ in found["tokens_per_second"]] == [1, 2, 4, 5]


def test_an_evaluation_at_the_step_of_the_checkpoint_is_kept_when_the_run_is_resumed(project: Path) -> None:
    tracked(project, "tensorboard", "training.save_every=3", pull=5)
    tracked(project, "tensorboard", "training.save_every=3", resume=True)
    found = events(project.parent / "runs/model")
    assert [step for step, _ in found["validation/combined"]] == [3, 6]
    assert [step for step, _ in found["rate"]] == list(range(6))
