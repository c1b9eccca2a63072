"""Runs that are stopped, resumed and compared bit for bit; and runs in child processes.

A child is a fork of the test's process: torch is imported already, so it starts in milliseconds where a new interpreter
takes seconds.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from manyheads.cli import main
from manyheads.evaluate import Scores
from manyheads.training.checkpoint import FOLDER
from manyheads.training.log import HISTORY
from manyheads.training.model_folder import save_model
from manyheads.training.plan import Plan
from manyheads.training.progress import Progress, Quiet
from manyheads.training.run import run_plan
from manyheads.training.state import state_of, tensors_of
from manyheads.training.step_record import StepRecord
from manyheads.training.stop import Stop

PR_SET_PDEATHSIG = 1
PATIENCE_S = 60.0
"""How long to wait for a child to do something."""


class PulledError(Exception):
    """Ends a run as a power cut does: with no message, and nothing saved."""


class Watch(Quiet):
    """Remembers lines and records; asks to stop after `after` steps, or pulls the plug after `pull`.

    `cut` pulls it after so many steps of all trainings of a run.
    """

    def __init__(
        self, *, stop: Stop | None = None, after: int | None = None, pull: int | None = None, cut: int | None = None
    ) -> None:
        self.stop, self.after, self.pull, self.cut = stop, after, pull, cut
        self.said: list[str] = []
        self.records: list[StepRecord] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def step(self, record: StepRecord, steps: int) -> None:
        self.records.append(record)
        if (self.pull is not None and record.step + 1 == self.pull) or len(self.records) == self.cut:
            raise PulledError
        if self.stop is not None and record.step + 1 == self.after:
            self.stop.asked = "SIGTERM"

    def lines(self, words: str) -> list[str]:
        return [line for line in self.said if words in line]


class StopAtPass(Stop):
    """Asks to stop at the pass of this number, counted over all evaluations of the run."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.asked = "SIGINT"
        super().check()


def run_training(made: Plan, progress: Progress, *, resume: bool = False, stop: Stop | None = None) -> Scores:
    """Run a plan to its end, and save the model."""
    return run_plan(made, progress, save_model, resume=resume, stop=stop) or {}


def went(made: Plan, *, resume: bool = False) -> Watch:
    """Run a plan to its end, and watch it."""
    watch = Watch()
    run_training(made, watch, resume=resume)
    return watch


def outcome(made: Plan) -> dict[str, bytes]:
    """The result of a finished run: weights, optimizer, state, history, and the files of its model folder."""
    kinds = tensors_of(made.trainer) if made.adapters is None else {}  # adapters are merged by then, and gone
    found = {
        f"{kind}/{name}": tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        for kind, tensors in kinds.items()
        for name, tensor in tensors.items()
    }
    found["state"] = json.dumps(state_of(made.trainer), sort_keys=True).encode()
    for name in (HISTORY, "encoder/model.safetensors", "heads.safetensors", "metrics.json", "run.yaml"):
        found[name] = (made.output / name).read_bytes()
    return found


def assert_same(seen: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Equal to the last bit."""
    assert set(seen) == set(expected)
    assert [name for name in expected if seen[name] != expected[name]] == []


def history(folder: Path) -> list[dict[str, object]]:
    """The rows of a run's history."""
    return [json.loads(line) for line in (folder / HISTORY).read_text(encoding="utf-8").splitlines()]


def checkpoints(output: Path) -> list[str]:
    """Names in the folder of checkpoints, without the lock."""
    folder = output / FOLDER
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.is_dir() else []


class Child:
    """A fork that runs a function and exits with its result as status."""

    def __init__(self, act: Callable[[], int], said: Path) -> None:
        """`said` gets its standard output and error."""
        self.said = said
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of forks in processes with threads
            # Garbage of the parent may hold threads (ONNX Runtime's pools), which a fork lacks: a collection in the child that
            # ended them waited forever, in 2 of 4 runs of the whole suite. The parent is not frozen: what it has would stay.
            gc.disable()
            self.pid = os.fork()
            if self.pid == 0:
                gc.freeze()
            gc.enable()
        if self.pid == 0:
            _act(act, said)

    def ended(self) -> bool:
        """Whether it has ended; its exit status can still be read."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def status(self) -> int:
        """Wait until it ends; returns its exit status, or minus the signal that ended it."""
        limit = time.monotonic() + PATIENCE_S
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > limit:
                os.kill(self.pid, 9)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"process {self.pid} did not end: {self.words()}")
            time.sleep(0.005)

    def words(self) -> str:
        """Its output so far."""
        return self.said.read_text(encoding="utf-8") if self.said.exists() else ""


def statuses(children: Sequence[Child]) -> list[int]:
    """Exit statuses of processes that work together. When one does not end, the rest are killed and all output is shown."""
    try:
        return [child.status() for child in children]
    except AssertionError as error:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        said = "\n".join(f"process {child.pid} said: {child.words()}" for child in children)
        raise AssertionError(f"{error}\n{said}") from None


def _act(act: Callable[[], int], said: Path) -> None:
    """Runs in the child. Never returns to the test that forked it."""
    status = 70
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a fork of a fork must not outlive a test
    try:
        file = os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  pytest's own capture stays behind
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        faulthandler.dump_traceback_later(0.8 * PATIENCE_S, file=file)  # where it hangs, if it does
        torch.set_num_threads(1)
        status = act()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):  # a disk that a test fills
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def trains(run: Path, *arguments: str, before: Callable[[], None] = lambda: None, said: str = "said") -> Child:
    """A child that does `manyheads train`. `before` is called in it first."""

    def act() -> int:
        before()
        return main(["train", str(run), *arguments])

    return Child(act, run.parent / said)


def wait_for(found: Callable[[], object], what: str, child: Child | None = None) -> None:
    """Wait until `found` is true; the output of the child that should cause it is shown when it does not."""
    limit = time.monotonic() + PATIENCE_S
    while not found():
        said = f": {child.words()}" if child is not None else ""
        assert time.monotonic() < limit, f"no {what} after {PATIENCE_S:.0f} s{said}"
        time.sleep(0.005)
