"""What a person sees of running losses: of this run only, and of all of it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from manyheads.errors import StoppedError
from manyheads.training.log import HISTORY
from manyheads.training.progress import Console
from manyheads.training.step_record import StepRecord
from manyheads.training.stop import Stop
from plans import plan
from runs import run_training


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(step: int, **losses: float) -> StepRecord:
    return StepRecord(step, "all", losses, {}, dict.fromkeys(losses, 10), 1e-3, 1.0, 1, None)


def shown(stream: io.StringIO) -> dict[str, float]:
    """The losses in the last line."""
    line = [line for line in re.split(r"[\r\n]", stream.getvalue()) if "loss" in line][-1]
    return {name: float(value) for name, value in re.findall(r"(\w+) (\d+\.\d{3})", line)}


def test_running_means_of_a_run_do_not_reach_into_the_next() -> None:
    stream = io.StringIO()
    console = Console(stream)
    for first in (8.0, 1.0):
        console.begin({})
        console.step(record(0, section=first), 1)
        assert shown(stream) == {"section": first}
        console.close()
    console.begin({})
    console.step(record(0, entities=2.0), 1)
    assert shown(stream) == {"entities": 2.0}, "a twin without the task does not show it"


def test_a_resumed_run_shows_the_means_it_was_stopped_with() -> None:
    losses = [4.0, 2.0, 1.0, 3.0]
    streams = [io.StringIO(), io.StringIO()]
    for stream, before in zip(streams, (0, 2), strict=True):
        console = Console(stream)
        console.begin({"section": losses[:before]} if before else {})
        for step in range(before, 4):
            console.step(record(step, section=losses[step]), 4)
    assert shown(streams[0]) == shown(streams[1])


def test_the_bar_follows_a_run_that_is_turned_back() -> None:
    console = Console(Terminal())
    console.begin({})
    for step in (0, 1, 2, 1):
        console.step(record(step, section=1.0), 9)
    assert console._bar.n == 2
    console.close()


def test_a_run_that_goes_on_hands_over_the_losses_of_its_steps(project: Path) -> None:
    class Watch(Console):
        begun: list[dict[str, int]]

        def begin(self, losses):
            self.begun.append({name: len(found) for name, found in losses.items()})
            super().begin(losses)

        def step(self, record, steps):
            super().step(record, steps)
            if record.step == 2:
                stop.asked = "SIGTERM"

    watch, stop = Watch(io.StringIO()), Stop()
    watch.begun = []
    made = plan(project, "training.steps=5")
    with pytest.raises(StoppedError):
        run_training(made, watch, stop=stop)
    seen = dict(watch._mean)
    assert (made.output / HISTORY).exists()
    stop.asked = None
    run_training(plan(project, "training.steps=5"), watch, resume=True, stop=stop)
    assert watch.begun == [{}, dict.fromkeys(seen, 3)]


def test_a_warning_about_data_that_several_trainings_share_is_given_once() -> None:
    stream = io.StringIO()
    console = Console(stream)
    for line in ("warning: 3 rows are empty", "step 1", "warning: 3 rows are empty", "step 1"):
        console.say(line)
    assert stream.getvalue().splitlines() == ["warning: 3 rows are empty", "step 1", "step 1"]
