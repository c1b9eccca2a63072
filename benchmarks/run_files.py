"""Run files of the benchmarks, trained and evaluated through the command, as a user would.

    python benchmarks/run_files.py NAME ../shared/data --work runs/bench [--set KEY=VALUE ...]

NAME: ner (CoNLL-2003 alone), joint (CoNLL-2003 + SST-2 + SQuAD + STS-B), biomedical (sections + NCBI disease).
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from real_data import SETS

RUNS: dict[str, dict[str, Any]] = {
    # The budget of transformers' example: 3 epochs, 1e-4, 16 sentences (about 312 real tokens) a step, no warmup.
    "ner": {
        "tasks": {"entities": {"type": "token-classification", "data": "conll2003"}},
        "training": {"epochs": 3, "learning_rate": 1e-4, "tokens_per_step": 312, "warmup": 0.0},
    },
    "joint": {
        "tasks": {
            "entities": {"type": "token-classification", "data": "conll2003"},
            "sentiment": {"type": "text-classification", "data": "sst2"},
            "answers": {"type": "question-answering", "data": "squad"},
            "similarity": {"type": "sentence-embedding", "data": "stsb"},
        },
        "training": {"epochs": 1, "learning_rate": 1e-4, "tokens_per_step": 1536, "evaluate_every": 1000},
    },
    "biomedical": {
        "tasks": {
            "section": {"type": "text-classification", "data": "sections"},
            "disease": {"type": "token-classification", "data": "ncbi_disease"},
        },
        "training": {"epochs": 3, "learning_rate": 1e-4, "tokens_per_step": 768},
    },
}


def write_run(name: str, data: Path, work: Path) -> Path:
    run = {"encoder": {"name": "all-MiniLM-L6-v2", "max_length": 256}, **RUNS[name]}
    run["tasks"] = {
        task: {**section, "data": SETS[section["data"]](data, work / "data")} for task, section in run["tasks"].items()
    }
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(RUNS))
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/bench"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--tag", default="")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    run = write_run(options.name, options.data, options.work)
    for seed in options.seeds:
        output = options.work / f"{options.name}{options.tag}-seed{seed}"
        command = [sys.executable, "-m", "manyheads", "train", str(run), "--output", str(output)]
        for override in [*options.overrides, f"training.seed={seed}"]:
            command += ["--set", override]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - started
        scores = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
        print(json.dumps({"run": options.name, "seed": seed, "seconds": round(seconds), "scores": scores}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
