"""`manyheads bulk` beside `predict`: killed again and again, and its speed, locally and by two actors of Ray.

    python benchmarks/bulk.py rows DATA ROWS.jsonl [--count 1000000]
    python benchmarks/bulk.py kills MODEL ROWS.jsonl --expected ANSWERS.jsonl [--kills 10] [--task NAME ...]
    python benchmarks/bulk.py speed MODEL ROWS.jsonl [--rounds 3] [--task NAME ...] [--precision bf16]

`rows`: stretches of up to seven words of SST-2, NCBI disease, STS-B and abstracts in DATA, no two alike. ANSWERS.jsonl is
what `manyheads predict` makes of the same rows. `kills`: kill -9 at random moments, the same command again, and in the end
every row compared. `speed`: medians of interleaved runs of whole commands, starting included.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from served.texts import pools

POLL_S = 0.2
CLOSE = 1e-4
"""Of scores: rows share packs with others in the two commands, and sums are rounded in another order."""


def rows(given: argparse.Namespace) -> dict[str, Any]:
    """Short rows out of public data sets, in a fixed random order."""
    with gzip.open(given.model / "sst2/train.tsv.gz", "rt", encoding="utf-8") as lines:
        texts = [line.split("\t")[0] for line in lines]
    texts += [row["text"] for kind in ("sentences", "pairs", "sections") for row in pools(given.model)[kind]]
    stretches = {" ".join(words[i : i + n]) for words in map(str.split, texts)
                 for i in range(len(words)) for n in (3, 4, 5, 6, 7) if i + n <= len(words)}  # fmt: skip
    chosen = random.Random(0).sample(sorted(stretches), given.count)
    with given.rows.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": text}) + "\n" for text in chosen)
    return {"rows": len(chosen), "stretches": len(stretches)}


def command(*arguments: str | Path, tasks: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "manyheads", *map(str, arguments), *(["--task", *tasks] if tasks else [])]


def peak_mb(pid: int) -> float:
    """High water of a process so far; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def kills(given: argparse.Namespace) -> dict[str, Any]:
    output, draw = given.work / "killed", random.Random(0)
    shutil.rmtree(output, ignore_errors=True)
    wanted = sum(1 for _ in given.rows.open(encoding="utf-8"))
    marks = sorted(draw.uniform(0.02, 0.98) for _ in range(given.kills))
    starts, peaks, began = 0, [], time.perf_counter()
    while True:
        again = command("bulk", given.model, given.rows, output, tasks=given.task)
        process = subprocess.Popen(again, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        starts, peak = starts + 1, 0.0
        while process.poll() is None:
            time.sleep(POLL_S + draw.random() * POLL_S)
            peak = max(peak, peak_mb(process.pid))
            done = len(list(output.glob("*.parquet"))) * 10_000 / wanted
            if marks and done >= marks[0]:
                marks.pop(0)
                process.send_signal(signal.SIGKILL)
                process.wait()
        peaks.append(round(peak))
        print(f"start {starts}: {100 * min(done, 1):.0f} % done, peak {peaks[-1]} MB", flush=True)
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"bulk ended with {process.returncode}")
    return {"rows": wanted, "starts": starts, "seconds": round(time.perf_counter() - began), "peak_mb": peaks,
            **compared(output, given.expected)}  # fmt: skip


def compared(output: Path, expected: Path) -> dict[str, Any]:
    """Every row against the answers of `predict`: missing, doubled, other labels or spans, largest difference of a score."""
    found: dict[str, Any] = {"missing": 0, "doubled": 0, "changed": 0, "largest_score_difference": 0.0}
    rows, before = answered(output), -1
    with expected.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            place, row = next(rows, (None, None))
            if row is None or place is None or place > number:
                found["missing"] += 1
                continue
            found["doubled"] += place <= before
            before = place
            apart, difference = differing(json.loads(line)["tasks"], row)
            found["changed"] += apart
            found["largest_score_difference"] = max(found["largest_score_difference"], difference)
    found["doubled"] += sum(1 for _ in rows)
    return found


def answered(output: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for path in sorted(output.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                yield row["row"], row


def differing(tasks: dict[str, Any], row: dict[str, Any]) -> tuple[bool, float]:
    apart, difference = False, 0.0
    for name, answer in tasks.items():
        other = row[name]
        if isinstance(answer, list) and all(isinstance(one, dict) for one in answer):
            keys = ("start", "end", "label")
            apart |= [[one.get(k) for k in keys] for one in answer] != [[one.get(k) for k in keys] for one in other]
            scores = [abs(a["score"] - b["score"]) for a, b in zip(answer, other, strict=False)]
        elif isinstance(answer, dict):
            apart |= answer.get("label") != other.get("label")
            scores = [abs(answer["score"] - other["score"])]
        else:
            scores = [abs(a - b) for a, b in zip(answer, other, strict=True)]
        difference = max([difference, *scores])
    return apart or difference > CLOSE, difference


def speed(given: argparse.Namespace) -> dict[str, Any]:
    ways = {
        "predict": lambda out: command("predict", given.model, given.rows, "-o", out / "a.jsonl", tasks=given.task),
        "local": lambda out: command("bulk", given.model, given.rows, out / "local", tasks=given.task),
        "ray": lambda out: [*command("bulk", given.model, given.rows, out / "ray", tasks=given.task),
                            "--engine", "ray", "--workers", "2"],
    }  # fmt: skip
    precision = ["--precision", given.precision]
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, make in ways.items():
            with tempfile.TemporaryDirectory(dir=given.work) as folder:
                began = time.perf_counter()
                subprocess.run(
                    [*make(Path(folder)), *precision], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                took[name].append(round(time.perf_counter() - began, 1))
            print(name, took[name][-1], flush=True)
    median = {name: statistics.median(values) for name, values in took.items()}
    return {
        "rows": sum(1 for _ in given.rows.open(encoding="utf-8")),
        "precision": given.precision,
        "seconds": took,
        "median": median,
        "local_to_predict": round(median["predict"] / median["local"], 3),
        "ray_to_local": round(median["local"] / median["ray"], 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("rows", "kills", "speed"))
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--expected", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", nargs="+", default=[])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--work", type=Path, default=Path("runs/bulk"))
    parser.add_argument("--json", type=Path, default=Path("docs/results/bulk.json"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, "kills": kills, "speed": speed}[given.part](given)
    if given.part != "rows":
        kept = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else {}
        kept[given.part] = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), **found}
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
