"""Runs in processes of their own: started, killed at a moment or in a save, and compared by what they leave.

Decided here: all processes of a run carry a mark in their environment, by which they are found: torchrun gives its
workers sessions of their own, so no process group holds them all. Comparing means bytes: the history, the scores, every
file of weights.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from durability.project import Project

HISTORY, CHECKPOINTS, UNFINISHED, MANIFEST = "history.jsonl", "checkpoints", ".unfinished", "manyheads.json"
MARK = "DURABILITY_RUN"
POLL_S = 0.0005
CLEAR_LOOKS = 10
"""Looks in a row that find no process: one that has just been forked carries no mark while it calls exec."""
LIMIT_S = 600.0
"""No run takes longer, however busy the machine: past it, it is killed and counts as failed."""


class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Started:
    """A run that goes on."""

    process: Process
    mark: str
    """Empty for a forked child, which has the environment of its parent, and no processes of its own."""
    began: float
    log: Path

    def wait(self) -> int:
        """Its exit status, or minus the signal that ended it."""
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            kill(self)
            return self.process.wait()

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a run leaves that nobody disturbed."""

    prints: Mapping[str, str]
    seconds: float
    save_s: float
    """Median time a checkpoint is under an unfinished name."""
    step_s: float
    """Median time between two lines of the history."""
    lines: tuple[str, ...]
    """Of its history."""


def train_command(project: Project, output: Path, processes: int = 1, more: Sequence[str] = ()) -> list[str]:
    """The command of a user."""
    arguments = ["-m", "manyheads", "train", str(project.run), "--output", str(output), *more]
    return several(arguments, processes)


def several(arguments: Sequence[str], processes: int) -> list[str]:
    """A python command, by torchrun if more than one process is to run it."""
    if processes == 1:
        return [sys.executable, *arguments]
    launcher = ["-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(processes)]
    place = ["--master-addr", "127.0.0.1", "--master-port", str(_free_port())]
    return [sys.executable, *launcher, *place, *arguments]


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Started:
    """Start a run; what it says is added to `log`."""
    mark = uuid4().hex
    with log.open("ab") as file:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return Started(process, mark, began, log)


def kill(run: Started) -> None:
    """SIGKILL to all its processes, until there is none."""
    if run.process.poll() is None:
        _signal(run.process.pid, signal.SIGKILL)
    clear = 0
    while run.mark and clear < CLEAR_LOOKS:
        found = members(run.mark)
        for pid in found:
            _signal(pid, signal.SIGKILL)
        clear = 0 if found else clear + 1
        time.sleep(POLL_S)
    run.process.wait()


def members(mark: str) -> list[int]:
    """The processes that carry a mark. One that is a zombie carries none."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:  # it has gone, or is not ours
                continue
    return found


def kill_after(run: Started, seconds: float) -> bool:
    """Kill a run so many seconds after its start; whether it was still there."""
    try:
        run.process.wait(max(0.0, run.began + seconds - time.perf_counter()))
    except subprocess.TimeoutExpired:
        kill(run)
        return True
    return False


def kill_in_save(run: Started, output: Path, step: int, delay_s: float) -> bool:
    """Kill a run so many seconds after the checkpoint of a step began to be written; whether it came to that."""
    unfinished = output / CHECKPOINTS / f"step-{step:08d}{UNFINISHED}"
    while run.process.poll() is None:
        if unfinished.exists():
            time.sleep(delay_s)
            kill(run)
            return True
        time.sleep(POLL_S)
    return False


def wait_for_line(run: Started, output: Path, line: int) -> None:
    """Until the history has so many lines, which are steps and evaluations, or the run is over."""
    while run.process.poll() is None and len(history(output)) < line:
        time.sleep(POLL_S)


def prints(output: Path) -> dict[str, str]:
    """Sha256 of the history, the scores, and every file of weights in a model folder."""
    paths = [output / HISTORY, output / "metrics.json", *sorted(output.rglob("*.safetensors"))]
    return {
        str(path.relative_to(output)): sha256(path) for path in paths if path.exists() and CHECKPOINTS not in path.parts
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(reference: Reference, output: Path) -> list[str]:
    """The files that are not those of the undisturbed run, and the first line of the history that is not."""
    seen = prints(output)
    odd = sorted(name for name in {*reference.prints, *seen} if reference.prints.get(name) != seen.get(name))
    if HISTORY in odd:
        lines = history(output)
        first = next((i for i, (a, b) in enumerate(zip(reference.lines, lines, strict=False)) if a != b),
                     min(len(lines), len(reference.lines)))  # fmt: skip
        odd[odd.index(HISTORY)] = f"{HISTORY}:{first + 1}"
    return odd


def history(output: Path) -> tuple[str, ...]:
    """Whole lines of a history so far."""
    path = output / HISTORY
    return tuple(line for line in path.read_text(encoding="utf-8").split("\n") if line) if path.exists() else ()


def reference_run(project: Project, processes: int = 1) -> Reference:
    """Run undisturbed, twice: once to fill the caches, once to be timed. Raises RuntimeError unless both are equal."""
    found: list[Reference] = []
    for i in range(2):
        output, log = project.output(f"reference-{i}"), project.folder / f"reference-{i}.log"
        run = start(train_command(project, output, processes), project.environment(), log)
        saves, steps = list[float](), list[float]()
        watcher = threading.Thread(target=_watch, args=(run, output, saves, steps))
        watcher.start()
        status = run.wait()
        seconds = time.perf_counter() - run.began
        watcher.join()
        if status:
            raise RuntimeError(f"the undisturbed run ended with status {status}: {run.last_words()}")
        save_s, step_s = (statistics.median(some or [0.02]) for some in (saves, steps))
        found.append(Reference(prints(output), seconds, save_s, step_s, history(output)))
    if found[0].prints != found[1].prints:
        raise RuntimeError(f"two undisturbed runs differ: {differences(found[0], project.output('reference-1'))}")
    return found[1]


def _watch(run: Started, output: Path, saves: list[float], steps: list[float]) -> None:
    """Note how long checkpoints have their unfinished names, and how long the history does not grow."""
    folder, path = output / CHECKPOINTS, output / HISTORY
    since: dict[str, float] = {}
    size, grown = 0, None
    while run.process.poll() is None:
        now = time.perf_counter()
        names = {name for name in (os.listdir(folder) if folder.is_dir() else ()) if name.endswith(UNFINISHED)}
        for name in names - set(since):
            since[name] = now
        saves += [now - since.pop(name) for name in set(since) - names]
        if path.exists() and (seen := path.stat().st_size) > size:
            steps += [now - grown] if grown is not None else []
            size, grown = seen, now
        time.sleep(POLL_S)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
