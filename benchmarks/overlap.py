"""Overlapping entities: one head with `overlap: per-label` against a flat model for each label (an hour on one core).

    python benchmarks/overlap.py DATA [--seeds 0 1 2] [--steps N] [--rows N] [-o FOLDER] [--sets laid nested flat]

Three sets:

    laid     sentences of BC5CDR with labels of two corpora laid over one another: Chemical and Disease are its own, Disorder
             is what a model trained on NCBI-disease finds there, Effect spans a chemical and a disease close to each other
    nested   sentences made here, with labels nested up to three deep
    flat     CoNLL-2003, without any overlap: `per-label` against the flat head with all labels

On the first two, one model with a flat head for each label (`heads`) is trained for as many tokens, and so is a flat model
of its own for each label, with several times the tokens in all. DATA is the
folder of public data sets that benchmarks/real_data.py reads. Can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

import manyheads as mh
from continue_training import sentences, write_rows
from manyheads.cli import main as manyheads
from manyheads.metrics.entities import entity_scores
from real_data import rank

TAGS = "token-classification"
APART = 3
"""Words between a chemical and a disease of one effect."""
Row = dict[str, Any]


def labelled(row: dict[str, list[str]]) -> Row:
    """Words and tags as text and spans."""
    text, entities = "", []
    for word, tag in zip(row["tokens"], row["tags"], strict=True):
        start = len(text) + bool(text)
        text = f"{text} {word}".strip()
        if tag.startswith("I-") and entities and entities[-1]["label"] == tag[2:] and entities[-1]["end"] == start - 1:
            entities[-1]["end"] = len(text)
        elif tag != "O":
            entities.append({"start": start, "end": len(text), "label": tag[2:]})
    return {"text": text, "entities": entities}


def in_order(path: Path) -> list[Row]:
    """The sentences of a CoNLL file, in a random but fixed order."""
    return sorted(map(labelled, sentences(path)), key=lambda row: rank(row["text"]))


def effects(row: Row) -> list[dict[str, Any]]:
    """Spans from a chemical to a disease close to it, or the other way round, that do not overlap."""
    found: list[dict[str, Any]] = []
    given = sorted(row["entities"], key=lambda e: e["start"])
    for one, other in pairwise(given):
        between = row["text"][one["end"] : other["start"]].split()
        free = not found or found[-1]["end"] <= one["start"]
        if one["label"] != other["label"] and len(between) <= APART and free:
            found.append({"start": one["start"], "end": other["end"], "label": "Effect"})
    return found


def laid(data: Path, work: Path, count: int) -> dict[str, list[Row]]:
    """Rows by split."""
    model = work / "ncbi"
    if not (model / "manyheads.json").exists():
        splits = {split: str((data / f"ncbi_disease/{name}.tsv.gz").resolve()) for split, name in
                  (("train", "train"), ("validation", "devel"), ("test", "test"))}  # fmt: skip
        train(model, {"disorder": {"type": TAGS, "data": splits}}, 150, 0)
    found = {}
    finder = mh.load(model)
    for split, name, rows in (("train", "train", count), ("test", "devel", count // 2)):
        given = in_order(data / f"bc5cdr/{name}.tsv.gz")
        chosen = [row for row in given if len(row["text"].split()) > 3][:rows]
        disorders = finder.entities([row["text"] for row in chosen])
        found[split] = [
            {"text": row["text"], "entities": [
                *row["entities"], *effects(row),
                *({"start": span["start"], "end": span["end"], "label": "Disorder"} for span in spans)]}
            for row, spans in zip(chosen, disorders, strict=True)
        ]  # fmt: skip
    return found


ORGANS = ("liver", "heart", "kidney", "lung", "skin", "bone", "retina", "spleen")
GENES = ("insulin", "albumin", "actin", "renin", "keratin", "myosin", "ferritin", "elastin")
KINDS = ("gene", "protein", "receptor", "antibody")
PLACES = ("in the {} cells", "of the {}", "near the {} wall", "from {} tissue")
VERBS = ("was found", "is missing", "binds", "was measured", "changed", "is known")


def nested(count: int, seed: int) -> list[Row]:
    """A phrase that holds a molecule that holds a name; and a place that holds an organ, inside the phrase or outside."""
    chosen = random.Random(seed)
    return [_nested(chosen) for _ in range(count)]


def _nested(chosen: random.Random) -> Row:
    text, entities = "", list[dict[str, Any]]()

    def say(part: str, *labels: str) -> int:
        nonlocal text
        start = len(text) + bool(text)
        text = f"{text} {part}".strip()
        for label in labels:
            entities.append({"start": start, "end": start + len(part), "label": label})
        return start

    say(chosen.choice(("Recently", "Today", "Here", "Perhaps")))
    phrase = say(chosen.choice(("a new", "the", "every", "one human")))
    name, kind = chosen.choice(GENES), chosen.choice(KINDS)
    molecule = say(name, "Name")
    say(kind)
    entities.append({"start": molecule, "end": len(text), "label": "Molecule"})
    inside = chosen.random() < 0.5
    before = len(text)
    organ = chosen.choice(ORGANS)
    place = chosen.choice(PLACES).format(organ)
    if inside:
        at = say(place, "Place")
        entities.append({"start": at + place.index(organ), "end": at + place.index(organ) + len(organ), "label": "Organ"})
    entities.append({"start": phrase, "end": len(text) if inside else before, "label": "Phrase"})
    say(chosen.choice(VERBS))
    if not inside:
        at = say(f"beside another {organ}")
        entities.append({"start": at + len("beside another "), "end": len(text), "label": "Organ"})
    return {"text": f"{text} .", "entities": entities}


def flat(data: Path, count: int) -> dict[str, list[Row]]:
    splits = (("train", "train", count), ("test", "testb", count))
    return {split: in_order(data / f"conll2003/eng.{name}.gz")[:n] for split, name, n in splits}


def train(output: Path, tasks: dict[str, Any], steps: int, seed: int) -> None:
    run = {"encoder": {"max_length": 128}, "tasks": tasks,
           "training": {"steps": steps, "tokens_per_step": 1024, "evaluate_every": -(-steps // 2), "seed": seed}}  # fmt: skip
    path = output.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    if manyheads(["train", str(path), "-o", str(output), *(["--resume"] if output.exists() else [])]):
        raise SystemExit(f"{output} failed")


def only(rows: Iterable[Row], label: str) -> list[Row]:
    return [{**row, "entities": [e for e in row["entities"] if e["label"] == label]} for row in rows]


def scores(model: Path, rows: Sequence[Row]) -> dict[str, float]:
    """F1 of each label, and of all."""
    gold = [{(e["start"], e["end"], e["label"]) for e in row["entities"]} for row in rows]
    answers = mh.load(model).entities([row["text"] for row in rows])
    found = [{(span["start"], span["end"], span["label"]) for span in spans} for spans in answers]
    result = entity_scores(gold, found)
    return {"all": result.total.f1, **{label: c.f1 for label, c in result.labels.items()}}


def one_model(splits: dict[str, list[Row]], labels: Sequence[str], model: Path, steps: int, seed: int) -> dict[str, float]:
    """F1 of one model with a flat head for each label."""
    tasks = {}
    for label in labels:
        path = write_rows(model.with_name(f"{model.name}-{label}.jsonl"), only(splits["train"], label))
        tasks[label] = {"type": TAGS, "data": {"train": path}}
    train(model, tasks, steps, seed)
    gold = [{(e["start"], e["end"], e["label"]) for e in row["entities"]} for row in splits["test"]]
    answers = mh.load(model).predict([row["text"] for row in splits["test"]])
    found = [{(s["start"], s["end"], s["label"]) for spans in row["tasks"].values() for s in spans} for row in answers]
    result = entity_scores(gold, found)
    return {"all": result.total.f1, **{label: c.f1 for label, c in result.labels.items()}}


def measure(data: Path, work: Path, seeds: Sequence[int], steps: int, count: int, sets: Sequence[str]) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    store = work / "result.json"
    result: dict[str, Any] = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    for name in sets:
        if name == "nested":
            splits = {"train": nested(count // 2, 1), "test": nested(count // 2, 2)}
        else:
            splits = laid(data, work, count) if name == "laid" else flat(data, count)
        labels = sorted({e["label"] for row in splits["train"] for e in row["entities"]})
        flats = ["flat"] if name == "flat" else ["heads", *labels]
        for seed in seeds:
            for form in ("per-label", *flats):
                key = f"{name} {form} {seed}"
                if key in result:
                    continue
                if form == "heads":
                    result[key] = one_model(splits, labels, work / f"{name}-heads-{seed}", steps, seed)
                    store.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
                    continue
                one = form not in ("per-label", "flat")
                rows = {split: only(given, form) if one else given for split, given in splits.items()}
                paths = {split: write_rows(work / f"{name}-{form}-{split}.jsonl", given) for split, given in rows.items()}
                overlap = {"overlap": "per-label"} if form == "per-label" else {}
                model = work / f"{name}-{form}-{seed}"
                length = steps // 3 if name == "nested" else steps
                train(model, {"entities": {"type": TAGS, "data": {"train": paths["train"]}, **overlap}}, length, seed)
                result[key] = scores(model, rows["test"])
                store.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=120, help="of 1,024 tokens; a third of them on nested")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--sets", nargs="*", default=["laid", "nested", "flat"], choices=["laid", "nested", "flat"])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/overlap"))
    asked = parser.parse_args()
    for key, found in measure(asked.data, asked.output, asked.seeds, asked.steps, asked.rows, asked.sets).items():
        print(f"{key:24}", *(f"{label} {100 * value:.1f}" for label, value in found.items()), sep="   ")
