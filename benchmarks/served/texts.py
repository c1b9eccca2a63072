"""A mixed load of four tasks from public data sets: sentences, sections, pairs, and questions with their passages."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LONGEST = 1_500
"""Characters of a text: some 350 tokens, one or two windows."""
SHORTEST = 20
KINDS = {"token-classification": "sentences", "text-classification": "sections", "sentence-embedding": "pairs",
         "question-answering": "questions"}  # fmt: skip


def pools(data: Path) -> dict[str, list[Row]]:
    """Rows of each kind."""
    return {
        "sentences": [{"text": text} for text in _conll(data / "ncbi_disease/test.tsv.gz")],
        "sections": [{"text": text[:LONGEST]} for text in _sections(data / "pmc_rct_sections/pmc_rct_open.jsonl.gz")],
        "pairs": [{"text": text} for text in _pairs(data / "stsb_en/stsb-en-dev.csv.gz")],
        "questions": list(_questions(data / "squad11/dev.json.gz")),
    }


def own_texts(model: Path, task: str) -> list[str]:
    """The texts that a head was tested on, shuffled, as its model's run file names them."""
    from manyheads.bundle import RUN, load_bundle
    from manyheads.config.dataset import read_split
    from manyheads.config.files import load_run

    table = read_split(load_run(model / RUN), load_bundle(model).tasks[task], "test")
    if table is None:
        raise SystemExit(f"{model / RUN} names no test data for {task}")
    texts = list(dict.fromkeys(table[i].text for i in range(len(table)) if len(table[i].text) >= SHORTEST))
    random.Random(0).shuffle(texts)
    return texts


def mixed(data: Path, tasks: Mapping[str, str], count: int, seed: int = 0) -> list[tuple[str, Row]]:
    """So many rows, each with the task that is asked of it; `tasks`: their types. The kinds come equally often."""
    rows, draw = pools(data), random.Random(seed)
    names = sorted(tasks)
    return [(name, draw.choice(rows[KINDS[tasks[name]]])) for name in draw.choices(names, k=count)]


def _conll(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        words: list[str] = []
        for line in lines:
            if line.strip():
                words.append(line.split()[0])
            elif words:
                yield " ".join(words)
                words = []


def _sections(path: Path, most: int = 3_000) -> Iterator[str]:
    """Parts of abstracts, four sentences each."""
    found = 0
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            sentences = json.loads(line)["sentences"]
            for start in range(0, len(sentences), 4):
                yield " ".join(sentences[start : start + 4])
                found += 1
            if found >= most:
                return


def _pairs(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            yield from row[:2]


def _questions(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for article in json.load(file)["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield {"text": paragraph["context"][:LONGEST], "question": question["question"]}
