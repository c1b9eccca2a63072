"""What one more head costs on a pass that is made anyway: overlapping entities, sections in context, attributes, relations.

    python benchmarks/head_cost.py [-o FOLDER] [--rounds N]

Trains one model on the bundled corpus (minutes), then answers notes with a head for entities alone and with one more head
each, in turns; medians of the rounds, with decoding. Attributes cost by entity, relations by pair.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml

import manyheads as mh
from manyheads.cli import main as manyheads

CORPUS = Path(mh.__file__).parent / "demo/corpus"
BASE = "entities"
TEXTS = 120


def train(output: Path) -> None:
    """A model with all heads, unless it is there."""
    if (output / "manyheads.json").exists():
        return

    def data(kind: str, ending: str) -> dict[str, str]:
        return {split: str(CORPUS / f"{kind}-{split}.{ending}") for split in ("train", "validation", "test")}

    notes = data("notes", "jsonl")
    flat = {"type": "token-classification", "decoder": "crf", "data": notes}
    output.parent.mkdir(parents=True, exist_ok=True)
    sentences = output.parent / "sentences.jsonl"
    documents: list[dict[str, Any]] = []
    with (CORPUS / "notes-train.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            parts = [part for part in text.split(". ") if part.strip()]
            labels = ["first" if place == 0 else "later" for place in range(len(parts))]
            documents.append({"sentences": parts, "labels": labels})
    sentences.write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    run = {
        "encoder": {"max_length": 128},
        "tasks": {
            BASE: flat,
            "flat": flat,
            "overlapping": {**flat, "overlap": "per-label"},
            "sentences": {"type": "text-classification", "unit": "sentence", "data": {"train": str(sentences)}},
            "assertion": {"type": "span-classification", "of": BASE, "data": notes},
            "relations": {"type": "relations", "of": BASE, "data": notes},
        },
        "training": {"steps": 30, "tokens_per_step": 1024, "evaluate_every": 30},
    }
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    if manyheads(["train", str(path), "-o", str(output), *(["--resume"] if output.exists() else [])]):
        raise SystemExit("training failed")


def measure(model: Any, rows: list[dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Median seconds of each set of heads, and the ratio to the entity head alone within each round."""
    sets = [[BASE], *([BASE, name] for name in model.tasks if name != BASE), list(model.tasks)]
    seconds: list[list[float]] = [[] for _ in sets]
    for _ in range(rounds + 1):  # the first warms up
        for names, found in zip(sets, seconds, strict=True):
            began = time.perf_counter()
            model.predict(rows, tasks=names)
            found.append(time.perf_counter() - began)
    base = seconds[0][1:]
    return {
        " + ".join(names) if len(names) < 3 else "all heads": {
            "seconds": median(found[1:]), "ratio": median(one / other for one, other in zip(found[1:], base, strict=True)),
        }
        for names, found in zip(sets, seconds, strict=True)
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/head-cost"))
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    train(asked.output / "model")
    model = mh.load(asked.output / "model")
    with (CORPUS / "notes-test.jsonl").open(encoding="utf-8") as lines:
        rows = [{"text": json.loads(line)["text"]} for line in lines]
    rows = (rows * (TEXTS // len(rows) + 1))[:TEXTS]
    rows = [{"text": f"{row['text']} {k}"} for k, row in enumerate(rows)]  # equal texts would be read once
    result = measure(model, rows, asked.rounds)
    found = model.predict(rows)
    entities = sum(len(row["tasks"][BASE]) for row in found)
    pairs = sum(len(row["tasks"][BASE]) * (len(row["tasks"][BASE]) - 1) for row in found)
    print(f"{len(rows)} texts, {entities} entities, {pairs} ordered pairs of entities")
    for name, values in result.items():
        print(f"{name:28} {values['seconds']:.3f} s   {100 * (values['ratio'] - 1):+.1f} %")
    (asked.output / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
