"""Runs cases in worker processes, a fresh one after each that died; what came of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hostile.corpus import Case
from hostile.loaders import LOADERS
from hostile.worker import Result

MOST_S = 10.0
MOST_MB = 1024.0
GAPS: dict[str, str] = {}
"""Cases that end badly for now, and what would have to be mended where."""
UNJUDGED = frozenset({"info", "rows", "run"})
"""Loaders that read a part of what the artefact spoils: they may answer where others must refuse."""


def run_cases(
    root: Path, cases: Sequence[Case], loaders: int | None = None, *, alone: bool = False
) -> Iterator[Result]:
    """The results of all cases, in order. `loaders`: the first so many of each kind; `alone`: a process for each case."""
    waiting = {case.name: list(LOADERS[case.kind])[:loaders] for case in cases}
    while waiting:
        results = _run(root, waiting, "alone" if alone else "together")
        yield from results
        for result in results:
            waiting[result.case].remove(result.loader)
        waiting = {name: left for name, left in waiting.items() if left}


def _run(root: Path, cases: Mapping[str, Sequence[str]], how: str) -> list[Result]:
    """What one process told before it ended; the loader that ended it, if one did, has a result of its own."""
    listed, told = root / "names.txt", root / "results.jsonl"
    listed.write_text("\n".join(" ".join([name, *loaders]) for name, loaders in cases.items()))
    told.write_text("")
    # MALLOC: freed memory goes back at once, so that what one case took is not the baseline of the next.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "1000000",
                   "ARROW_DEFAULT_MEMORY_POOL": "system"}  # fmt: skip
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("worker.py")), str(root), str(listed), str(told), how],
        check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, errors="replace", env=environment, cwd=root,
    )  # fmt: skip
    lines = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]
    results = [Result(**line) for line in lines if "outcome" in line]
    if process.returncode == 0:
        return results
    if not lines or "begins" not in lines[-1]:
        raise RuntimeError(f"the worker broke outside of a case: {process.stderr[-2000:]}")
    name, loader = lines[-1]["begins"], lines[-1]["loader"]
    why = f"the process ended with {process.returncode}: {process.stderr[-600:]}"
    return [*results, Result(name, loader, "failed", why, 0.0, 0.0, 0.0)]


def complaints(cases: Sequence[Case], results: Sequence[Result]) -> list[str]:
    """What must not be: one line for each result that is not as it should be."""
    wanted = {case.name: case.outcome for case in cases}
    found = []
    for result in results:
        if result.case in GAPS:
            continue
        want = "either" if result.loader in UNJUDGED else wanted[result.case]
        if result.outcome == "failed":
            why = result.message
        elif want not in ("either", result.outcome):
            why = f"was {result.outcome}, must be {want}: {result.message[:300]}"
        elif result.seconds > MOST_S or result.megabytes > MOST_MB:
            why = f"took {result.seconds} s and {result.megabytes} MB; {result.message[:200]}"
        else:
            continue
        found.append(f"{result.case} [{result.loader}] {why}")
    return found
