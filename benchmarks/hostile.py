"""Hostile input: every artefact of the corpus in a process of its own, on every loader that would read it (minutes).

python benchmarks/hostile.py [--json docs/results/hostile.json] [--only PREFIX ...]

Each process is measured: seconds on the clock and of the processor, and memory above what the interpreter had with its
libraries loaded. The status is 1 when a loader ran code, left its folder, died, hung, or took more than 10 s or 1 GiB.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.pop(0)  # this folder, where `hostile` is this file
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from hostile.corpus import all_cases
from hostile.good import make_good
from hostile.runner import GAPS, MOST_MB, MOST_S, complaints, run_cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", default=[""], metavar="PREFIX")
    options = parser.parse_args()
    cases = [case for case in all_cases() if case.name.startswith(tuple(options.only))]
    with tempfile.TemporaryDirectory() as folder:
        good = make_good(Path(folder) / "hostile")
        results = list(run_cases(good.root, cases, alone=True))
    wrong = complaints(cases, results)
    kinds = {case.name: case.kind for case in cases}
    table = {}
    for kind in dict.fromkeys(kinds.values()):
        mine = [result for result in results if kinds[result.case] == kind]
        slowest, largest = max(mine, key=lambda r: r.seconds), max(mine, key=lambda r: r.megabytes)
        table[kind] = {
            "artefacts": len({result.case for result in mine}),
            "runs": len(mine),
            **{outcome: Counter(r.outcome for r in mine)[outcome] for outcome in ("refused", "answered", "failed")},
            "most_seconds": slowest.seconds,
            "slowest": f"{slowest.case} [{slowest.loader}]",
            "most_mb": largest.megabytes,
            "largest": f"{largest.case} [{largest.loader}]",
        }
    print(f"{'read as':10}{'artefacts':>10}{'runs':>7}{'refused':>9}{'answered':>10}{'failed':>8}{'s':>8}{'MB':>8}")
    for kind, row in table.items():
        print(f"{kind:10}{row['artefacts']:10}{row['runs']:7}{row['refused']:9}{row['answered']:10}{row['failed']:8}"
              f"{row['most_seconds']:8.1f}{row['most_mb']:8.0f}  {row['slowest']}, {row['largest']}")  # fmt: skip
    for line in wrong:
        print(f"WRONG {line}")
    worst = {"most_seconds": max(r.seconds for r in results), "most_wall_seconds": max(r.wall_seconds for r in results),
             "most_mb": max(r.megabytes for r in results)}  # fmt: skip
    limits = {"seconds": MOST_S, "mb": MOST_MB}
    print(f"{len(cases)} artefacts, {len(results)} runs; worst {worst}, limits {limits}")
    print(f"{len(wrong)} wrong, {len(GAPS)} gaps")
    if options.json is not None:
        found = {"artefacts": len(cases), "runs": len(results), **worst, "limits": limits, "wrong": wrong, "gaps": GAPS,
                 "by_kind": table}  # fmt: skip
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
