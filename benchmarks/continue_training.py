"""What a model forgets when it trains on: CoNLL-2003 and SST-2 first, then other rows and clinc150 (an hour on one core).

    python benchmarks/continue_training.py DATA [--rows N] [--steps N] [-o FOLDER]

Three stages of new data, each trained in three ways: without any hold on the old tasks, held by the old model's own answers
(the default of `training.init_from`), and with the old rows (`data.replay`):

    later   entities continue with other sentences of CoNLL-2003, intents are new, sentiment has no rows
    domain  the same with WNUT-17, in the labels of CoNLL-2003
    grow    a head of 145 intents gets five more, and 200 rows of them; the other task has no rows

DATA is the folder of public data sets that benchmarks/real_data.py reads. Can be interrupted.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from manyheads.cli import main as manyheads
from real_data import SETS, rank, write_csv

ENTITIES = {"person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG", "product": "MISC",
            "creative-work": "MISC"}  # fmt: skip
"""Labels of WNUT-17 in the terms of CoNLL-2003."""
TAGS, TEXTS = "token-classification", "text-classification"
ADDED, ADDED_ROWS, TEST_ROWS = 5, 200, 1000
WAYS: Mapping[str, dict[str, Any]] = {"without": {"prevent_forgetting": False}, "held": {}, "replay": {}}


def sentences(path: Path) -> Iterator[dict[str, list[str]]]:
    """Rows of a CoNLL file."""
    rows: list[list[str]] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in [*lines, ""]:
            if line.strip() and not line.startswith("-DOCSTART-"):
                rows.append(line.split())
            elif rows:
                yield {"tokens": [row[0] for row in rows], "tags": [row[-1] for row in rows]}
                rows = []


def mapped(row: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """A row of WNUT-17 with the labels of CoNLL-2003."""
    tags = [tag if tag == "O" else tag[:2] + ENTITIES[tag[2:]] for tag in row["tags"]]
    return {"tokens": row["tokens"], "tags": tags}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path.resolve())


def prepared(data: Path, work: Path, count: int) -> dict[str, dict[str, str]]:
    """Files of each task: train and test, `count` rows each at most."""
    conll = {split: sorted(sentences(data / f"conll2003/eng.{name}.gz"), key=lambda row: rank(" ".join(row["tokens"])))
             for split, name in (("train", "train"), ("test", "testb"))}  # fmt: skip
    wnut = [mapped(row) for row in islice(sentences(data / "wnut17/wnut17train.conll.gz"), count)]
    dev = [mapped(row) for row in sentences(data / "wnut17/emerging.dev.conll.gz")]
    with gzip.open(data / "clinc150/data_full.json.gz", "rt", encoding="utf-8") as file:
        intents = json.load(file)
    ranked = {split: sorted(intents[split], key=lambda row: rank(row[0])) for split in ("train", "test")}
    added = sorted({label for _, label in ranked["train"]}, key=rank)[:ADDED]
    old = [row for row in ranked["train"] if row[1] not in added]
    new = [row for row in ranked["train"] if row[1] in added][:ADDED_ROWS]
    sst2 = SETS["sst2"](data, work)
    reviews = Path(sst2["train"]).read_text(encoding="utf-8").splitlines(keepends=True)
    (work / "reviews.csv").write_text("".join([reviews[0], *sorted(reviews[1:], key=rank)[:count]]), encoding="utf-8")
    head = ["text", "label"]

    def tested(name: str, labels: set[str]) -> str:
        return write_csv(work / name, head, [row for row in ranked["test"] if row[1] in labels][:TEST_ROWS])

    return {
        "conll2003": {"train": write_rows(work / "conll-train.jsonl", conll["train"][:count]),
                      "test": write_rows(work / "conll-test.jsonl", conll["test"][:TEST_ROWS])},
        "more conll2003": {"train": write_rows(work / "conll-more.jsonl", conll["train"][count : 2 * count])},
        "wnut17": {"train": write_rows(work / "wnut-train.jsonl", wnut), "test": write_rows(work / "wnut-test.jsonl", dev)},
        "sst2": {"train": str((work / "reviews.csv").resolve()), "test": sst2["test"]},
        "clinc150": {"train": write_csv(work / "intents.csv", head, ranked["train"][: 2 * count]),
                     "test": write_csv(work / "intents-test.csv", head, ranked["test"][:TEST_ROWS])},
        "old intents": {"train": write_csv(work / "intents-old.csv", head, old[: 2 * count]),
                        "test": tested("intents-old-test.csv", {label for _, label in old})},
        "new intents": {"train": write_csv(work / "intents-new.csv", head, new),
                        "test": tested("intents-new-test.csv", set(added))},
    }  # fmt: skip


def runs(files: Mapping[str, dict[str, str]], steps: int) -> dict[str, dict[str, Any]]:
    """Run files by name: the models to start from, and each stage in each way."""
    entities, sentiment, intent = ({"type": kind} for kind in (TAGS, TEXTS, TEXTS))
    found: dict[str, dict[str, Any]] = {
        "first": {"tasks": {"entities": {**entities, "data": files["conll2003"]},
                            "sentiment": {**sentiment, "data": files["sst2"]}}},
    }  # fmt: skip
    grown: dict[str, dict[str, Any]] = {
        "intents": {"tasks": {"intent": {**intent, "data": files["old intents"]},
                              "sentiment": {**sentiment, "data": files["sst2"]}}},
    }  # fmt: skip
    for way, training in WAYS.items():
        def data(new: str | None, old: str, way: str = way) -> dict[str, str]:
            rows = {"train": files[new]["train"]} if new else {}
            return {**rows, "test": files[old]["test"], **({"replay": files[old]["train"]} if way == "replay" else {})}

        kept = {**sentiment, "data": data(None, "sst2")}
        for stage, new in (("later", "more conll2003"), ("domain", "wnut17")):
            found[f"{stage}-{way}"] = {"tasks": {
                "entities": {**entities, "data": data(new, "conll2003")}, "sentiment": kept,
                "intent": {**intent, "data": files["clinc150"]},
            }, "training": {"init_from": "first", **training}}  # fmt: skip
        grown[f"grow-{way}"] = {"tasks": {
            "intent": {**intent, "data": data("new intents", "old intents")}, "sentiment": kept,
        }, "training": {"init_from": "intents", **training}}  # fmt: skip
    found |= grown
    for name, values in found.items():
        length = steps if name in ("first", "intents") else steps // 2
        training = {"steps": length, "tokens_per_step": 512, "evaluate_every": -(-length // 2)}
        values |= {"encoder": {"max_length": 128}, "training": {**values.get("training", {}), **training}}
    return found


def score(model: Path, task: str, kind: str, test: str) -> float:
    """F1 of entities or accuracy on a file, as a fraction."""
    run, scores = model.parent / "score.yaml", model.parent / "score.json"
    run.write_text(yaml.safe_dump({"tasks": {task: {"type": kind, "data": {"train": test, "test": test}}}}), encoding="utf-8")
    if manyheads(["evaluate", str(model), "--data", str(run), "--task", task, "--json", str(scores)]):
        raise SystemExit(f"{model} cannot be scored")
    found = json.loads(scores.read_text(encoding="utf-8"))[task]["test"]
    return float(found["f1" if kind == TAGS else "accuracy"])


def measure(data: Path, work: Path, count: int, steps: int) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    files = prepared(data, work, count)
    tests = {
        "later": {"entities, CoNLL-2003": ("entities", TAGS, "conll2003"),
                  "entities, WNUT-17": ("entities", TAGS, "wnut17"),
                  "sentiment, SST-2": ("sentiment", TEXTS, "sst2"),
                  "intent, clinc150": ("intent", TEXTS, "clinc150")},
        "grow": {"old intents": ("intent", TEXTS, "old intents"),
                 "new intents": ("intent", TEXTS, "new intents"),
                 "sentiment, SST-2": ("sentiment", TEXTS, "sst2")},
    }  # fmt: skip
    tests["domain"] = tests["later"]
    found: dict[str, Any] = {}
    if (work / "result.json").exists():
        found = json.loads((work / "result.json").read_text(encoding="utf-8"))
    for name, values in runs(files, steps).items():
        folder, run = work / name, work / f"{name}.yaml"
        run.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        resume = ["--resume"] if folder.exists() else []
        if not (folder / "manyheads.json").exists() and manyheads(["train", str(run), "-o", str(folder), *resume]):
            raise SystemExit(f"{name} failed")
        stage = {"first": "later", "intents": "grow"}.get(name) or name.partition("-")[0]
        for what, (task, kind, where) in tests[stage].items():
            there = task in values["tasks"] and (name != "intents" or where != "new intents")
            if there and what not in found.setdefault(name, {}):
                found[name][what] = score(folder, task, kind, files[where]["test"])
        (work / "result.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=1000, help="of each set")
    parser.add_argument("--steps", type=int, default=150, help="of 512 tokens; later trainings have half of them")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/continue"))
    asked = parser.parse_args()
    for name, scores in measure(asked.data, asked.output, asked.rows, asked.steps).items():
        print(f"{name:16}", *(f"{what} {100 * value:.1f}" for what, value in scores.items()), sep="   ")
