"""ONNX against torch: the time of one short text through four heads, and the test scores of float32 and int8.

    python benchmarks/onnx_latency.py runs/bench/joint-seed0 FOLDER [--threads 1 2] [--scores entities similarity]

Exports the model to FOLDER/float32 and FOLDER/int8 unless they are there. Times are those of `predict` on one row with a
question, tokenizing and decoding included, and of its encoder pass alone. Systems take turns, so that whatever else the
machine does meets all of them alike; each thread count runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROW = {"text": "Barack Obama met Angela Merkel in Berlin on Friday.", "question": "Where did they meet?"}


def models(model: Path, folder: Path) -> dict[str, Path]:
    """The model and its two exports."""
    from manyheads.export import Export, export_model

    found = {"torch": model, "onnx float32": folder / "float32", "onnx int8": folder / "int8"}
    if not found["onnx float32"].exists():
        export_model(model, Export("onnx", found["onnx float32"]), print)
    if not found["onnx int8"].exists():
        export_model(model, Export("onnx", found["onnx int8"], quantize="int8"), print)
    return found


def timed(folders: dict[str, Path], threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of each system: median and lowest tenth of `rounds` turns."""
    import torch

    from manyheads.api import Model
    from manyheads.bundle import load_bundle
    from manyheads.onnx_backend import load_exported

    torch.set_num_threads(threads)
    loaded = {
        name: Model(load_bundle(path) if name == "torch" else load_exported(path, threads=threads))
        for name, path in folders.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in loaded}
    passes: dict[str, list[float]] = {name: [] for name in loaded}
    for turn in range(rounds + 5):
        for name, model in loaded.items():
            start = time.perf_counter()
            model.predict([ROW])
            middle = time.perf_counter()
            if turn < 5:
                continue
            taken[name].append(1e3 * (middle - start))
            windows = model.predictor.tokenizer.encode([model.tasks["entities"].ask(ROW).source], 256)[0]  # type: ignore[union-attr]
            start = time.perf_counter()
            model.predictor.backend.run(windows, list(model.tasks))
            passes[name].append(1e3 * (time.perf_counter() - start))
    return {name: {**_summary(taken[name], "row"), **_summary(passes[name], "pass")} for name in loaded}


def _summary(times: list[float], what: str) -> dict[str, float]:
    return {f"{what}_p50_ms": statistics.median(times), f"{what}_p10_ms": statistics.quantiles(times, n=10)[0]}


def scores(folders: dict[str, Path], run: Path, tasks: list[str]) -> dict[str, Any]:
    """Test scores of each system."""
    import manyheads as mh
    from manyheads.start import evaluate_model

    return {
        name: {task: splits["test"] for task, splits in
               evaluate_model(mh.load(path), data=run, split="test", names=tasks, say=print).items()}
        for name, path in folders.items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--scores", nargs="*", default=[], metavar="TASK")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folders = models(options.model, options.folder)
    if "MANYHEADS_TURN" in os.environ:  # a process of one thread count
        print(json.dumps(timed(folders, options.threads[0], options.rounds)))
        return
    result: dict[str, Any] = {"latency": {}}
    for threads in options.threads:
        command = [sys.executable, __file__, str(options.model), str(options.folder), "--threads", str(threads),
                   "--rounds", str(options.rounds)]  # fmt: skip
        done = subprocess.run(
            command, env={**os.environ, "MANYHEADS_TURN": "1"}, check=True, capture_output=True, text=True
        )
        found = result["latency"][str(threads)] = json.loads(done.stdout.splitlines()[-1])
        for name, times in found.items():
            share = times["row_p50_ms"] / found["torch"]["row_p50_ms"]
            print(f"{threads} threads  {name:13} " + "  ".join(f"{key} {value:7.2f}" for key, value in times.items())
                  + f"  of torch {share:.2f}", flush=True)  # fmt: skip
    if options.scores:
        result["scores"] = scores(folders, options.model / "run.yaml", options.scores)
        print(json.dumps(result["scores"], indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
