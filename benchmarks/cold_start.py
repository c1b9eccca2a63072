"""Cold start: `manyheads predict` of one text in fresh processes, on PyTorch and as an ONNX export; `serve` until ready.

    python benchmarks/cold_start.py [MODEL] [--export FOLDER] [--work runs/speed] [--runs 10] [--results FILE]

Without MODEL, the four heads of the speed benchmarks; without --export, MODEL is exported first. A process is cold, the disk
is not: the files are in the page cache after a first run, which does not count. On a machine with other load, the processor's
seconds (user and system) say more than the clock's. Three tables:
- the commands as a user runs them, all heads, medians and spread, processor time and peak memory;
- the same work by stage: what the command imports is imported beforehand, torch, then transformers (with the parts of torch
  that only it asks for), then the rest; then cProfile times `main()`, which imports nothing any more;
- packages by their cumulative time under `-X importtime`, which slows imports down itself and does not see modules that are
  imported by a call instead of a statement: read it for proportions.
"""

import argparse
import json
import math
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mixed_texts import four_heads

TEXT = "Metformin 500 mg was given twice a day."
LIMITS_S = {"predict, PyTorch": 2.5, "predict, ONNX": 1.0, "serve, PyTorch": 4.0, "serve, ONNX": 4.0}
READY_S = 120.0
SHOWN = 12
"""Packages in the table."""

# The peak of a forked process starts at that of its parent (Linux counts the memory it had before exec), so a bare
# interpreter stands between.
LAUNCH = """
import os, sys, time
started = time.perf_counter()
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - started, usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
sys.exit(os.waitstatus_to_exitcode(status))
"""

DISCOVER = """
import json, sys
from manyheads.cli import main
argv, target = json.loads(sys.argv[1])
status = main(argv)
json.dump(list(sys.modules), open(target, "w"))
sys.exit(status)
"""

STAGES = """
import sys, time
marks = [("python", time.perf_counter())]
def mark(name):
    marks.append((name, time.perf_counter()))
from manyheads.cli import main
mark("import manyheads.cli")
import cProfile, importlib, json, pstats
names, argv, target = json.loads(sys.argv[1])
marks.append(("", time.perf_counter()))
groups = {
    "import torch": ["torch"],
    "import transformers": [name for name in names if name.partition(".")[0] == "transformers"],
    "other imports": names,
}
for group, members in groups.items():
    for name in members:
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception:  # private parts of packages cannot be imported by name
                pass
    mark(group)
before = set(sys.modules)
profile = cProfile.Profile()
profile.enable()
status = main(argv)
profile.disable()
mark("main")
late = sorted(set(sys.modules) - before)
times = [[file, function, row[3]] for (file, _, function), row in pstats.Stats(profile).stats.items()]
seconds = {name: end - start for (_, start), (name, end) in zip(marks, marks[1:]) if name}
with open(target, "w") as file:
    inside = time.perf_counter() - marks[0][1]
    json.dump({"seconds": seconds, "late": late, "times": times, "inside": inside}, file)
sys.exit(status)
"""

FUNCTIONS = {
    "check hashes": ("bundle/verify.py", "verify"),
    "load weights": ("nn/pretrained.py", "load_for_answers"),
    "load tokenizer": ("text/tokenizer.py", "load"),
    "first pass": ("manyheads/predict.py", "answer"),
}
"""Stages of `main()`, none inside another."""


def measured(command: Sequence[str]) -> tuple[float, float, float]:
    """Seconds, peak resident megabytes, and processor seconds of a fresh process that prints nothing."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCH, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, peak_kb, processor = done.stdout.split()
    return float(seconds), float(peak_kb) / 1024, float(processor)


def served(model: Path) -> tuple[float, float, float]:
    """Seconds until a server is ready, nan, and processor seconds of all its processes until it ended."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", "manyheads", "serve", str(model), "--port", str(port)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while (taken := time.perf_counter() - started) < READY_S and not is_ready(port):
            time.sleep(0.02)
    finally:
        process.terminate()
        process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return taken, math.nan, processor


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def predict_arguments(model: Path, rows: Path) -> list[str]:
    return ["predict", str(model), str(rows), "-o", os.devnull]


def packages_of(report: str) -> dict[str, tuple[float, float]]:
    """Seconds of each package in the report of `-X importtime`: cumulative, and its modules' own, most cumulative first.

    Cumulative is with all that the package's modules imported first; a module inside another of its package counts once.
    """
    cumulative, own = Counter[str](), Counter[str]()
    above: list[str] = []
    # A module is reported after those it imported: backwards, each line's importers are the less indented before it.
    for line in reversed(report.splitlines()):
        found = re.fullmatch(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)", line)
        if found:
            package = found[4].partition(".")[0]
            above = above[: len(found[3]) // 2]
            own[package] += int(found[1])
            cumulative[package] += int(found[2]) if package not in above else 0
            above.append(package)
    return {name: (value / 1e6, own[name] / 1e6) for name, value in cumulative.most_common()}


def import_report(arguments: Sequence[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "manyheads", *arguments], check=True, capture_output=True, text=True
    )
    return done.stderr


def modules(arguments: Sequence[str], folder: Path) -> list[str]:
    """All that the command imports, in order; a report of imports leaves out what a call imports."""
    target = folder / "modules.json"
    subprocess.run([sys.executable, "-c", DISCOVER, json.dumps([arguments, str(target)])], check=True)
    return [name for name in json.loads(target.read_text(encoding="utf-8")) if name != "__main__"]


def stages(names: Sequence[str], arguments: Sequence[str], folder: Path) -> tuple[dict[str, float], list[str]]:
    """Seconds of each stage in one fresh process, and the modules that could not be imported beforehand."""
    target = folder / "stages.json"
    whole, _, _ = measured([sys.executable, "-c", STAGES, json.dumps([names, arguments, str(target)])])
    seen = json.loads(target.read_text(encoding="utf-8"))
    seconds: dict[str, float] = seen["seconds"]
    main = seconds.pop("main")
    for stage, (file, function) in FUNCTIONS.items():
        seconds[stage] = sum(row[2] for row in seen["times"] if row[0].endswith(file) and row[1] == function)
    seconds["rest of main()"] = main - sum(seconds[stage] for stage in FUNCTIONS)
    seconds["python starts and ends"] = whole - seen["inside"]
    return seconds, seen["late"]


def table(result: dict[str, Any]) -> Iterator[str]:
    """The result as three Markdown tables."""
    yield f"| median of {result['runs']} | seconds (spread) | processor seconds | must be under | | peak memory |"
    yield "|---|---|---|---|---|---|"
    for name, one in result["commands"].items():
        (low, high), limit = one["spread_s"], LIMITS_S[name]
        memory = "-" if one["peak_memory_mb"] is None else f"{one['peak_memory_mb']} MB"
        yield (f"| {name} | {one['median_s']:.2f} ({low:.2f} to {high:.2f}) | {one['processor_s']:.2f} | {limit:g} | "
               f"{'yes' if one['median_s'] < limit else 'NO'} | {memory} |")  # fmt: skip
    yield ""
    yield "| stage | seconds |"
    yield "|---|---|"
    for name, seconds in result["stages_s"].items():
        yield f"| {name} | {seconds:.3f} |"
    yield f"| all stages | {sum(result['stages_s'].values()):.3f} |"
    yield ""
    yield "| package (under -X importtime) | cumulative s | own s |"
    yield "|---|---|---|"
    for package in result["packages"]:
        yield f"| {package['name']} | {package['cumulative_s']:.3f} | {package['own_s']:.3f} |"


def command_facts(calls: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    seconds = [call[0] for call in calls]
    return {
        "median_s": round(statistics.median(seconds), 3), "spread_s": [round(min(seconds), 3), round(max(seconds), 3)],
        "processor_s": round(statistics.median(call[2] for call in calls), 3),
        "peak_memory_mb": None if math.isnan(calls[0][1]) else round(statistics.median(call[1] for call in calls)),
    }  # fmt: skip


def measure(model: Path, export: Path, runs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = folder / "row.jsonl"
        rows.write_text(json.dumps({"text": TEXT}) + "\n", encoding="utf-8")
        arguments = predict_arguments(model, rows)
        names = modules(arguments, folder)  # also brings the files into the page cache, and says what is wrong
        calls: dict[str, list[tuple[float, float, float]]] = {name: [] for name in LIMITS_S}
        for run in range(runs + 1):
            for kind, place in (("PyTorch", model), ("ONNX", export)):
                command = [sys.executable, "-m", "manyheads", *predict_arguments(place, rows)]
                found = {f"predict, {kind}": measured(command), f"serve, {kind}": served(place)}
                for what, call in found.items() if run else ():
                    calls[what].append(call)
        report = import_report(arguments)
        staged = [stages(names, arguments, folder) for _ in range(min(runs, 5))]
    parts = {stage: statistics.median(each[0][stage] for each in staged) for stage in staged[0][0]}
    packages = [
        {"name": package, "cumulative_s": round(both[0], 4), "own_s": round(both[1], 4)}
        for package, both in packages_of(report).items()
    ]
    return {
        "runs": runs, "load_of_the_machine": [round(value, 1) for value in os.getloadavg()],
        "commands": {name: command_facts(some) for name, some in calls.items()},
        "stages_s": {stage: round(value, 4) for stage, value in parts.items()},
        "imported_late": staged[0][1],
        "packages": packages[:SHOWN],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=None)
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--export", type=Path, default=None, metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--results", type=Path, default=None)
    options = parser.parse_args()
    model, export = options.model or four_heads(options.work), options.export or options.work / "cold-start-onnx"
    if not (export / "manyheads.json").exists():
        command = [sys.executable, "-m", "manyheads", "export", str(model), "--to", "onnx", "-o", str(export)]
        subprocess.run(command, check=True)
    result = measure(model, export, options.runs)
    print("\n".join(table(result)))
    if options.results:
        options.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
