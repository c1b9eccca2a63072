"""ONNX against torch: the time of one short text through four heads, and the test scores of float32 and int8.

    python benchmarks/onnx_latency.py runs/bench/joint-seed0 FOLDER [--threads 1 2] [--scores entities similarity]

Exports the model to FOLDER/float32 and FOLDER/int8 unless they are there. Times are those of `predict` on one row with a
question, tokenizing and decoding included, and of the encoder passes in it. Each system has a process of its own, set up as
the command is; they take turns, so that whatever else the machine does meets all of them alike.
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

TURNS = "MANYHEADS_TURNS"
WARM = 5
PAUSE_S = 0.02
"""Before each turn: threads of torch spin for milliseconds when they are done."""
ROW = {"text": "Barack Obama met Angela Merkel in Berlin on Friday.", "question": "Where did they meet?"}


def models(model: Path, folder: Path) -> dict[str, Path]:
    """The model and its two exports."""
    from manyheads.export import ExportRequest, export_model

    found = {"torch": model, "onnx float32": folder / "float32", "onnx int8": folder / "int8"}
    if not found["onnx float32"].exists():
        export_model(model, ExportRequest("onnx", found["onnx float32"]), print)
    if not found["onnx int8"].exists():
        export_model(model, ExportRequest("onnx", found["onnx int8"], quantize="int8"), print)
    return found


def timed(folders: dict[str, Path], threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of each system: median and lowest tenth of `rounds` turns."""
    systems = {
        name: subprocess.Popen(
            [sys.executable, __file__, str(path), "-", "--threads", str(threads)],
            env={**os.environ, TURNS: "torch" if name == "torch" else "onnx"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, path in folders.items()
    }
    rows: dict[str, list[float]] = {name: [] for name in systems}
    passes: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(rounds + WARM):
        for name, process in systems.items():
            assert process.stdin is not None
            assert process.stdout is not None
            time.sleep(PAUSE_S)
            print(turn, file=process.stdin, flush=True)
            row, inner = json.loads(process.stdout.readline())
            if turn >= WARM:
                rows[name].append(row)
                passes[name].append(inner)
    for process in systems.values():
        process.communicate()
    return {name: {**_summary(rows[name], "row"), **_summary(passes[name], "pass")} for name in systems}


def answer_in_turn(folder: Path, threads: int) -> None:
    """In a process of one system: for each line that comes in, the milliseconds of a row and of its passes."""
    from manyheads.process import set_up

    set_up()
    from manyheads.api import Model
    from manyheads.bundle import load_bundle, load_exported

    if os.environ[TURNS] == "torch":
        import torch

        torch.set_num_threads(threads)
        model = Model(load_bundle(folder))
    else:
        model = Model(load_exported(folder, threads=threads))
    backend, spent = model.predictor.backend, 0.0
    run = backend.run

    def timed_run(*given: Any) -> Any:
        nonlocal spent
        start = time.perf_counter()
        found = run(*given)
        spent += 1e3 * (time.perf_counter() - start)
        return found

    backend.run = timed_run  # type: ignore[method-assign]
    for _ in sys.stdin:
        spent, start = 0.0, time.perf_counter()
        model.predict([ROW])
        print(json.dumps([1e3 * (time.perf_counter() - start), spent]), flush=True)


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
    if TURNS in os.environ:
        answer_in_turn(options.model, options.threads[0])
        return
    folders = models(options.model, options.folder)
    result: dict[str, Any] = {"latency": {}}
    for threads in options.threads:
        found = result["latency"][str(threads)] = timed(folders, threads, options.rounds)
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
