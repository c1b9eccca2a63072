"""The public sets as rows of plain values, the same for every method. The data folder is the one real_data.py reads.

Rows are those of the library's JSON lines: `text` with `label` or `labels`; `tokens` and `tags` (IOB2); `question`, `context`
and `answers`; `text_a`, `text_b`, `score`. `document` names what belongs together, where the set says so. Decided here:
- clinc150 without its out-of-scope rows: 150 intents.
- sst2, wnut17 and stsb have no labelled test split: their dev is the test.
- The headline is the field's usual: accuracy for clinc150 and sst2, macro-F1 for sections (of very unequal size), micro-F1
  for goemotions, F1 of entities and of answers, Spearman for stsb.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ner_trainer import read_conll
from real_data import squad_sample

Row = dict[str, Any]
Kind = Literal["labels", "label sets", "entities", "answers", "pairs"]
SMALL: tuple[int | None, ...] = (100, 300, 1000, None)
"""None: all rows."""


@dataclass(frozen=True)
class DataSet:
    kind: Kind
    headline: str
    read: Callable[[Path], tuple[list[Row], list[Row]]]
    """Train and test rows."""
    sizes: tuple[int | None, ...] = SMALL
    tokens: int = 20
    """Of a row, roughly: what orders the queue."""


def clinc150(data: Path) -> tuple[list[Row], list[Row]]:
    with gzip.open(data / "clinc150/data_full.json.gz", "rt", encoding="utf-8") as file:
        splits = json.load(file)
    train, test = ([{"text": text, "label": label} for text, label in splits[name]] for name in ("train", "test"))
    return train, test


def sst2(data: Path) -> tuple[list[Row], list[Row]]:
    names = {"0": "negative", "1": "positive"}
    train, test = (
        [{"text": text, "label": names[label]} for text, label in _tabs(data / f"sst2/{name}.tsv.gz")]
        for name in ("train", "dev")
    )
    return train, test


def goemotions(data: Path) -> tuple[list[Row], list[Row]]:
    names = (data / "goemotions/labels.txt").read_text(encoding="utf-8").split()
    train, test = (
        [
            {"text": text, "labels": [names[int(number)] for number in numbers.split(",")]}
            for text, numbers, _ in _tabs(data / f"goemotions/{name}.tsv.gz")
        ]
        for name in ("train", "test")
    )
    return train, test


def sections(data: Path) -> tuple[list[Row], list[Row]]:
    rows: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    with gzip.open(data / "pmc_rct_sections/pmc_rct_open.jsonl.gz", "rt", encoding="utf-8") as lines:
        for abstract in map(json.loads, lines):
            for text, label in zip(abstract["sentences"], abstract["labels"], strict=True):
                rows[abstract["split"]].append({"text": text, "label": label, "document": abstract["pmcid"]})
    return rows["train"], rows["test"]


def conll2003(data: Path) -> tuple[list[Row], list[Row]]:
    return _sentences(data / "conll2003/eng.train.gz"), _sentences(data / "conll2003/eng.testb.gz")


def wnut17(data: Path) -> tuple[list[Row], list[Row]]:
    return _sentences(data / "wnut17/wnut17train.conll.gz"), _sentences(data / "wnut17/emerging.dev.conll.gz")


def ncbi_disease(data: Path) -> tuple[list[Row], list[Row]]:
    return _sentences(data / "ncbi_disease/train.tsv.gz"), _sentences(data / "ncbi_disease/test.tsv.gz")


def squad11(data: Path) -> tuple[list[Row], list[Row]]:
    """Test: 20 questions, in a fixed random order, of each of the 48 articles of dev."""
    with gzip.open(data / "squad11/train.json.gz", "rt", encoding="utf-8") as file:
        train = list(_questions(json.load(file)["data"]))
    return train, list(_questions(squad_sample(data)))


def stsb(data: Path) -> tuple[list[Row], list[Row]]:
    train, test = (
        [{"text_a": one, "text_b": other, "score": float(score)} for one, other, score in _commas(data, name)]
        for name in ("train", "dev")
    )
    return train, test


SETS: dict[str, DataSet] = {
    "clinc150": DataSet("labels", "accuracy", clinc150, tokens=12),
    "sst2": DataSet("labels", "accuracy", sst2, tokens=25),
    "goemotions": DataSet("label sets", "micro_f1", goemotions, tokens=20),
    "sections": DataSet("labels", "macro_f1", sections, tokens=38),
    "conll2003": DataSet("entities", "f1", conll2003, tokens=24),
    "wnut17": DataSet("entities", "f1", wnut17, tokens=30),
    "ncbi_disease": DataSet("entities", "f1", ncbi_disease, tokens=42),
    "squad11": DataSet("answers", "f1", squad11, (1000, 20_000), tokens=190),
    "stsb": DataSet("pairs", "spearman", stsb, (300, None), tokens=30),
}


def _tabs(path: Path) -> Iterator[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield line.rstrip("\n").split("\t")


def _commas(data: Path, name: str) -> Iterator[list[str]]:
    with gzip.open(data / f"stsb_en/stsb-en-{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        yield from csv.reader(file)


def _sentences(path: Path) -> list[Row]:
    return [{"tokens": words, "tags": tags} for words, tags in read_conll(path)]


def _questions(articles: list[Any]) -> Iterator[Row]:
    for article in articles:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                answers = [{"text": answer["text"], "start": answer["answer_start"]} for answer in qa["answers"]]
                yield {"id": qa["id"], "question": qa["question"], "context": paragraph["context"], "answers": answers,
                       "document": article["title"]}  # fmt: skip
