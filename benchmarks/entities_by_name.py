"""Entities by name: two of the four types of CoNLL-2003 never seen in training (a minute a training on a free core).

    python benchmarks/entities_by_name.py DATA [--seen PER LOC] [--rows N] [--steps N] [--seed N] [--split test] [-o FOLDER]

A head by name and an ordinary one train on the same sentences, in which only the seen types are annotated; entities of the
others are plain words there. With `--clean`, sentences with entities of other types are left out instead. Scores are F1 of
entities, in percent. `frozen vectors` gives the spans that the head by name finds new labels: those whose description is
nearest to the mean of the span's states in the untrained encoder. DATA is the folder that benchmarks/real_data.py reads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

import manyheads as mh
from continue_training import sentences, write_rows
from linking import untrained
from manyheads.cli import main as manyheads
from manyheads.inference.questions import choosing_among, inputs_for
from manyheads.metrics.entities import entity_scores
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.token_classification.by_name_decoding import unit_vectors_of

Span = tuple[int, int, str]
Rows = list[dict[str, Any]]
TASK = "entities"
DESCRIPTIONS = {
    "PER": "a person",
    "LOC": "a place such as a country or city",
    "ORG": "an organization such as a company, team or party",
    "MISC": "a nationality, event or competition",
}
FILES = {"train": "eng.train.gz", "validation": "eng.testa.gz", "test": "eng.testb.gz"}
TOKENS = 1024
"""Of a step."""
VALIDATION = 300
"""Sentences that models are selected on."""


def file_of(data: Path, split: str) -> Path:
    """A split of CoNLL-2003."""
    return data / "conll2003" / FILES[split]


def only(rows: Iterable[dict[str, Any]], types: Sequence[str], count: int, *, clean: bool) -> Rows:
    """The first rows, with entities of these types alone."""
    found: Rows = []
    for row in rows:
        tags = [tag if tag[2:] in types else "O" for tag in row["tags"]]
        if not clean or tags == row["tags"]:
            found.append({**row, "tags": tags})
        if len(found) == count:
            break
    return found


def trained(folder: Path, splits: Mapping[str, Rows], given: argparse.Namespace, *, by_name: bool) -> mh.Model:
    """A model with one head."""
    folder.mkdir(parents=True, exist_ok=True)
    task: dict[str, Any] = {
        "type": "token-classification", "by_name": by_name,
        "data": {split: write_rows(folder / f"{split}.jsonl", rows) for split, rows in splits.items()},
    }  # fmt: skip
    if by_name:
        task["descriptions"] = {label: DESCRIPTIONS[label] for label in given.seen}
    run = {
        "encoder": {"name": "all-MiniLM-L6-v2", "max_length": 128},
        "tasks": {TASK: task},
        "training": {"steps": given.steps, "tokens_per_step": TOKENS, "evaluate_every": given.steps, "seed": given.seed,
                     "device": "cpu"},
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    if not (folder / "model").exists():
        started = time.process_time()
        assert manyheads(["train", str(folder / "run.yaml"), "-o", str(folder / "model")]) == 0
        print(f"by_name {by_name}: {time.process_time() - started:.0f} s of processor time", flush=True)
    return mh.load(folder / "model")


def found(model: mh.Model, rows: Rows, labels: Sequence[str] | None) -> list[list[Span]]:
    """The spans of each row; None: of the model's own labels."""
    texts = [{"tokens": row["tokens"]} for row in rows]
    given = None if labels is None else {label: DESCRIPTIONS[label] for label in labels}
    return [[(span["start"], span["end"], span["label"]) for span in one] for one in model.entities(texts, labels=given)]


def relabelled(model: mh.Model, rows: Rows, spans: list[list[Span]], labels: Sequence[str]) -> list[list[Span]]:
    """The same spans with the label whose description is nearest, by vectors of the untrained encoder."""
    given = {label: DESCRIPTIONS[label] for label in labels}
    fresh = untrained(model)
    task = replace(fresh.tasks[TASK], labels=(), label_texts=())  # so that no label is known to it
    _, predictor = choosing_among(fresh.with_tasks({TASK: task}), TASK, given)
    chosen = predictor.tasks[TASK]
    answers = []
    inputs = inputs_for(predictor, TASK, [{"tokens": row["tokens"]} for row in rows])
    for item, of_row in zip(predictor.items(TASK, inputs), spans, strict=True):
        offsets_U2, vector_UX = unit_vectors_of(chosen, item)
        vectors = [vector_UX[(offsets_U2[:, 0] < end) & (offsets_U2[:, 1] > start)].mean(0) for start, end, _ in of_row]
        answers.append([(start, end, labels[int((chosen.vector_KD @ vector).argmax())])
                        for (start, end, _), vector in zip(of_row, vectors, strict=True)])  # fmt: skip
    return answers


def f1(spans: list[list[Span]], gold: list[list[Span]], labels: Sequence[str]) -> str:
    """Of some types, in percent."""
    kept = ([[span for span in of_row if span[2] in labels] for of_row in some] for some in (gold, spans))
    return f"{100 * entity_scores(*kept).to_metrics()['f1']:.1f}"


def main() -> None:
    """Train both heads and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seen", nargs="+", choices=list(DESCRIPTIONS), default=["PER", "LOC"])
    parser.add_argument("--rows", type=int, default=1000, help="training sentences (default 1000)")
    parser.add_argument("--test", type=int, default=1000, help="sentences that are scored (default 1000)")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=["validation", "test"], default="test", help="what is scored (default test)")
    parser.add_argument("--clean", action="store_true", help="leave out training sentences with entities of other types")
    parser.add_argument("--alone", action="store_true", help="without the ordinary head and the frozen vectors")
    parser.add_argument("-o", "--output", type=Path, help="keep the models here, and use those that are there")
    given = parser.parse_args()
    unseen = [label for label in DESCRIPTIONS if label not in given.seen]
    with TemporaryDirectory() as temporary:
        work = given.output or Path(temporary)
        sizes = {"train": given.rows, "validation": VALIDATION}
        splits = {split: only(sentences(file_of(given.data, split)), given.seen, count, clean=given.clean)
                  for split, count in sizes.items()}  # fmt: skip
        named = trained(work / "by-name", splits, given, by_name=True)
        plain = None if given.alone else trained(work / "plain", splits, given, by_name=False)
        rows = list(islice(sentences(file_of(given.data, given.split)), given.test))
        gold = [[(s["start"], s["end"], s["label"]) for s in spans] for spans in gold_spans(rows)]
        asked = ((given.seen, given.seen), (unseen, unseen), (given.seen, list(DESCRIPTIONS)), (unseen, list(DESCRIPTIONS)))
        ours = {tuple(labels): found(named, rows, labels) for _, labels in asked}
        print(f"\n{len(splits['train']):,} training sentences, seen {' '.join(given.seen)}; {len(rows):,} of {given.split}\n")
        print("| | seen alone | unseen alone | seen among four | unseen among four |\n|---|---|---|---|---|")
        row = (f1(ours[tuple(labels)], gold, half) for half, labels in asked)
        print(f"| head by name | {' | '.join(row)} |", flush=True)
        if plain is not None:
            row = (f1(relabelled(named, rows, ours[tuple(labels)], labels), gold, half) for half, labels in asked)
            print(f"| its spans, frozen vectors | {' | '.join(row)} |", flush=True)
            print(f"| ordinary head | {f1(found(plain, rows, None), gold, given.seen)} | - | - | - |", flush=True)


def gold_spans(rows: Rows) -> list[list[dict[str, Any]]]:
    """Spans as the task reads them."""
    task = TASK_TYPES["token-classification"](name=TASK)
    return [[{"start": start, "end": end, "label": label} for start, end, label in task.read(row).spans] for row in rows]


if __name__ == "__main__":
    main()
