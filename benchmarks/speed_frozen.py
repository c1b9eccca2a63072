"""Training above frozen layers whose outputs are kept, from the second epoch on, against training everything.

    python benchmarks/speed_frozen.py DATA [--work runs/speed] [--steps 30] [--rounds 3] [--results FILE]

The same mix, encoder and steps; the loop as `manyheads train` runs it, tokenising included. The first pass over the steps
fills the store and is not counted; then everything, heads only and the upper two of six layers take the same steps in turn.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.process import keep_freed_memory
from strategies import data_of, run_file

WAYS: dict[str, dict[str, Any]] = {
    "everything": {},
    "bottom 4 of 6 frozen": {"training": {"freeze": {"layers": 4}}},
    "heads only": {"training": {"freeze": "encoder"}},
    "heads only, nothing kept": {"training": {"freeze": "encoder", "frozen_store_gb": 0}},
}
TOKENS_PER_STEP = 2048


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=None)
    options = parser.parse_args()
    keep_freed_memory()  # as the command does; what is measured beside it has it too
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["MANYHEADS_CACHE"] = str((options.work / "cache").resolve())
    tasks = data_of(options.data, options.work / "data")
    plans = {}
    for name, way in WAYS.items():
        run = run_file(tasks, way, 10_000)
        run["training"]["tokens_per_step"] = TOKENS_PER_STEP
        path = options.work / "frozen.yaml"
        path.write_text(yaml.safe_dump(run), encoding="utf-8")
        plans[name] = build_plan(load_run(path), options.work / "never-written")
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for i in range(options.rounds + 1):
        for name, plan in plans.items():
            started = time.perf_counter()
            tokens = sum(sum(record.tokens.values()) for record in plan.trainer.run(plan.phases[0], 0, options.steps))
            if i:
                rates[name].append(tokens / (time.perf_counter() - started))
    stores = {}
    for name, plan in plans.items():
        kept = plan.trainer.gradients.passes.frozen
        stores[name] = round(sum(f.stat().st_size for f in kept.store.folder.iterdir()) / 1e6, 1) if kept else 0.0
        plan.trainer.close()
    result = {
        "tokens_per_step": TOKENS_PER_STEP, "steps": options.steps,
        "tokens_per_second": {name: round(statistics.median(values)) for name, values in rates.items()},
        "over_everything": {
            name: round(statistics.median(a / b for a, b in zip(values, rates["everything"], strict=True)), 2)
            for name, values in rates.items()
        },
        "store_mb": stores,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if options.results:
        options.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
