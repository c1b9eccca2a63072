"""Runs in forked children: torch is imported and the plan is built before the fork, so a run costs its steps alone.

A child does what the command does from there on, and ends with the exit status the command would give.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from durability.project import Project
from durability.runs import POLL_S, Started

if TYPE_CHECKING:
    from manyheads.training.plan import Plan
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop

UNEXPECTED = 70


class Lines:
    """Progress that writes what is said to standard error, and calls a function after each step."""

    def __init__(self, after_step: Callable[[int], None] = lambda done: None) -> None:
        self._after_step = after_step

    def begin(self, losses: object) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)

    def step(self, record: object, steps: int) -> None:
        self._after_step(record.step + 1)  # type: ignore[attr-defined]

    def evaluated(self, record: object) -> None:
        pass

    def close(self) -> None:
        """Nothing."""


def prepare(project: Project) -> None:
    """What a run imports and computes with, once for all children."""
    os.environ.update(project.environment())
    import matplotlib.figure  # noqa: F401
    import torch
    import torch.utils.tensorboard
    import transformers  # noqa: F401

    torch.set_num_threads(1)


def built(project: Project, overrides: Sequence[str] = ()) -> Plan:
    """The plan of a run, for its children to carry out."""
    from manyheads.config.build import build_plan
    from manyheads.config.files import load_run

    return build_plan(load_run(project.run, list(overrides)), project.output("plan"))


def command(arguments: Sequence[str]) -> None:
    """The command, in this process. Ends it with the command's exit status."""
    from manyheads.cli import main

    raise SystemExit(main(arguments))


def carried_out(
    plan: Plan, output: Path, *, resume: bool = False, progress: Progress | None = None, stop: Stop | None = None
) -> None:
    """Train as planned into another folder. Raises what the run raises."""
    from manyheads.training.model_folder import save_model
    from manyheads.training.run import run_plan

    run_plan(replace(plan, output=output), progress or Lines(), save_model, resume=resume, stop=stop)


def forked(work: Callable[[], None], log: Path) -> int:
    """Do something in a forked child, what it says in a file: its exit status, or minus the signal that ended it."""
    return begun(work, log).wait()


def begun(work: Callable[[], None], log: Path) -> Started:
    """Begin something in a forked child."""
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(said, 1)
        os.dup2(said, 2)
        status = _status(work)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return Started(Child(pid), "", began, log)


class Child:
    """A forked process, as `subprocess.Popen` has it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, if it has one."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status. Raises TimeoutExpired."""
        until = time.perf_counter() + timeout if timeout is not None else float("inf")
        while (status := self.poll()) is None:
            if time.perf_counter() > until:
                raise subprocess.TimeoutExpired("a child", timeout or 0.0)
            time.sleep(POLL_S)
        return status

    def send_signal(self, sig: int) -> None:
        """Nothing, if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)


def _status(work: Callable[[], None]) -> int:
    from manyheads.errors import ManyheadsError

    try:
        work()
    except ManyheadsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else UNEXPECTED
    except OSError as error:  # as the command has it
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        return UNEXPECTED
    return 0
