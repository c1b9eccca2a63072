"""The server under load, overload, hostile bodies, poison and kills, beside other servers on the same cores.

    python benchmarks/serving.py MODEL [PART ...] --data FOLDER [--results docs/results/serving.json]

MODEL is a model folder with a task of each type; FOLDER holds the public data sets that benchmarks/real_data.py lists. Parts
are run one after the other, all by default; the results file keeps what other runs have measured. `--table` prints the table.
Peers run where their environments are named: `--litserve PYTHON` (an environment with litserve, transformers and
sentence-transformers), `--infinity PROGRAM`, `--schemathesis PROGRAM`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from manyheads.nn.resolve_encoder import resolve_encoder
from served import crowd, ends, hostile, rates, rows

Found = Mapping[str, Any]
PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "load": rates.load,
    "embeddings": rates.embeddings,
    "overload": rates.overload,
    "bodies": hostile.bodies,
    "poison": rows.poison,
    "kills": ends.kills,
    "company": rows.company,
    "planted": rows.planted,
    "keys": hostile.keys,
    "crowd": crowd.crowd,
}


def main() -> int:
    given = arguments()
    kept = json.loads(given.results.read_text(encoding="utf-8")) if given.results.exists() else {"parts": {}}
    if not given.table:
        for name in given.parts or PARTS:
            began = time.perf_counter()
            found = PARTS[name](given)
            kept["machine"] = machine()
            kept["parts"][name] = {
                "date": time.strftime("%Y-%m-%d"),
                "took_s": round(time.perf_counter() - began),
                **found,
            }
            given.results.parent.mkdir(parents=True, exist_ok=True)
            given.results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(kept["parts"])))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--results", type=Path, default=Path("docs/results/serving.json"), metavar="FILE")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--server", nargs="*", default=[], metavar="X", help="further arguments of"
                        " `manyheads serve`, without the dashes: workers=1")  # fmt: skip
    parser.add_argument("--encoder", default="", help="of the peers: a folder (the bundled encoder)")
    parser.add_argument("--litserve", default="", metavar="PYTHON")
    parser.add_argument("--infinity", default="", metavar="PROGRAM")
    parser.add_argument("--onnx-encoder", default="", metavar="FOLDER", help="of infinity's ONNX engine: what"
                        " `optimum-cli export onnx --library transformers --task feature-extraction` writes")  # fmt: skip
    parser.add_argument("--exported", type=Path, nargs="*", default=[], metavar="FOLDER", help="MODEL as"
                        " `manyheads export --to onnx` writes it; `embeddings` takes the first")  # fmt: skip
    parser.add_argument("--one-task", action="store_true", help="`load` without the requests for all tasks of a row")
    parser.add_argument("--schemathesis", default="", metavar="PROGRAM")
    parser.add_argument(
        "--first", type=float, default=20.0, help="requests a second to begin with, and of `kills` (20)"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of each rate (30)")
    parser.add_argument("--rounds", type=int, default=3, help="of `load` and `crowd` (3)")
    parser.add_argument("--steps", type=int, default=5, help="of bisection (5)")
    parser.add_argument("--rate", type=float, default=0.0, help="capacity, if known, for `overload` (measured)")
    parser.add_argument("--times", type=float, default=10.0, help="so many times it in `overload` (10)")
    parser.add_argument("--overload-s", type=float, default=60.0)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=300, help="of schemathesis, a route")
    parser.add_argument("--texts", type=int, default=2_000, help="of `poison` and `company`")
    parser.add_argument("--characters", type=int, default=230_000, help="of `planted`: some 50,000 tokens")
    parser.add_argument("--sigterms", type=int, default=100)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--small", type=int, default=2_000, help="requests of `crowd`")
    parser.add_argument("--at-once", type=int, default=64, help="of them, and then all")
    parser.add_argument("--large", type=int, default=1_000, help="rows of its large request, of 1,000 characters")
    given = parser.parse_args()
    given.server = [part for each in given.server for part in (f"--{each.partition('=')[0]}", each.partition("=")[2])]
    given.encoder = given.encoder or resolve_encoder("all-MiniLM-L6-v2").path_or_id
    return given


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    libraries = {name: version(name) for name in ("torch", "transformers", "uvicorn", "fastapi")}
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(),
            **libraries}  # fmt: skip


def table(parts: Mapping[str, Found]) -> list[str]:
    """What was measured beside what it must be."""
    lines = ["| test | must | measured | |", "|---|---|---|---|"]
    for name, (what, must, told, met) in LINES.items():
        if name in parts:
            found = parts[name]
            lines.append(f"| {what} | {must} | {told(found)} | {'yes' if met(found) else '**no**'} |")
        else:
            lines.append(f"| {what} | {must} | not measured | |")
    return lines


def _rates(found: Found) -> str:
    return "; ".join(
        f"{name} {each.get('requests_s', each.get('cannot'))}" for name, each in found.items() if isinstance(each, dict)
    )


def _ratios(found: Found) -> str:
    """`alike`: in the precision that the peer is best in; `best`: the best of each."""
    return ", ".join(f"{name} {value}" for name, value in found.items() if name.startswith("ratio")) or "no peer"


def _infinity_met(found: Found) -> bool:
    ours = {"infinity, torch": (1.2, "ours"), "infinity, optimum": (1.0, "ours, exported to ONNX")}
    return all(
        found.get(own, found["ours"])["requests_s"] >= must * found[name]["requests_s"]
        for name, (must, own) in ours.items()
        if "requests_s" in found.get(name, {})
    )


LINES: dict[str, tuple[str, str, Callable[[Found], str], Callable[[Found], bool]]] = {
    "load": ("requests/s at p99 under 250 ms, mixed load, against a litserve process for each task", "3x",
             lambda f: f"{_rates(f)}; {_ratios(f)}", lambda f: f.get("ratio_alike", 0) >= 3),
    "embeddings": ("embeddings route, against infinity with torch, with ONNX", "1.2x, 1.0x", _rates, _infinity_met),
    "overload": ("10x overload, then idle", "all answered, refusals under 50 ms, memory flat within 10 %, normal within 2 s",
                 lambda f: f"{f['asked']:,} requests, {f['unanswered']} unanswered; refusals p99 "
                 f"{f['refused_ms']['p99']} ms; memory {f['memory_growth']:+.1%}; normal after {f['normal_after_s']} s",
                 lambda f: not f["unanswered"] and not f["without_retry_after"] and (f["refused_ms"]["p99"] or 0) < 50
                 and f["memory_growth"] <= 0.1 and f["normal_after_s"] <= 2),
    "bodies": ("malformed bodies; schemathesis", "no 5xx, nothing undocumented, no exception text",
               lambda f: f"{f['bodies']:,} bodies: {f['statuses']}, {f['undocumented']} undocumented, "
               f"{f['tracebacks']} with exceptions; schemathesis "
               f"{f['schemathesis'].get('exit', f['schemathesis'].get('cannot'))}",
               lambda f: not f["undocumented"] and not f["tracebacks"] and f["schemathesis"].get("exit") == 0
               and not any(status.startswith("5") for status in f["statuses"])),
    "poison": ("1 % rows that raise inside the batch", "no other row fails",
               lambda f: f"{f['poison']} of {f['rows']:,} rows; {f['others_failed']} others failed",
               lambda f: not f["others_failed"] and f["poison_failed"] == f["poison"]),
    "kills": ("SIGTERMs and worker kills under load", "no accepted request unanswered; not ready within 1 s",
              lambda f: f"{f['sigterm']['trials']} SIGTERMs, {f['sigterm']['unanswered']} of "
              f"{f['sigterm']['accepted']:,} unanswered; "
              f"{f['worker']['trials']} kills, {f['worker']['unanswered']} of {f['worker']['accepted']:,} "
              f"unanswered, not ready after at most {f['worker']['unready_after_s_at_most']} s",
              lambda f: not f["sigterm"]["unanswered"] and not f["worker"]["unanswered"]
              and f["sigterm"]["exits"] in ([0], []) and f["worker"]["unready_after_s_at_most"] < 1),
    "company": ("texts alone and in random company", "no label, span or answer differs",
                lambda f: f"{f['differ']} of {f['texts']:,} differ; scores by at most "
                f"{f['largest_difference_of_a_score']:.1e}",
                lambda f: not f["differ"] and not f["errors"]),
    "planted": ("names planted in a text of 50,000 tokens", "all found, in windows",
                lambda f: f"{f['found']} of {f['planted']} in {f['windows']} windows of the head's own test data; "
                          f"in abstracts {f['abstracts']['found']} of {f['abstracts']['planted']}",
                lambda f: f["found"] == f["planted"] and f["windows"] > 1),
    "keys": ("keys: every route, odd paths and hosts", "no way in", lambda f: f"{f['inside']} of {f['tried']:,} tries",
             lambda f: not f["inside"] and f["right_key_admitted"]),
    "crowd": ("2,000 small requests beside one of 1,000 long rows, and beside one of as many as fit",
              "every small one answered; the large one refused at once or answered",
              lambda f: "; ".join(f"{name}: p50 {each['p50_s']} s, p99 {each['p99_s']} s, {each['unanswered']} unanswered, "
                                  f"the large one {each['large']}" for name, each in f.items() if isinstance(each, dict)),
              lambda f: all(not each["unanswered"] and set(each["large"]) <= {200, 413} for each in f.values()
                            if isinstance(each, dict))),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
