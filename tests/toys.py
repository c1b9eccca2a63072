"""Toy data and run files, written by the tests that use them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from manyheads.start import train_run
from manyheads.training.progress import Quiet

SENTENCES = [
    "Aspirin lowered fever in children with influenza.",
    "Metformin improved glucose control in type 2 diabetes.",
    "We measured blood pressure before and after treatment.",
    "The trial enrolled 120 patients in three hospitals.",
    "Nausea was the most common adverse effect of cisplatin.",
    "Ibuprofen may be an option for migraine.",
]


def pieces(words: Iterable[str], mark: str = "") -> list[str]:
    """A vocabulary: all characters, and each word with its two halves; what does not begin a word has the mark before it.

    Not a trained one: the trainers of `tokenizers` break ties in the order of hashes, so every process would test other
    numbers (five of five processes had another vocabulary).
    """
    words = sorted(set(words))
    characters = sorted({character for word in words for character in word})
    found = [*characters, *(mark + character for character in characters)]
    for word in words:
        half = (len(word) + 1) // 2
        found += [word, word[:half], mark + word[half:]] if word[half:] else [word]
    return list(dict.fromkeys(found))


def entity_rows() -> list[dict[str, object]]:
    """Sentences with their spans."""
    found = {
        0: [("Aspirin", "Chemical"), ("fever", "Disease"), ("influenza", "Disease")],
        1: [("Metformin", "Chemical"), ("glucose", "Chemical"), ("type 2 diabetes", "Disease")],
        4: [("Nausea", "Disease"), ("cisplatin", "Chemical")],
        5: [("Ibuprofen", "Chemical"), ("migraine", "Disease")],
    }
    return [
        {"text": text, "entities": [
            {"start": text.index(name), "end": text.index(name) + len(name), "label": label} for name, label in found.get(i, [])
        ]}
        for i, text in enumerate(SENTENCES)
    ]  # fmt: skip


TERMS = [
    "id\tname\ttype\tsynonyms", "C1\tAspirin\tChemical\tacetylsalicylic acid|ASA", "C2\tmetformin\tChemical\tglucophage",
    "C3\tglucose\tChemical\tdextrose", "C4\tcisplatin\tChemical\t", "D1\tfever\tDisease\tpyrexia", "D2\tinfluenza\tDisease\tflu",
    "D3\ttype 2 diabetes\tDisease\tdiabetes mellitus type 2", "D4\tnausea\tDisease\t", "D4\tfeeling sick\tDisease\t",
    "D5\tmigraine\tDisease\tmigraine headache|headache of three hospitals",
]  # fmt: skip
"""A dictionary: the lines of a tsv file."""


def linked_rows() -> list[dict[str, object]]:
    """The rows of `entity_rows` with an identifier of TERMS for each entity but ibuprofen."""
    found = {"aspirin": "C1", "metformin": "C2", "glucose": "C3", "cisplatin": "C4", "fever": "D1", "influenza": "D2",
             "type 2 diabetes": "D3", "nausea": "D4", "migraine": "D5"}  # fmt: skip
    rows = []
    for row in entity_rows():
        names = [(e, row["text"][e["start"] : e["end"]].lower()) for e in row["entities"]]
        rows.append({**row, "entities": [{**e, "links": [found[name]]} if name in found else e for e, name in names]})
    return rows


def write_terms(path: Path, lines: Sequence[str] = TERMS) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_project(folder: Path, encoder: Path) -> Path:
    """A run file with four tasks and small data of each, in a folder of its own; returns the run file."""
    write_jsonl(folder / "data/entities.jsonl", entity_rows())
    sections = ["RESULTS", "RESULTS", "METHODS", "METHODS", "RESULTS", "CONCLUSIONS"]
    write_csv(folder / "data/sections.csv", ["text", "label"],
              [*map(list, zip(SENTENCES, sections, strict=True)), ["So ibuprofen is an option.", "CONCLUSIONS"]])  # fmt: skip
    questions = [
        {
            "id": "q0",
            "question": "What lowered fever?",
            "context": SENTENCES[0],
            "answers": [{"text": "Aspirin", "start": 0}],
        },
        {
            "id": "q1",
            "question": "How many patients?",
            "context": SENTENCES[3],
            "answers": [{"text": "120", "start": 19}],
        },
        {"id": "q2", "question": "What cures migraine?", "context": SENTENCES[2], "answers": []},
        {
            "id": "q3",
            "question": "What was common?",
            "context": SENTENCES[4],
            "answers": [{"text": "Nausea", "start": 0}],
        },
    ]
    write_jsonl(folder / "data/questions.jsonl", questions)
    write_csv(folder / "data/pairs.csv", ["text_a", "text_b", "score"], [
        [SENTENCES[0], "Aspirin lowered fever in children.", 4.5], [SENTENCES[0], SENTENCES[3], 0.5],
        [SENTENCES[1], "Metformin improved glucose control.", 4.0], [SENTENCES[2], SENTENCES[4], 1.0],
        [SENTENCES[5], "Ibuprofen for migraine.", 4.2], [SENTENCES[3], SENTENCES[5], 0.2],
    ])  # fmt: skip
    run = folder / "run.yaml"
    data = {name: f"{{train: data/{name}, validation: data/{name}, test: data/{name}}}"
            for name in ("entities.jsonl", "sections.csv", "questions.jsonl", "pairs.csv")}  # fmt: skip
    run.write_text(
        f"""
encoder: {{name: {encoder}, max_length: 48}}
tasks:
  entities:
    type: token-classification
    decoder: crf
    data: {data["entities.jsonl"]}
  section:
    type: text-classification
    data: {data["sections.csv"]}
  answers:
    type: question-answering
    data: {data["questions.jsonl"]}
    doc_stride: 16
  similarity:
    type: sentence-embedding
    data: {data["pairs.csv"]}
    projection: 16
training:
  recipe: none
  steps: 12
  tokens_per_step: 256
  learning_rate: 1.0e-3
  evaluate_every: 6
  device: cpu
output: runs/model
""",
        encoding="utf-8",
    )
    return run


def trained_projects(
    factory: pytest.TempPathFactory, encoder: Path, kinds: Mapping[str, Sequence[str]]
) -> Callable[[str], Path]:
    """A function from a kind to its project: a run file, the encoder as `enc` and a trained `model`, each made once.

    `kinds`: the overrides of the run file by kind.
    """
    made: dict[str, Path] = {}

    def project(kind: str) -> Path:
        if kind not in made:
            folder = factory.mktemp("project")
            shutil.copytree(encoder, folder / "enc")
            run = write_project(folder, Path("enc"))
            train_run(run, None, ["training.steps=3", "training.evaluate_every=3", "output=model", *kinds[kind]], Quiet())
            made[kind] = folder
        return made[kind]

    return project
