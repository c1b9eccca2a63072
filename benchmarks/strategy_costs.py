"""What strategies cost in time: one step of each, in turn, in one process, so that ratios are of the same minute.

    python benchmarks/strategy_costs.py DATA --work runs/strategies [--rounds 20] [--only NAME ...]

The trainers of all strategies stand side by side and take the same steps one after the other; the first rounds warm up.
Time is that of the process, so that other programs hardly matter; with one thread (OMP_NUM_THREADS=1) not at all.
Prints the median time of a step, the median over rounds of its ratio to static weights with everything trained, and the
trainable parameters.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import yaml

from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.process import keep_freed_memory
from strategies import STRATEGIES, data_of, run_file

MORE = {
    "equal-norm, between looks": {
        "training": {"balancing": {"method": "equal-norm", "options": {"first": 1, "every": 1e6}}}
    },
    "equal-norm, with norms": {"training": {"balancing": {"method": "equal-norm", "options": {"every": 1}}}},
    "adatask": {"training": {"balancing": "adatask"}},
    "dwa": {"training": {"balancing": "dwa"}},
    "random": {"training": {"balancing": "random"}},
    "famo": {"training": {"balancing": "famo"}},
    "cagrad": {"training": {"balancing": "cagrad"}},
    "mgda": {"training": {"balancing": "mgda"}},
    "checkpointing": {"training": {"gradient_checkpointing": True}},
}
WARMUP = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of a step")
    parser.add_argument("--only", nargs="+", default=None)
    parser.add_argument("--results", type=Path, default=None)
    options = parser.parse_args()
    keep_freed_memory()  # as the command does
    tasks = data_of(options.data, options.work / "data")
    every = {**STRATEGIES, **MORE}
    names = [name for name in every if options.only is None or name in options.only or name == next(iter(every))]
    names.remove("gradual") if "gradual" in names else None  # its phases differ; each is some freezing
    plans = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / "run.yaml"
            run = run_file(tasks, every[name], options.rounds)
            run["training"]["tokens_per_step"] = options.tokens
            path.write_text(yaml.safe_dump(run), encoding="utf-8")
            plans[name] = build_plan(load_run(path), Path(folder) / "out")
    times: dict[str, list[float]] = {name: [] for name in names}
    for i in range(options.rounds):
        # Forwards, then backwards, so that nobody always follows the same neighbour.
        for name in names if i % 2 else names[::-1]:
            plan = plans[name]
            batch = plan.trainer.batcher.batch(i)
            plan.trainer.prepare(plan.phases[0])
            started = time.process_time()
            plan.trainer.step(plan.phases[0], i, batch)
            times[name].append(time.process_time() - started)
    reference = times[names[0]][WARMUP:]
    rows = []
    for name in names:
        mine = times[name][WARMUP:]
        ratios = [a / b for a, b in zip(mine, reference, strict=True)]
        plan = plans[name]
        phase = plan.phases[0]
        trained = sum(part.size for part in plan.trainer.parts if not phase.freeze.holds(part))
        step_s, ratio = statistics.median(mine), statistics.median(ratios)
        rows.append({"strategy": name, "step_s": round(step_s, 4), "ratio": round(ratio, 3), "trained": trained})
        print(f"{name:24} {rows[-1]['step_s']:8.3f} s {rows[-1]['ratio']:7.3f}  {trained:12,}", flush=True)
    if options.results:
        options.results.write_text(
            json.dumps({"tokens": options.tokens, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
