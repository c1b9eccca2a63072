"""Every operation on files of one save made to fail, or to be the process's last.

The third checkpoint of a short run is the one that suffers, so there are two before it, of which the older is to be
removed. Its operations are counted first; then, for each of them, a child runs in which it fails (as on a full or
broken disk), and one that is killed there. Writes are also cut in half: the kernel lets a file grow to half its size
and no further (RLIMIT_FSIZE), and refuses the rest or kills. Then the run goes on, undisturbed, and must end where it
would have ended.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durability.forks import Lines, built, carried_out, forked, prepare
from durability.project import make_project
from durability.runs import CHECKPOINTS, UNFINISHED, prints

if TYPE_CHECKING:
    from manyheads.training.plan import Plan

Row = dict[str, Any]
STEPS, SAVE_EVERY, SUFFERS = 9, 3, 6
MODES = {"fail": (0, 1), "kill": (-signal.SIGKILL,), "half, then fail": (1,), "half, then kill": (-signal.SIGXFSZ,)}
"""With the exit statuses that may follow: what cannot be removed does not end a run."""
EVENTS = {"os.mkdir": "mkdir", "os.rename": "rename", "os.remove": "remove", "os.rmdir": "rmdir"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one operation."""

    number: int
    mode: str
    half: int = 0
    """Bytes at which files stop to grow."""


class Disk:
    """Counts the operations between two steps, and spoils one of them. Once made, a part of its process for good."""

    def __init__(self, fault: Fault | None) -> None:
        self.seen: list[tuple[str, str]] = []
        """Kind and path of each operation."""
        self._fault = fault
        self._armed = False
        self._thread = threading.current_thread()
        self._fsync = os.fsync
        os.fsync = self._synced  # type: ignore[assignment]
        self._wrap_save_file()
        sys.addaudithook(self._audited)

    def after_step(self, done: int) -> None:
        """The checkpoint that suffers is written when so many steps are done, and before the next one is."""
        self._armed = done == SUFFERS
        self.let_go()

    def let_go(self) -> None:
        """Files grow again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event in EVENTS:
            self._operation(EVENTS[event], str(arguments[0]))
        elif (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) and threading.current_thread() is self._thread
        ):
            self._operation("write", str(arguments[0]))

    def _synced(self, descriptor: int) -> None:
        if self._armed:
            self._operation("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        self._fsync(descriptor)

    def _wrap_save_file(self) -> None:
        import safetensors.torch

        real = safetensors.torch.save_file

        def save_file(
            tensors: Any, path: Any, metadata: Any = None
        ) -> None:  # its writer is not Python: nothing is audited
            if self._armed:
                self._operation("write", str(path))
            real(tensors, path, metadata)

        safetensors.torch.save_file = save_file

    def _operation(self, kind: str, path: str) -> None:
        number, fault = len(self.seen), self._fault
        self.seen.append((kind, path))
        if fault is None or number != fault.number:
            return
        if fault.mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.mode == "fail":
            raise OSError(errno.EIO if kind == "fsync" else errno.ENOSPC, "made to fail", path)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault.mode == "half, then kill" else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.half, resource.RLIM_INFINITY))


def measure(work: Path, trials: int) -> Iterator[Row]:
    """A row for each operation and mode; of more than `trials` of them, so many spread evenly."""
    project = make_project(work, steps=STEPS, save_every=SAVE_EVERY, evaluate_every=4, training={"workers": 0})
    prepare(project)
    plan, listing = built(project), project.folder / "operations.json"
    reference = project.output("reference")
    if forked(lambda: _counted(plan, reference, listing), project.folder / "reference.log"):
        raise RuntimeError(f"the undisturbed run failed: {(project.folder / 'reference.log').read_text()}")
    expected = prints(reference)
    operations, sizes = json.loads(listing.read_text(encoding="utf-8"))
    cases = [(Fault(i, mode), kind, path) for i, (kind, path) in enumerate(operations) for mode in ("fail", "kill")]
    cases += [
        (Fault(i, mode, sizes[Path(path).name] // 2), kind, path)
        for i, (kind, path) in enumerate(operations)
        if kind == "write"
        for mode in ("half, then fail", "half, then kill")
    ]
    chosen = cases if len(cases) <= trials else [cases[i * len(cases) // trials] for i in range(trials)]
    yield {"operations": len(operations), "cases": len(cases)}
    for fault, kind, path in chosen:
        name = f"{kind} {Path(path).name}"
        yield {
            "operation": fault.number,
            "what": name,
            "mode": fault.mode,
            **trial(plan, project.folder, fault, expected),
        }


def trial(plan: Plan, folder: Path, fault: Fault, expected: dict[str, str]) -> Row:
    """One run whose save is spoiled, and what comes after."""
    from manyheads.training.checkpoint import Checkpoints

    output, log = folder / "runs" / "spoiled", folder / "spoiled.log"
    shutil.rmtree(output, ignore_errors=True)
    log.unlink(missing_ok=True)
    status = forked(lambda: _spoiled(plan, output, fault), log)
    warnings: list[str] = []
    found = Checkpoints(output).newest(warnings.append) if status else None
    newest = found.step if found else None
    resumed = forked(lambda: carried_out(plan, output, resume=True), log) if status else 0
    debris = sorted(path.name for path in output.rglob(f"*{UNFINISHED}")) + [
        path.name for path in output.glob(CHECKPOINTS)
    ]
    told = log.read_text(encoding="utf-8").strip().splitlines()
    recovered = (
        status in MODES[fault.mode]
        and (not status or newest in (SUFFERS - SAVE_EVERY, SUFFERS))
        and not (warnings or debris or resumed)
        and prints(output) == expected
    )
    row = {"status": status, "newest": newest, "recovered": recovered}
    return row if recovered else {**row, "resumed": resumed, "warnings": warnings, "debris": debris, "told": told[-5:]}


def _counted(plan: Plan, output: Path, listing: Path) -> None:
    """An undisturbed run that lists the operations of the save, and how large its files became."""
    disk = Disk(None)
    sizes: dict[str, int] = {}

    def after_step(done: int) -> None:
        disk.after_step(done)
        if done == SUFFERS + 1:
            files = (output / CHECKPOINTS / f"step-{SUFFERS:08d}").iterdir()
            sizes.update({path.name: path.stat().st_size for path in files})

    carried_out(plan, output, progress=Lines(after_step))
    listing.write_text(json.dumps([disk.seen, sizes]), encoding="utf-8")


def _spoiled(plan: Plan, output: Path, fault: Fault) -> None:
    disk = Disk(fault)
    try:
        carried_out(plan, output, progress=Lines(disk.after_step))
    finally:
        disk.let_go()


def summary(rows: Sequence[Row]) -> Row:
    """Counts, by mode."""
    cases = [row for row in rows if "mode" in row]
    return {
        "operations": next((row["operations"] for row in rows if "operations" in row), 0),
        "trials": len(cases),
        "recovered": sum(row["recovered"] for row in cases),
        "by_mode": {mode: sum(row["mode"] == mode for row in cases) for mode in MODES},
    }
