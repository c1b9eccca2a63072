"""What one more head costs on a pass that is made anyway: extraction, and search, linking and classes by name.

    python benchmarks/head_cost.py [-o FOLDER] [--rounds N]

Trains one model on the bundled corpus (minutes), then answers notes with a head for entities alone and with one more head
each, in turns; medians of the rounds, with decoding. Attributes and links cost by entity, relations by pair. The dictionary
has the names of all entities of the notes, filled up to `--terms` with made-up ones.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml

import manyheads as mh
from manyheads.cli import main as manyheads

CORPUS = Path(mh.__file__).parent / "demo/corpus"
BASE = "entities"
TEXTS = 120


def train(output: Path, terms: int) -> None:
    """A model with all heads, unless it is there."""
    if (output / "manyheads.json").exists():
        return
    folder = output.parent
    folder.mkdir(parents=True, exist_ok=True)
    notes = _corpus("notes", "jsonl")
    flat = {"type": "token-classification", "decoder": "crf", "data": notes}
    sections = {"type": "text-classification", "data": _corpus("sections", "csv")}
    documents, pairs, linked = _of_notes(folder)
    names = _dictionary(folder, linked, terms)
    search = {"type": "sentence-embedding", "data": {"train": str(pairs)}}
    run = {
        "encoder": {"max_length": 128},
        "tasks": {
            BASE: flat,
            "flat": flat,
            "overlapping": {**flat, "overlap": "per-label"},
            "sentences": {"type": "text-classification", "unit": "sentence", "data": {"train": str(documents)}},
            "assertion": {"type": "span-classification", "of": BASE, "data": notes},
            "relations": {"type": "relations", "of": BASE, "data": notes},
            "section": sections,
            "by-name": {**sections, "by_name": True},
            "dense": {"type": "sentence-embedding", "data": _corpus("pairs", "csv")},
            "sparse": {**search, "vectors": "sparse"},
            "multi-vector": {**search, "vectors": "multi"},
            "links": {"type": "entity-linking", "of": BASE, "terms": str(names), "data": {"train": str(linked)}},
        },
        "training": {"steps": 30, "tokens_per_step": 1024, "evaluate_every": 30},
    }
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    if manyheads(["train", str(path), "-o", str(output), *(["--resume"] if output.exists() else [])]):
        raise SystemExit("training failed")


def _corpus(kind: str, ending: str) -> dict[str, str]:
    return {split: str(CORPUS / f"{kind}-{split}.{ending}") for split in ("train", "validation", "test")}


def _of_notes(folder: Path) -> tuple[Path, Path, Path]:
    """Files made of the training notes: documents, pairs of neighbouring sentences, entities with identifiers."""
    documents, pairs, linked = (folder / f"{name}.jsonl" for name in ("sentences", "pairs", "linked"))
    with (
        (CORPUS / "notes-train.jsonl").open(encoding="utf-8") as lines,
        documents.open("w", encoding="utf-8") as to_documents,
        pairs.open("w", encoding="utf-8") as to_pairs,
        linked.open("w", encoding="utf-8") as to_linked,
    ):
        for line in lines:
            row = json.loads(line)
            parts = [part for part in row["text"].split(". ") if part.strip()]
            labels = ["first" if place == 0 else "later" for place in range(len(parts))]
            print(json.dumps({"sentences": parts, "labels": labels}), file=to_documents)
            for one, other in pairwise(parts):
                print(json.dumps({"text_a": one, "text_b": other}), file=to_pairs)
            entities = [
                {key: entity[key] for key in ("start", "end", "label")}
                | {"links": [row["text"][entity["start"] : entity["end"]].lower()]}
                for entity in row["entities"]
            ]
            print(json.dumps({"text": row["text"], "entities": entities}), file=to_linked)
    return documents, pairs, linked


def _dictionary(folder: Path, linked: Path, terms: int) -> Path:
    """A dictionary whose identifiers are the names of the entities, with made-up terms up to `terms`."""
    with linked.open(encoding="utf-8") as lines:
        found = sorted({name for line in lines for entity in json.loads(line)["entities"] for name in entity["links"]})
    draw = random.Random(0)
    words = sorted({word for name in found for word in name.split()})
    made = (f"{draw.choice(words)} {draw.choice(words)} {k}" for k in range(max(0, terms - len(found))))
    path = folder / "terms.tsv"
    rows = (f"{name}\t{name}\n" for name in (*found, *made))
    path.write_text("id\tname\n" + "".join(rows), encoding="utf-8")
    return path


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
    parser.add_argument("--terms", type=int, default=2000)
    asked = parser.parse_args()
    train(asked.output / "model", asked.terms)
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
        print(f"{name:24} {values['seconds']:.3f} s   {100 * (values['ratio'] - 1):+.1f} %")
    (asked.output / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
