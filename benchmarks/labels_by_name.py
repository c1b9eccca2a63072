"""Labels by name: intents of clinc150, half of them never seen in training (minutes with the defaults, on a busy core).

    python benchmarks/labels_by_name.py DATA [--rows N] [--test N] [--steps N] [--seed N] [-o FOLDER]

The intents are divided by a draw from the seed. A head by name and an ordinary one train on the same rows of the seen half, N
of each intent; intents are described by nothing but their names. Accuracy is that of N test rows of each intent, in percent.
DATA is the folder of public data sets that benchmarks/real_data.py reads.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

import manyheads as mh
from continue_training import write_rows
from linking import untrained
from manyheads.cli import main as manyheads
from manyheads.inference.questions import answers_of, choosing_among
from manyheads.predict import Predictor

Rows = list[dict[str, str]]
TASK = "intent"
TOKENS = 1024
"""Of a step."""


def read(data: Path, split: str, most: int) -> Rows:
    """The first rows of each intent, in the order of the file."""
    with gzip.open(data / "clinc150/data_full.json.gz", "rt", encoding="utf-8") as file:
        pairs = json.load(file)[split]
    found: dict[str, Rows] = defaultdict(list)
    for text, label in pairs:
        found[label].append({"text": text, "label": label})
    return [row for label in sorted(found) for row in found[label][:most]]


def trained(folder: Path, splits: dict[str, Rows], steps: int, seed: int, *, by_name: bool) -> mh.Model:
    """A model with one head."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {split: write_rows(folder / f"{split}.jsonl", rows) for split, rows in splits.items()}
    run = {
        "encoder": {"name": "all-MiniLM-L6-v2", "max_length": 64},
        "tasks": {TASK: {"type": "text-classification", "by_name": by_name, "data": data}},
        "training": {"steps": steps, "tokens_per_step": TOKENS, "evaluate_every": steps, "seed": seed, "device": "cpu"},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    started = time.process_time()
    assert manyheads(["train", str(path), "-o", str(folder / "model")]) == 0
    print(f"by_name {by_name}: {time.process_time() - started:.0f} s of processor time", flush=True)
    return mh.load(folder / "model")


def accuracy(predictor: Predictor, rows: Rows, labels: Sequence[str] | None) -> str:
    """Of the label that is chosen, in percent."""
    asked = predictor if labels is None else choosing_among(predictor, TASK, labels)[1]
    answers = answers_of(asked, TASK, rows)
    right = sum(answer["label"] == row["label"] for answer, row in zip(answers, rows, strict=True))
    return f"{100 * right / len(rows):.1f}"


def main() -> None:
    """Train both heads and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=8, help="training rows of each seen intent (default 8, at most 100)")
    parser.add_argument("--test", type=int, default=6, help="test rows of each intent (default 6, at most 30)")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        work = given.output or Path(temporary)
        sizes = {"train": ("train", given.rows), "validation": ("val", max(1, given.rows // 4))}
        splits = {split: read(given.data, *part) for split, part in sizes.items()}
        test = read(given.data, "test", given.test)
        every = sorted({row["label"] for row in test})
        seen = sorted(random.Random(given.seed).sample(every, len(every) // 2))
        unseen = sorted(set(every) - set(seen))
        known = {split: [row for row in rows if row["label"] in seen] for split, rows in splits.items()}
        named = trained(work / "by-name", known, given.steps, given.seed, by_name=True)
        plain = trained(work / "plain", known, given.steps, given.seed, by_name=False)
    ours, others = ([row for row in test if row["label"] in half] for half in (seen, unseen))
    print(f"{len(known['train']):,} training rows of {len(seen)} intents; {len(test):,} test rows of {len(every)}\n")
    heads = (f"{half}, among {count}" for count in (len(seen), len(every)) for half in ("seen", "unseen"))
    print(f"| | {' | '.join(heads)} |\n|---|---|---|---|---|")
    for name, predictor in (("frozen encoder, cosine", untrained(named)), ("head by name", named.predictor)):
        asked = ((ours, seen), (others, unseen), (ours, every), (others, every))
        print(f"| {name} | {' | '.join(accuracy(predictor, rows, labels) for rows, labels in asked)} |", flush=True)
    print(f"| ordinary head | {accuracy(plain.predictor, ours, None)} | - | - | - |")


if __name__ == "__main__":
    main()
