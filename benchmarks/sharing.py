"""Does sharing help? Two real mixes with the bundled encoder, six seeds each (hours on 2 cores; can be interrupted).

    python benchmarks/sharing.py MIX DATA [--steps N] [--evaluations N] [-o FOLDER] [--seeds 0,1,...]

- general: CoNLL-2003 entities, SST-2 sentiment, SQuAD answers, STS-B similarity
- unseen: clinc150 intents, WNUT-17 entities, SQuAD answers, STS-B similarity; no constant of the library was chosen on it
- biomedical: section labels of abstracts, NCBI diseases, BC5CDR chemicals and diseases
- contradictory: two tasks with opposite similarities of the same pairs, which must come out as hurt
- mirrored: two tasks with opposite labels of the same texts: no contradiction for two heads
- halves: two halves of one task, which must come out as helped or equivalent

DATA is the folder of public data sets that benchmarks/real_data.py reads. What follows is passed on to `manyheads compare`.
The recipe settles everything but the steps and their tokens.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cells.sets import SETS as CELLS
from manyheads.cli import main as manyheads
from real_data import SETS, rank, squad_sample, write_csv

MOST_ALIKE = 5.0
"""The highest score of STS-B."""


def squad_test(data: Path, work: Path) -> str:
    path = work / "squad-test.json"
    path.write_text(json.dumps({"version": "1.1", "data": squad_sample(data)}), encoding="utf-8")
    return str(path.resolve())


def general(data: Path, work: Path) -> dict[str, Any]:
    squad = {**SETS["squad"](data, work, 20_000, 300), "test": squad_test(data, work)}  # type: ignore[call-arg]
    return {
        "entities": {"type": "token-classification", "data": SETS["conll2003"](data, work)},
        "sentiment": {"type": "text-classification", "data": SETS["sst2"](data, work), "validation_fraction": 0.05},
        "answers": {"type": "question-answering", "data": squad},
        "similarity": {"type": "sentence-embedding", "data": SETS["stsb"](data, work), "validation_fraction": 0.1},
    }


def unseen(data: Path, work: Path) -> dict[str, Any]:
    mixed = general(data, work)
    intents = {}
    for split, rows in zip(("train", "test"), CELLS["clinc150"].read(data), strict=True):
        path = work / f"clinc150-{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        intents[split] = str(path.resolve())
    folder = (data / "wnut17").resolve()
    entities = {"train": f"{folder}/wnut17train.conll.gz", "test": f"{folder}/emerging.dev.conll.gz"}
    return {
        "intent": {"type": "text-classification", "data": intents, "validation_fraction": 0.05},
        "entities": {"type": "token-classification", "data": entities, "validation_fraction": 0.1},
        "answers": mixed["answers"],
        "similarity": mixed["similarity"],
    }


def biomedical(data: Path, work: Path) -> dict[str, Any]:
    folder = (data / "bc5cdr").resolve()
    chemicals = {"train": f"{folder}/train.tsv.gz", "test": f"{folder}/devel.tsv.gz"}
    return {
        "section": {"type": "text-classification", "data": SETS["sections"](data, work)},
        "disease": {"type": "token-classification", "data": SETS["ncbi_disease"](data, work)},
        "chemical": {"type": "token-classification", "data": chemicals, "validation_fraction": 0.1},
    }


def contradictory(data: Path, work: Path) -> dict[str, Any]:
    """The same pairs; what the first task calls alike the second calls unlike. Their heads have no weights of their own."""
    paths = SETS["stsb"](data, work)
    turned = {split: _turned(path, work / f"stsb-turned-{split}.csv", lambda score: str(MOST_ALIKE - float(score)))
              for split, path in paths.items()}  # fmt: skip
    task = {"type": "sentence-embedding", "validation_fraction": 0.1}
    return {"right": {**task, "data": paths}, "turned": {**task, "data": turned}}


def mirrored(data: Path, work: Path) -> dict[str, Any]:
    """The same texts; the second task calls positive what the first calls negative. Heads can turn that round."""
    paths = SETS["sst2"](data, work)
    other = {"negative": "positive", "positive": "negative"}
    turned = {
        split: _turned(path, work / f"sst2-turned-{split}.csv", other.__getitem__) for split, path in paths.items()
    }
    task = {"type": "text-classification", "validation_fraction": 0.05}
    return {"right": {**task, "data": paths}, "turned": {**task, "data": turned}}


def _turned(path: str, to: Path, turn: Callable[[str], str]) -> str:
    """A table whose last column is another."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return write_csv(to, head, ([*row[:-1], turn(row[-1])] for row in rows))


def halves(data: Path, work: Path) -> dict[str, Any]:
    paths = SETS["sst2"](data, work)
    with Path(paths["train"]).open(newline="", encoding="utf-8") as file:
        rows = sorted(list(csv.reader(file))[1:], key=lambda row: rank(row[0]))
    task = {"type": "text-classification", "validation_fraction": 0.05}
    return {
        name: {**task, "data": {"train": write_csv(work / f"sst2-{name}.csv", ["text", "label"], rows[half::2]),
                                "test": paths["test"]}}
        for half, name in enumerate(("first", "second"))
    }  # fmt: skip


MIXES = {"general": (general, 2048), "unseen": (unseen, 2048), "biomedical": (biomedical, 1536),
         "contradictory": (contradictory, 768), "mirrored": (mirrored, 768), "halves": (halves, 768)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mix", choices=MIXES)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--evaluations", type=int, default=4, help="on validation data, which choose the step (4)")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/sharing"))
    given, more = parser.parse_known_args()
    make, tokens = MIXES[given.mix]
    folder = given.output / given.mix
    folder.mkdir(parents=True, exist_ok=True)
    run = {
        "encoder": {"name": "all-MiniLM-L6-v2", "max_length": 256},
        "tasks": make(given.data, folder / "data"),
        "training": {"steps": given.steps, "tokens_per_step": tokens,
                     "evaluate_every": max(1, given.steps // given.evaluations), "device": "cpu"},
    }  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    return manyheads(["compare", str(path), "-o", str(folder / "compare"), *more])


if __name__ == "__main__":
    raise SystemExit(main())
