"""Signals to processes that train: the step ends, the run is saved and goes on bit for bit; what kills a run costs steps alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import manyheads.config.build as build_module
import manyheads.config.dataset as dataset_module
import manyheads.training.model_folder as model_folder
from manyheads.errors import EncoderError, StoppedError
from manyheads.predict import TorchBackend
from manyheads.training.checkpoint import Checkpoints
from manyheads.training.log import HISTORY
from manyheads.training.stop import SIGNALS, Stop, StopSignals
from plans import plan
from runs import Child, checkpoints, outcome, trains, wait_for, went
from toys import write_project

SETTINGS = ("training.steps=24", "training.evaluate_every=10", "training.save_every=4")
FILES = (HISTORY, "encoder/model.safetensors", "heads.safetensors", "metrics.json")


def settings(*more: str) -> list[str]:
    return [word for each in (*SETTINGS, *more) for word in ("--set", each)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> dict[str, bytes]:
    """What the uninterrupted run leaves."""
    return whole(write_project(tmp_path_factory.mktemp("whole"), toy_encoder))


def whole(project: Path, *more: str) -> dict[str, bytes]:
    """What an uninterrupted run leaves."""
    made = plan(project, *SETTINGS, *more, "output=runs/whole")
    went(made)
    return {name: content for name, content in outcome(made).items() if name in FILES}


def left(project: Path) -> dict[str, bytes]:
    """What the run under test has left."""
    return {name: (project.parent / "runs/model" / name).read_bytes() for name in FILES}


def warned(words: str) -> set[str]:
    return {line for line in words.splitlines() if line.startswith("warning: ")}


def lines(project: Path) -> int:
    """Of the history so far."""
    path = project.parent / "runs/model" / HISTORY
    return path.read_bytes().count(b"\n") if path.exists() else 0


# Listening


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_while_the_run_looks_for_it_itself(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        stop.patient = True
        unasked = stop.asked
        stop.check()
        os.kill(os.getpid(), number)
        assert (unasked, stop.asked) == (None, number.name)
        with pytest.raises(StoppedError, match=f"stopped by {number.name}; the training is saved$"):
            stop.check()
    assert signal.getsignal(number) is before, "nobody listens any more"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_the_first_step_ends_the_run_where_it_is(number: signal.Signals) -> None:
    with pytest.raises(StoppedError, match=f"stopped by {number.name} before the first step") as stopped, StopSignals():
        os.kill(os.getpid(), number)
    assert stopped.value.exit_status == 75


def test_a_signal_that_a_library_takes_for_a_failure_of_its_own_still_ends_the_run() -> None:
    def load() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except Exception as error:
            raise EncoderError(f"config.json: its encoder cannot be built ({error})") from None

    with pytest.raises(StoppedError, match="stopped by SIGINT before the first step"), StopSignals():
        load()


def test_nobody_asks_where_no_signals_are_listened_to() -> None:
    stop = Stop()
    stop.check()
    assert (stop.asked, stop.patient) == (None, False)


@pytest.mark.parametrize(("together_s", "status"), [(0.0, -signal.SIGTERM), (60.0, 0)])
def test_a_second_signal_ends_the_process_unless_it_is_taken_for_the_first(
    tmp_path: Path, together_s: float, status: int
) -> None:
    def act() -> int:
        with StopSignals(together_s) as stop:
            stop.patient = True
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert Child(act, tmp_path / "said").status() == status


# Processes that train


@pytest.mark.long
@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_that_is_stopped_by_a_signal_ends_with_75_and_goes_on(
    project: Path, expected: dict[str, bytes], number: signal.Signals
) -> None:
    child = trains(project, *settings())
    wait_for(lambda: lines(project) > 5, "steps")
    asked = time.monotonic()
    os.kill(child.pid, number)
    assert child.status() == 75
    assert time.monotonic() - asked < 5, "one step and a save"
    steps = lines(project)
    assert (
        f"error: stopped by {number.name} after step {steps} of 24; it is saved: continue with --resume" in child.words()
    )
    assert f"step-{steps:08d}" in checkpoints(project.parent / "runs/model")
    again = trains(project, *settings(), "--resume")
    assert again.status() == 0, again.words()
    assert f"resuming after step {steps} of 24" in again.words()
    assert left(project) == expected


@pytest.mark.long
def test_the_command_as_a_process_of_its_own_stops_and_goes_on(project: Path, expected: dict[str, bytes]) -> None:
    """All others are forks of the test's process."""
    command = [sys.executable, "-m", "manyheads", "train", str(project), *settings()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: lines(project) > 6 or process.poll() is not None, "steps")
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 75, shown
    assert shown.splitlines()[-1].startswith("error: stopped by SIGTERM after step ")
    assert "Traceback" not in shown
    assert trains(project, *settings(), "--resume").status() == 0
    assert left(project) == expected


def slow(name: str, marker: Path, seconds: float, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes its time, and says when it has begun."""

    def done(*arguments: Any, **options: Any) -> Any:
        marker.touch()
        time.sleep(seconds)
        return real(*arguments, **options)

    done.__name__ = name
    return done


def test_a_signal_before_the_first_step_leaves_nothing_behind(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = project.parent / "reads"
    monkeypatch.setattr(build_module, "read_dataset", slow("read", marker, 60, dataset_module.read_dataset))
    child = trains(project, *settings())
    wait_for(marker.exists, "reading")
    os.kill(child.pid, signal.SIGTERM)
    assert child.status() == 75
    assert child.words() == "error: stopped by SIGTERM before the first step: nothing is lost, start it again\n"
    assert not (project.parent / "runs").exists()


@pytest.mark.long
def test_a_signal_in_an_evaluation_ends_it_at_its_next_pass(
    project: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = project.parent / "evaluates"
    with monkeypatch.context() as patch:
        patch.setattr(TorchBackend, "run", slow("run", marker, 1, TorchBackend.run))
        child = trains(project, *settings())
        wait_for(marker.exists, "evaluation")
        os.kill(child.pid, signal.SIGINT)
        assert child.status() == 75
    assert "stopped by SIGINT after step 10 of 24" in child.words()
    assert trains(project, *settings(), "--resume").status() == 0
    assert left(project) == expected


@pytest.mark.long
def test_a_second_signal_ends_the_run_at_once_and_costs_steps_alone(
    project: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, heard = project.parent / "saves", project.parent / "heard"
    save, ask = Checkpoints.save, StopSignals._ask

    def slowly(self: Checkpoints, snapshot: Any) -> None:
        if snapshot.step > 9:
            marker.touch()
            time.sleep(60)
        save(self, snapshot)

    def hears(self: StopSignals, number: int, frame: Any) -> None:
        ask(self, number, frame)
        heard.touch()

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", slowly)
        patch.setattr(StopSignals, "_ask", hears)
        child = trains(project, *settings())
        wait_for(marker.exists, "save")
        os.kill(child.pid, signal.SIGTERM)
        wait_for(heard.exists, "signal")
        os.kill(child.pid, signal.SIGINT)
        assert child.status() == -signal.SIGINT
    again = trains(project, *settings(), "--resume")
    assert again.status() == 0
    assert "resuming after step 8 of 24" in again.words()
    assert left(project) == expected


@pytest.mark.long
def test_a_run_that_is_killed_with_all_steps_made_has_only_its_model_to_save(
    project: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = project.parent / "saves"
    with monkeypatch.context() as patch:
        patch.setattr(model_folder, "save_bundle", slow("save_bundle", marker, 60, model_folder.save_bundle))
        child = trains(project, *settings())
        wait_for(marker.exists, "model to save")
        os.kill(child.pid, signal.SIGKILL)
        assert child.status() == -signal.SIGKILL
    before = lines(project)
    again = trains(project, *settings(), "--resume")
    assert again.status() == 0, again.words()
    assert "resuming after step 24 of 24" in again.words()
    assert lines(project) == before, "no step is made again"
    assert left(project) == expected
    assert checkpoints(project.parent / "runs/model") == []


@pytest.mark.parametrize("kills", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_ends_where_the_uninterrupted_one_ends(project: Path, kills: int) -> None:
    """At random moments: while it starts, steps, evaluates and saves. A checkpoint every other step makes saves likely."""
    more = ("training.save_every=2", "training.balancing=famo", "training.sampling=difficulty")
    expected = whole(project, *more)
    chance = random.Random(5)
    for i in range(kills):
        child = trains(project, *settings(*more), "--resume")
        if i % 3:  # the others may be killed before they have begun
            before = lines(project)
            # with all steps made and the model not saved, the next one has no line to add: it saves the model and ends
            wait_for(lambda child=child, before=before: child.ended() or lines(project) != before, "step")  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.25))
        os.kill(child.pid, signal.SIGKILL)
        status = child.status()
        if status == 0:
            break
        assert status == -signal.SIGKILL
    last = trains(project, *settings(*more), "--resume")
    assert last.status() == 0, last.words()
    once = trains(project, *settings(*more, "output=runs/once"))
    assert once.status() == 0, once.words()
    assert warned(last.words()) == warned(once.words()), "of data and settings alone"
    assert left(project) == expected
    assert checkpoints(project.parent / "runs/model") == []
