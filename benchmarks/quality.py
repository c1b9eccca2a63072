"""How good the library is as it comes, beside what a user does by hand on the same rows: 30 cells of task x size.

    python benchmarks/quality.py run DATA [--methods ...] [--sets ...] [--sizes ...] [--seeds ...] [--on tune]
    python benchmarks/quality.py table [--on tune] [--results docs/results/quality.json]
    python benchmarks/quality.py plot --plot docs/results/quality.png

DATA is the folder of public data sets that benchmarks/real_data.py reads. `run` does what has no result yet, cheapest first,
and may be stopped and started at will: a result is one file in the work folder, whole or not there. `--on tune` scores on
train rows that no cell has; constants are chosen there, never on test rows. The methods are listed in cells/methods.py.
Use one thread (OMP_NUM_THREADS=1) on a machine that others use: the seconds of the processor are then what a method costs.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import traceback
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np

from cells import kept
from cells.draw import Cell, cells, rows
from cells.methods import METHODS, Job
from cells.scores import evidence, metrics
from cells.sets import SETS
from manyheads.metrics.evidence import to_arrays


def main() -> int:
    given = arguments()
    if given.command == "run":
        return run(given)
    results = kept.load(given.work)
    if given.results is not None:
        results = sorted([*kept.read_summary(given.results), *results], key=lambda result: result["date"])
    results = [result for result in results if result["key"]["on"] == given.on]
    if given.command == "table":
        from cells.table import table

        print("\n".join(table(results)))
        if given.results is not None:
            kept.write_summary(given.results, kept.load(given.work))
    else:
        from cells.plot import draw

        draw(results, given.plot)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "table", "plot"))
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), metavar="FOLDER")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="NAME")
    parser.add_argument("--sizes", nargs="+", metavar="N", help="rows, or `all`")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--on", choices=("test", "tune"), default="test")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of training")
    parser.add_argument("--again", action="store_true", help="also what has a result")
    parser.add_argument("--list", action="store_true", help="say what would run, in order")
    parser.add_argument("--results", type=Path, metavar="FILE", help="of `table`: adds to this summary, and reads it")
    parser.add_argument("--plot", type=Path, default=Path("docs/results/quality.png"), metavar="FILE")
    given = parser.parse_args()
    if given.command == "run" and given.data is None:
        parser.error("run needs DATA, the folder of public data sets")
    return given


def run(given: argparse.Namespace) -> int:
    failed = 0
    for cell, method in queue(given):
        try:
            there = kept.path(given.work, kept.key(cell, method, given.on)).exists()
        except PackageNotFoundError as error:
            print(f"{cell} {method}: left out, {error.name} is not installed", flush=True)
            continue
        if there and not given.again:
            continue
        if given.list:
            print(cell, method)
            continue
        try:
            result = measured(cell, method, given)
        except Exception:
            failed += 1
            print(f"{cell} {method} failed:\n{traceback.format_exc()}", flush=True)
            continue
        kept.save(given.work, result)
        score = result["scores"][cell.data.headline]
        print(f"{cell} {method} {given.on}: {100 * score:.1f} in {result['seconds']} s {result['facts']}", flush=True)
        gc.collect()
    return int(failed > 0)


def queue(given: argparse.Namespace) -> list[tuple[Cell, str]]:
    """Cheapest first; seeds 1 and 2 as if they cost two and three times as much."""
    sizes = given.sizes or sorted({str(size or "all") for data in SETS.values() for size in data.sizes})
    jobs = [
        (cell, name)
        for cell in cells(given.sets, sizes, given.seeds)
        for name in given.methods
        if cell.data.kind in METHODS[name].kinds
        if given.sizes or (cell.size or 20_000) <= METHODS[name].most_rows
    ]
    return sorted(jobs, key=lambda job: (job[0].size or 20_000) * job[0].data.tokens * METHODS[job[1]].cost
                  * (job[0].seed + 1))  # fmt: skip


def measured(cell: Cell, method: str, given: argparse.Namespace) -> kept.Result:
    key = kept.key(cell, method, given.on)
    train, test = rows(cell, given.data, given.on)
    with tempfile.TemporaryDirectory(prefix="quality-") as work:
        began, spent = time.perf_counter(), sum(os.times()[:4])
        job = Job(cell.data, train, test, cell.seed, Path(work), given.device)
        found = METHODS[method].function()(job)
        seconds, spent = time.perf_counter() - began, sum(os.times()[:4]) - spent
    facts, arrays = to_arrays(evidence(cell.data, test, found.answers))
    return {
        "key": key,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seconds": round(seconds, 1),
        "processor_seconds": round(spent, 1),
        "facts": found.facts,
        "rows": {"train": len(train), "scored": len(test)},
        "scores": metrics(cell.data, test, found.answers),
        "machine": {"device": given.device, "cores": os.cpu_count(), "threads": os.environ.get("OMP_NUM_THREADS", "")},
        "answers": list(found.answers),
        "evidence": {**facts, **{name: np.round(each, 6).tolist() for name, each in arrays.items()}},
    }


if __name__ == "__main__":
    sys.exit(main())
