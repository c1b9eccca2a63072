"""Subcommands: one for each part, and `all`. See the package's docstring."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import durability
from durability.table import table

Row = dict[str, Any]
RESULTS = Path("docs/results/durability.json")


@dataclass(frozen=True, slots=True)
class Part:
    """A module with `measure` and `summary`, and how much of it makes a full measurement."""

    module: str
    trials: int
    processes: int = 1

    def parts(self) -> tuple[Callable[[Path, int], Iterator[Row]], Callable[[Sequence[Row]], Row]]:
        """Its two functions; imported now, for some bring torch with them."""
        module = import_module(f"durability.{self.module}")
        return partial(
            module.measure, processes=self.processes
        ) if self.processes > 1 else module.measure, module.summary


PARTS = {
    "kill": Part("kill", 100),
    "kill-2": Part("kill", 30, processes=2),
    "faults": Part("faults", 1000),
    "damage": Part("damage", 20),
    "sigterm": Part("sigterm", 50),
    "guards": Part("guards", 100),
    "order": Part("order", 2),
    "processes": Part("processes", 3),
    "peers": Part("peers", 20),
}


def machine() -> dict[str, Any]:
    """What results depend on besides the code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    libraries = ("torch", "transformers", "accelerate", "safetensors", "tokenizers")
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "threads": 1,
            "system": f"{platform.system()} {platform.release().split('-')[0]}", "python": platform.python_version(),
            **{name: version(name) for name in libraries}}  # fmt: skip


def code() -> str:
    """The first digits of a sha256 of all of manyheads' own code."""
    import manyheads

    folder, digest = Path(manyheads.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def run_part(name: str, trials: int, work: Path, results: Path) -> None:
    """Measure a part; after every row the results file holds all rows so far."""
    part, began = PARTS[name], time.perf_counter()
    measure, summary = part.parts()
    kept = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    here, before = machine(), code()
    parts = kept.get("parts", {}) if kept.get("machine") == here else {}
    options = ["kill", "--processes", "2"] if name == "kill-2" else [name]
    command = shlex.join(["python", "-m", "durability", *options, "--trials", str(trials)])
    entry: Row = {"date": time.strftime("%Y-%m-%d"), "command": command, "code": before, "complete": False}
    parts[name] = entry = {**entry, "took_s": 0, "summary": {}, "rows": []}
    for row in measure(work / name, trials):
        print(json.dumps(row), flush=True)
        entry["rows"].append(row)
        entry |= {"summary": summary(entry["rows"]), "took_s": round(time.perf_counter() - began)}
        write(results, {"machine": here, "parts": parts})
    if code() != before:
        raise RuntimeError("manyheads' code has changed during the measurement; start again")
    entry["complete"] = True
    write(results, {"machine": here, "parts": parts})
    print(json.dumps(entry["summary"]))


def write(results: Path, result: Row) -> None:
    """As JSON with a line for each row, put in place at once."""
    parts = {
        name: {**part, "rows": [f"row {i}" for i in range(len(part["rows"]))]} for name, part in result["parts"].items()
    }
    text = json.dumps({**result, "parts": parts}, indent=1)
    for name, part in result["parts"].items():
        head, mark, tail = text.partition(f' "{name}": {{')
        for i, row in enumerate(part["rows"]):
            tail = tail.replace(f'"row {i}"', json.dumps(row), 1)
        text = head + mark + tail
    results.parent.mkdir(parents=True, exist_ok=True)
    unfinished = results.with_suffix(".tmp")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(results)


def run_all(trials: int | None, work: Path, results: Path) -> int:
    """Every part in a process of its own: how many failed."""
    failed = 0
    for name, part in PARTS.items():
        command = [sys.executable, "-m", "durability", *(["kill", "--processes", "2"] if name == "kill-2" else [name])]
        command += [
            "--trials",
            str(min(trials or part.trials, part.trials)),
            "--work",
            str(work),
            "--results",
            str(results),
        ]
        print(f"== {name}", flush=True)
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="durability", description=durability.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["all", *(name for name in PARTS if name != "kill-2"), "table"])
    parser.add_argument("--trials", type=int, help="fewer than a full measurement has")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=1, help="of kill")
    parser.add_argument("--work", type=Path, default=Path("runs/durability"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    name = "kill-2" if (options.part, options.processes) == ("kill", 2) else options.part
    failed = 0
    if name == "all":
        failed = run_all(options.trials, options.work, options.results)
    elif name != "table":
        run_part(name, options.trials or PARTS[name].trials, options.work, options.results)
    print("\n".join(table(json.loads(options.results.read_text(encoding="utf-8")))))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
