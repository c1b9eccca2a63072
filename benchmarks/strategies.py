"""Strategies side by side: the same four tasks, encoder, tokens and seeds; only the way of training differs.

    python benchmarks/strategies.py DATA --work runs/strategies [--seeds 0 1 2] [--only NAME ...] [--workers 2] [--steps N]

CoNLL-2003 entities, SST-2 sentiment, SQuAD answers and STS-B similarity on the bundled encoder. Each run is a process of its
own with one thread, `--workers` of them side by side. Test sets are cut (500 sentences, 872 sentences, 200 questions, 1,500
pairs) and no run is selected on validation data, so all of the time is training. A run that is there already is kept, so an
interrupted table goes on where it stopped. Writes RESULTS.json and a table in Markdown.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from real_data import conll2003, rank, squad, sst2, stsb

STRATEGIES: dict[str, dict[str, Any]] = {
    "static, hard sharing": {},
    "uncertainty": {"training": {"balancing": "uncertainty"}},
    "gradnorm": {"training": {"balancing": "gradnorm"}},
    "pcgrad": {"training": {"balancing": "pcgrad"}},
    "upgrad": {"training": {"balancing": "upgrad"}},
    "shared_layers 4 of 6": {"sharing": {"shared_layers": 4}},
    "LLRD 0.95": {"training": {"layer_decay": 0.95}},
    "gradual": {"training": {"phases": "gradual"}},
    "bottom 4 of 6 frozen": {"training": {"freeze": {"layers": 4}}},
    "frozen backbone": {"training": {"freeze": "encoder"}},
    # Adapters want a higher rate than full weights (Hu et al. 2022 use 4e-4 and up).
    "LoRA shared": {"lora": {"save": "adapter-only"}, "training": {"learning_rate": 2e-3}},
    "LoRA per task": {"lora": {"save": "adapter-only", "adapters": "per-task"}, "training": {"learning_rate": 2e-3}},
    "separate models": {"sharing": {"shared_layers": 0}},
    "layer mix": {"sharing": {"layer_mix": True}},
}
METRICS = {"entities": "f1", "sentiment": "accuracy", "answers": "f1", "similarity": "spearman"}


def data_of(data: Path, work: Path) -> dict[str, dict[str, Any]]:
    """The tasks' sections, with cut test sets and without validation."""
    found = {"entities": conll2003(data, work), "sentiment": sst2(data, work), "answers": squad(data, work),
             "similarity": stsb(data, work)}  # fmt: skip
    with gzip.open(found["entities"]["test"], "rt", encoding="utf-8") as lines:
        sentences = [part for part in lines.read().split("\n\n") if part.strip() and not part.startswith("-DOCSTART-")]
    cut = work / "conll-test.conll"
    cut.write_text("\n\n".join(sentences[:500]) + "\n", encoding="utf-8")
    questions = work / "squad-test.json"
    chosen = {"version": "1.1", "data": _articles(Path(found["answers"]["test"]), 200)}
    questions.write_text(json.dumps(chosen), encoding="utf-8")
    tests = {"entities": str(cut.resolve()), "answers": str(questions.resolve())}
    kinds = {"entities": "token-classification", "sentiment": "text-classification", "answers": "question-answering",
             "similarity": "sentence-embedding"}  # fmt: skip
    return {
        name: {"type": kind, "validation_fraction": 0.0,
               "data": {"train": found[name]["train"], "test": tests.get(name, found[name]["test"])}}
        for name, kind in kinds.items()
    }  # fmt: skip


def _articles(path: Path, questions: int) -> list[Any]:
    """Paragraphs of all articles, in a fixed random order, until there are enough questions."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        paragraphs = [p for article in json.load(file)["data"] for p in article["paragraphs"]]
    chosen: list[Any] = []
    for paragraph in sorted(paragraphs, key=lambda p: rank(p["context"])):
        if sum(len(p["qas"]) for p in chosen) >= questions:
            break
        chosen.append(paragraph)
    return [{"title": "", "paragraphs": chosen}]


def run_file(tasks: dict[str, Any], strategy: dict[str, Any], steps: int) -> dict[str, Any]:
    training = {"steps": steps, "tokens_per_step": 1024, "learning_rate": 3e-4, "head_learning_rate": 3e-3}
    return {
        "encoder": {"name": "all-MiniLM-L6-v2", "max_length": 256},
        "tasks": tasks,
        **{key: value for key, value in strategy.items() if key != "training"},
        "training": {**training, **strategy.get("training", {})},
    }


def measured(name: str, seed: int, run: dict[str, Any], work: Path) -> dict[str, Any]:
    """One run in a process of its own: scores, wall time, peak memory, size on disk."""
    folder = work / f"{name.replace(' ', '-').replace(',', '')}-seed{seed}"
    kept = folder / "measured.json"
    if kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    path = work / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "manyheads",
        "train",
        str(path),
        "--output",
        str(folder),
        "--set",
        f"training.seed={seed}",
    ]
    started = time.perf_counter()
    with (work / f"{folder.name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name}, seed {seed}: see {work / f'{folder.name}.log'}")
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    result = {
        "strategy": name, "seed": seed, "seconds": round(time.perf_counter() - started, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "saved_mb": round(sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6, 1),
        "scores": {task: scores[task]["test"][metric] for task, metric in METRICS.items()},
    }  # fmt: skip
    kept.write_text(json.dumps(result), encoding="utf-8")
    print(json.dumps(result), flush=True)
    return result


def table(results: list[dict[str, Any]], costs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Mean and spread (standard deviation over seeds) of each task's score, in points; costs where they are known."""
    heads = [
        "strategy (seeds)",
        *(f"{task} {metric}" for task, metric in METRICS.items()),
        "mean",
        "time per step",
        "trained",
        "peak MB",
        "saved MB",
    ]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for name in dict.fromkeys(result["strategy"] for result in results):
        mine = [result for result in results if result["strategy"] == name]
        cells = []
        for figures in [*([r["scores"][task] for r in mine] for task in METRICS),
                        [statistics.mean(r["scores"].values()) for r in mine]]:  # fmt: skip
            spread = f" ± {100 * statistics.stdev(figures):.1f}" if len(figures) > 1 else ""
            cells.append(f"{100 * statistics.mean(figures):.1f}{spread}")
        peak, saved = (statistics.median(r[key] for r in mine) for key in ("peak_mb", "saved_mb"))
        cost = costs.get(name)
        cells += [f"{cost['ratio']:.2f}", f"{cost['trained'] / 1e6:.2f} M"] if cost else ["", ""]
        yield f"| {name} ({len(mine)}) | " + " | ".join(cells) + f" | {peak:.0f} | {saved:.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--costs", type=Path, default=None, help="what strategy_costs.py wrote")
    parser.add_argument("--results", type=Path, default=None)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    tasks = data_of(options.data, options.work / "data")
    jobs = [(name, seed) for seed in options.seeds for name in options.only]
    with ThreadPoolExecutor(options.workers) as pool:
        results = list(
            pool.map(lambda job: measured(*job, run_file(tasks, STRATEGIES[job[0]], options.steps), options.work), jobs)
        )
    rows = json.loads(options.costs.read_text(encoding="utf-8"))["rows"] if options.costs else []
    print("\n".join(table(results, {row["strategy"]: row for row in rows})))
    if options.results:
        summary = {"steps": options.steps, "tokens_per_step": 1024, "results": results}
        options.results.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
