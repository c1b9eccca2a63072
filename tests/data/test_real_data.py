"""Published data sets hold as many rows, entities and answers as their manifest says."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from datafiles import read_rows
from manyheads.data.build import build_table
from manyheads.data.readers import Files
from manyheads.tasks.token_classification import TokenClassification


def manifest(folder: Path, file: str) -> dict[str, str]:
    with (folder / "MANIFEST.tsv").open(encoding="utf-8", newline="") as stream:
        return next(row for row in csv.DictReader(stream, delimiter="\t") if row["file"] == file)


def entities(tags: list[str]) -> int:
    """Chunks by the rules of conlleval, which hold for IOB1 and IOB2."""
    before = ["O", *tags]
    return sum(
        tag.startswith("B-") or (tag.startswith("I-") and (last == "O" or last[2:] != tag[2:]))
        for last, tag in zip(before, tags, strict=False)
    )


@pytest.mark.parametrize(
    "file",
    [
        "conll2003/eng.train.gz",
        "conll2003/eng.testa.gz",
        "conll2003/eng.testb.gz",
        "ncbi_disease/train.tsv.gz",
        "ncbi_disease/devel.tsv.gz",
        "ncbi_disease/test.tsv.gz",
        "bc5cdr/train.tsv.gz",
        "bc5cdr/devel.tsv.gz",
        "wnut17/wnut17train.conll.gz",
        "wnut17/emerging.dev.conll.gz",
    ],
)
def test_sentences_words_and_entities(real_data, file):
    said = manifest(real_data, file)
    sentences = words = chunks = 0
    for row in read_rows(real_data / file, TokenClassification):
        sentences += 1
        words += len(row.values["tokens"])
        chunks += entities(row.values["tags"])
    assert (sentences, words, chunks) == (int(said["rows"]), int(said["tokens"]), int(said["entities_or_labels"]))


def test_documents_of_conll(real_data):
    rows = read_rows(real_data / "conll2003/eng.testa.gz", TokenClassification)
    assert len({row.values["document"] for row in rows}) == 216


def test_questions_and_answers_of_squad(real_data, questions):
    said = manifest(real_data, "squad11/dev.json.gz")
    table, report = build_table(questions, Files((real_data / "squad11/dev.json.gz",)), "validation")
    assert report.used == int(said["rows"]) == 10570
    assert sum(len(example["answers"]) for example in table) == int(said["entities_or_labels"].split()[0])
    assert len(set(table.clusters())) == 48


def test_unanswerable_questions_of_squad_2(real_data, questions):
    _, report = build_table(questions, Files((real_data / "squad20/dev.json.gz",)), "validation")
    assert report.statistics.labels == {"answerable": 5928, "unanswerable": 5945}
