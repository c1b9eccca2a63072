"""The speed benchmarks, one after the other, each in a process of its own: one JSON, one table.

    python benchmarks/speed.py [DATA] [--work runs/speed] [--only NAME ...] [--quick] [--results docs/results/speed.json]

NAME: inference, training, frozen, cold. Training and frozen need DATA, the folder of public data sets. Peers are measured
inside the same process as ours, in turn with it, so every ratio is of one run; see the scripts for what is compared.
A part that is not run again keeps its figures in the results file if machine, threads and versions are still the same.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Part:
    """One script of this folder."""

    script: str
    needs_data: bool
    quick: tuple[str, ...]
    """Options of a run that only shows that it runs."""


PARTS = {
    "inference": Part("speed_inference.py", False, ("--texts", "24", "--rounds", "2")),
    "training": Part("speed_training.py", True, ("--steps", "4", "--rounds", "1")),
    "frozen": Part("speed_frozen.py", True, ("--steps", "4", "--rounds", "1")),
    "cold": Part("cold_start.py", False, ("--runs", "2")),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of a part, and what it must reach; no limit for a figure that is only told."""

    what: str
    part: str
    place: tuple[str, ...]
    unit: Literal["ratio", "share", "more", "seconds", "megabytes"]
    limit: float | None = None

    def value(self, parts: Mapping[str, Any]) -> float | None:
        """None where it was not measured."""
        found: Any = parts.get(self.part, {})
        for key in self.place:
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None else float(found)

    def met(self, value: float) -> bool:
        """Ratios and shares are lower bounds, costs upper ones."""
        if self.limit is None:
            return True
        return value >= self.limit if self.unit in ("ratio", "share") else value <= self.limit

    def text(self, value: float) -> str:
        match self.unit:
            case "ratio":
                return f"{value:.2f}x"
            case "share":
                return f"{100 * value:.1f} %"
            case "more":
                return f"{100 * (value - 1):+.1f} %"
            case "seconds":
                return f"{value:.2f} s"
            case "megabytes":
                return f"{value:.0f} MB"


# Issue 4, "must show". Memory has no bound there.
ROWS = (
    Row("four heads, over three pipelines + encode", "inference", ("pipelines_over_ours",), "ratio", 6.0),
    Row("four heads, over four models by hand", "inference", ("by_hand_over_ours",), "ratio", 3.5),
    Row("one more head: time added", "inference", ("one_more_head",), "more", 1.03),
    Row("training, over Trainer, batches per task", "training", ("ours_over", "per task"), "ratio", 1.5),
    Row("training, over Trainer, mixed batches", "training", ("ours_over", "mixed over tasks"), "ratio", 2.5),
    Row(
        "training, over Trainer, group_by_length", "training", ("ours_over", "per task, group_by_length"), "ratio", 1.25
    ),
    Row("embedding, over sentence-transformers encode", "inference", ("encode_over_ours",), "ratio", 1.4),
    Row("share of peak, inference (embedding)", "inference", ("share_of_peak_embeddings",), "share", 0.85),
    Row("share of peak, training", "training", ("share_of_peak",), "share", 0.70),
    Row("heads only, epoch 2 on, over everything", "frozen", ("over_everything", "heads only"), "ratio", 20.0),
    Row("bottom 4 of 6 frozen, epoch 2 on", "frozen", ("over_everything", "bottom 4 of 6 frozen"), "ratio", 2.5),
    Row("cold predict of one text", "cold", ("commands", "predict, PyTorch", "median_s"), "seconds", 2.5),
    Row("cold predict of one text, ONNX export", "cold", ("commands", "predict, ONNX", "median_s"), "seconds", 1.0),
    Row("peak memory, cold predict", "cold", ("commands", "predict, PyTorch", "peak_memory_mb"), "megabytes"),
    Row("peak memory, inference with its peers", "inference", ("peak_memory_mb",), "megabytes"),
    Row("peak memory, training with its peers", "training", ("peak_memory_mb",), "megabytes"),
)


def limit_text(row: Row) -> str:
    match row.limit, row.unit:
        case None, _:
            return ""
        case limit, "ratio":
            return f"{limit:g}x"
        case limit, "share":
            return f"{100 * limit:.0f} %"
        case _, "seconds":
            return f"at most {row.limit:g} s"
        case _:
            return f"at most {row.text(row.limit)}"


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """What was measured beside what it must be. A figure that falls short says so, and so does one of a quick run."""
    yield "| what | measured | at least |"
    yield "|---|---|---|"
    for row in ROWS:
        value = row.value(result["parts"])
        if value is None:
            cell = "not measured"
        else:
            remarks = ["missed"] * (not row.met(value)) + ["quick run"] * bool(result["parts"][row.part].get("quick"))
            cell = row.text(value) + (f" ({', '.join(remarks)})" if remarks else "")
        yield f"| {row.what} | {cell} | {limit_text(row)} |"


def machine() -> dict[str, Any]:
    """What figures depend on besides the code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    # In a process of its own: the parts are to find the memory free.
    threads = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.get_num_threads())"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": int(threads.stdout),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "sentence-transformers")},
    }


def kept_parts(results: Path, here: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a results file, if it was made on the same machine with the same versions."""
    old = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    return dict(old["parts"]) if old.get("machine") == here else {}


def write(results: Path, result: Mapping[str, Any]) -> None:
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run_part(name: str, data: Path | None, work: Path, quick: bool) -> dict[str, Any] | None:
    """The figures of one script, when they were made, and how busy the machine was before; None when it failed."""
    part = PARTS[name]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        command = [sys.executable, str(HERE / part.script), *([str(data)] if part.needs_data else [])]
        command += ["--work", str(work), "--results", str(target), *(part.quick if quick else ())]
        load, started = os.getloadavg()[0], time.perf_counter()
        status = subprocess.run(command, check=False).returncode
        if status or not target.exists():
            print(f"{name}: {part.script} ended with status {status} and gave no figures", file=sys.stderr)
            return None
        figures: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return {
        **figures, "date": time.strftime("%Y-%m-%d"), "quick": quick, "load_before": round(load, 2),
        "took_s": round(time.perf_counter() - started),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=None)
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it runs, not how fast")
    parser.add_argument("--results", type=Path, default=Path("docs/results/speed.json"))
    options = parser.parse_args()
    asked = [name for name in PARTS if name in options.only]
    without = [name for name in asked if PARTS[name].needs_data and options.data is None]
    if without:
        parser.error(
            f"{', '.join(without)}: DATA, the folder of public data sets, is missing; give it, or choose parts by --only"
        )
    options.work.mkdir(parents=True, exist_ok=True)
    here = machine()
    result = {"machine": here, "parts": kept_parts(options.results, here)}
    failed = []
    for name in asked:
        print(f"== {name}", flush=True)
        figures = run_part(name, options.data, options.work, options.quick)
        if figures is None:
            failed.append(name)
            result["parts"].pop(name, None)
        else:
            result["parts"][name] = figures
        write(options.results, result)
    print(", ".join(f"{key} {value}" for key, value in here.items()))
    print("\n".join(table(result)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
