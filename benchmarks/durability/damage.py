"""Files of the newest checkpoint cut off, changed by one bit, deleted, swapped with the older checkpoint's.

Each must be noticed, told of, and put aside, and the checkpoint before it read instead, bit for bit. For the first of
each kind of damage to each file the run goes on as well, and must end where it would have ended. At last every
checkpoint is damaged: refused.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durability.forks import Lines, built, carried_out, forked, prepare
from durability.project import Project, make_project
from durability.runs import CHECKPOINTS, prints

if TYPE_CHECKING:
    from manyheads.training.checkpoint import Snapshot
    from manyheads.training.plan import Plan

Row = dict[str, Any]
STEPS, SAVE_EVERY, EVALUATE_EVERY, STOPPED = 75, 25, 25, 55
"""Broken off when step 55 is done, the run leaves the checkpoints of steps 25 and 50."""
OLDER, NEWER = "step-00000025", "step-00000050"
SEEDS = tuple(range(3, 15))


def truncated(path: Path, draw: random.Random) -> str:
    length = draw.randrange(path.stat().st_size)
    path.write_bytes(path.read_bytes()[:length])
    return f"to {length} bytes"


def flipped(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    position, bit = draw.randrange(len(data)), draw.randrange(8)
    data[position] ^= 1 << bit
    path.write_bytes(data)
    return f"byte {position}, bit {bit}"


def deleted(path: Path, draw: random.Random) -> str:
    path.unlink()
    return ""


def swapped(path: Path, draw: random.Random) -> str:
    other = path.parent.with_name(OLDER) / path.name
    shutil.copyfile(other, path)
    return ""


DAMAGES: dict[str, tuple[Callable[[Path, random.Random], str], bool]] = {
    "truncated": (truncated, True),
    "bit flipped": (flipped, True),
    "deleted": (deleted, False),
    "swapped with the older one's": (swapped, False),
}
"""How, and whether there is more than one way to."""


def measure(work: Path, trials: int) -> Iterator[Row]:
    """A row for each damage: `trials` random ones of each kind to each file."""
    from manyheads.training.checkpoint import read_checkpoint

    project = make_project(work, steps=STEPS, save_every=SAVE_EVERY, evaluate_every=EVALUATE_EVERY)
    prepare(project)
    plan, broken_off = _interrupted(project)
    reference = project.output("reference")
    if forked(lambda: carried_out(plan, reference), project.folder / "reference.log"):
        raise RuntimeError(f"the undisturbed run failed: {(project.folder / 'reference.log').read_text()}")
    older, expected = read_checkpoint(broken_off / CHECKPOINTS / OLDER), prints(reference)
    files = sorted(path.name for path in (broken_off / CHECKPOINTS / NEWER).iterdir())
    yield {"files": files}
    for file in files:
        for kind, (damage, many) in DAMAGES.items():
            for number in range(trials if many else 1):
                draw, output = random.Random(f"{file}/{kind}/{number}"), project.output("damaged")
                shutil.rmtree(output, ignore_errors=True)
                shutil.copytree(broken_off, output)
                how = damage(output / CHECKPOINTS / NEWER / file, draw)
                row = {"file": file, "damage": kind, "how": how, **looked_at(output, older)}
                yield row | ({"resumed_equal": _resumed(plan, output, expected)} if number == 0 else {})
    yield _all_damaged(plan, broken_off, project.output("damaged"), project.folder / "all-damaged.log")


def _interrupted(project: Project) -> tuple[Plan, Path]:
    """A run that was broken off, with a seed of which no file is the same in both checkpoints: swapping would do nothing.

    The best weights are, where no evaluation between the two was better.
    """
    for seed in SEEDS:
        plan, output = built(project, [f"training.seed={seed}"]), project.output(f"broken-off-{seed}")
        forked(lambda plan=plan, output=output: carried_out(plan, output, progress=Lines(_end_at(STOPPED))),  # type: ignore[misc]
               project.folder / f"broken-off-{seed}.log")  # fmt: skip
        older, newer = (output / CHECKPOINTS / name for name in (OLDER, NEWER))
        if all(path.read_bytes() != (older / path.name).read_bytes() for path in newer.iterdir()):
            return plan, output
    raise RuntimeError(f"the checkpoints of runs with seeds {SEEDS} have equal files; try other seeds")


def looked_at(output: Path, older: Snapshot) -> Row:
    """What the damaged folder is taken for. The folder stays as it was."""
    from manyheads.training.checkpoint import Checkpoints

    copy, told = output.with_name("looked-at"), list[str]()
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(output, copy)
    found = Checkpoints(copy).newest(told.append)
    aside = (copy / CHECKPOINTS / f"{NEWER}.damaged").is_dir() and not (copy / CHECKPOINTS / NEWER).exists()
    loaded = found is None or found.step != older.step or not _equal(found, older)
    return {"noticed": len(told) == 1 and NEWER in told[0] and aside, "fell_back": not loaded, "loaded": loaded,
            "told": _short(told[0]) if told else ""}  # fmt: skip


def _short(line: str) -> str:
    """What was said of a file, without the folders."""
    return line.rpartition(f"{CHECKPOINTS}/")[2].partition(";")[0]


def _equal(a: Snapshot, b: Snapshot) -> bool:
    same = all(
        a.tensors[file].keys() == b.tensors[file].keys()
        and all(a.tensors[file][n].equal(b.tensors[file][n]) for n in b.tensors[file])
        for file in b.tensors
    )
    return same and a.state == b.state and a.tensors.keys() == b.tensors.keys()


def _end_at(last: int) -> Callable[[int], None]:
    """A process that is gone when so many steps are done."""
    import os

    return lambda done: os._exit(0) if done == last else None


def _resumed(plan: Plan, output: Path, expected: dict[str, str]) -> bool:
    log = output.parent.parent / "resumed.log"
    log.unlink(missing_ok=True)
    status = forked(lambda: carried_out(plan, output, resume=True), log)
    return status == 0 and prints(output) == expected and "it is renamed" in log.read_text(encoding="utf-8")


def _all_damaged(plan: Plan, broken_off: Path, output: Path, log: Path) -> Row:
    """The run is refused, and nothing is gone."""
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(broken_off, output)
    for name in (OLDER, NEWER):
        flipped(output / CHECKPOINTS / name / "weights.safetensors", random.Random(name))
    before = sorted(str(path) for path in output.rglob("*"))
    status = forked(lambda: carried_out(plan, output, resume=True), log)
    kept = [path for path in before if Path(path).exists()] == before
    return {"damage": "all checkpoints", "status": status, "refused": status == 2 and kept}


def summary(rows: Sequence[Row]) -> Row:
    """Counts, over all files."""
    cases, resumed = [row for row in rows if "file" in row], [row for row in rows if "resumed_equal" in row]
    return {
        "trials": len(cases),
        "noticed": sum(row["noticed"] for row in cases),
        "fell_back": sum(row["fell_back"] for row in cases),
        "loaded": sum(row["loaded"] for row in cases),
        "resumed": len(resumed),
        "resumed_equal": sum(row["resumed_equal"] for row in resumed),
        "all_damaged_refused": any(row.get("refused") for row in rows),
    }
