"""The bundled corpus: large enough, split by abstract, every offset true, and the shipped files are the built ones."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

SHIPPED = Path(str(files("manyheads"))) / "demo" / "corpus"
SOURCE = Path(__file__).parents[2] / "corpus"
SPLITS = ("train", "validation", "test")


def table(name: str) -> list[dict[str, str]]:
    with (SHIPPED / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sentences(split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SHIPPED / f"entities-{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def articles(split: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((SHIPPED / f"questions-{split}.json").read_text(encoding="utf-8"))["data"]
    return found


def test_it_is_as_large_as_promised() -> None:
    assert sum(len(articles(split)) for split in SPLITS) >= 60
    assert sum(len(sentences(split)) for split in SPLITS) >= 450
    questions = [qa for split in SPLITS for a in articles(split) for qa in a["paragraphs"][0]["qas"]]
    assert len(questions) >= 150
    assert 0.28 <= sum(qa["is_impossible"] for qa in questions) / len(questions) <= 0.42
    assert sum(len(table(f"pairs-{split}.csv")) for split in SPLITS) >= 150


def test_every_entity_offset_is_inside_its_sentence_and_holds_whole_words() -> None:
    labels: Counter[str] = Counter()
    for split in SPLITS:
        for row in sentences(split):
            last = 0
            for span in row["entities"]:
                surface = row["text"][span["start"] : span["end"]]
                assert surface == surface.strip() != ""
                assert span["start"] >= last
                around = (
                    row["text"][max(0, span["start"] - 1) : span["start"]],
                    row["text"][span["end"] : span["end"] + 1],
                )
                assert not (around[0].isalnum() and surface[0].isalnum()), (surface, row["text"])
                last = span["end"]
                labels[span["label"]] += 1
    assert set(labels) == {"Anatomy", "Chemical", "Disease", "Procedure"}
    assert min(labels.values()) >= 50


def test_every_answer_stands_at_its_offset() -> None:
    for split in SPLITS:
        for article in articles(split):
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    assert qa["is_impossible"] == (not qa["answers"])
                    for answer in qa["answers"]:
                        start = answer["answer_start"]
                        assert paragraph["context"][start : start + len(answer["text"])] == answer["text"]


def test_abstracts_do_not_cross_splits_and_sentences_are_those_of_their_abstracts() -> None:
    titles = [{article["title"] for article in articles(split)} for split in SPLITS]
    assert sum(map(len, titles)) == len(set.union(*titles))
    for split in SPLITS:
        texts = "\n".join(p["context"] for a in articles(split) for p in a["paragraphs"])
        assert all(row["text"] in texts for row in sentences(split))
        assert [row["text"] for row in table(f"sections-{split}.csv")] == [row["text"] for row in sentences(split)]


def test_pairs_are_spread_over_the_scale() -> None:
    scores = [float(row["score"]) for split in SPLITS for row in table(f"pairs-{split}.csv")]
    assert min(scores) >= 0
    assert max(scores) <= 5
    assert all(sum(low <= score < low + 1 for score in scores) >= 15 for low in (0, 1, 2, 3, 4))


def test_no_pair_is_repeated_and_no_sentence_of_a_pair_is_in_two_splits() -> None:
    seen: set[str] = set()
    for split in SPLITS:
        pairs = [frozenset((row["text_a"], row["text_b"])) for row in table(f"pairs-{split}.csv")]
        assert len(set(pairs)) == len(pairs)
        texts = {text for pair in pairs for text in pair}
        assert not texts & seen
        seen |= texts


def test_the_shipped_files_are_those_that_the_source_gives(tmp_path: Path) -> None:
    if not SOURCE.exists():
        pytest.skip("the corpus source is not part of an installed package")
    subprocess.run([sys.executable, SOURCE / "build.py", tmp_path], check=True, capture_output=True)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built == {path.name: path.read_bytes() for path in SHIPPED.iterdir()}


def notes(split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SHIPPED / f"notes-{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def note_counts(split: str) -> list[int]:
    """Notes, entities of each label, of each assertion, and relations of each label, in the order of the data card."""
    rows = notes(split)
    entities = [one for row in rows for one in row["entities"]]
    labels = Counter(one["label"] for one in entities)
    assertions = Counter(one["attributes"]["assertion"] for one in entities if "attributes" in one)
    relations = Counter(one["label"] for row in rows for one in row["relations"])
    return [
        len(rows), *(labels[name] for name in ("Chemical", "Disease", "Dose")),
        *(assertions[name] for name in ("present", "negated", "hypothetical", "family")),
        *(relations[name] for name in ("treats", "causes", "dose-of")),
    ]  # fmt: skip


def test_every_split_of_the_notes_has_every_label_class_and_relation_and_no_others() -> None:
    for split in SPLITS:
        found = note_counts(split)
        assert min(found) >= 15
        assert sum(found[4:8]) == found[2]
        assert sum(found[1:4]) == sum(len(row["entities"]) for row in notes(split))
        assert sum(found[8:]) == sum(len(row["relations"]) for row in notes(split))


def test_notes_are_short_and_in_one_split_each() -> None:
    rows = [row for split in SPLITS for row in notes(split)]
    assert len(rows) >= 220
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == len(rows)
    assert all(25 <= len(row["text"].split()) <= 80 for row in rows)
    shares = [len(notes(split)) / len(rows) for split in SPLITS]
    assert shares == pytest.approx([0.70, 0.12, 0.18], abs=0.03)


def test_entities_of_notes_are_whole_words_of_their_texts_and_ids_are_found() -> None:
    from manyheads.text.units import units

    for split in SPLITS:
        for row in notes(split):
            starts, ends = (set(column) for column in units(row["text"]).T.tolist())
            spans = sorted((one["start"], one["end"]) for one in row["entities"])
            assert all(start in starts and end in ends for start, end in spans), row["id"]
            assert all(one[1] <= other[0] for one, other in pairwise(spans))
            label = {one["id"]: one["label"] for one in row["entities"]}
            assert len(label) == len(row["entities"])
            for one in row["relations"]:
                types = ("Dose", "Chemical") if one["label"] == "dose-of" else ("Chemical", "Disease")
                assert (label[one["head"]], label[one["tail"]]) == types
            assert {one["head"] for one in row["relations"] if one["label"] == "dose-of"} == {
                name for name, kind in label.items() if kind == "Dose"
            }


def test_counts_in_the_data_card_are_true() -> None:
    if not SOURCE.exists():
        pytest.skip("the data card is not part of an installed package")
    card = (SOURCE / "README.md").read_text(encoding="utf-8")
    for split in SPLITS:
        row = re.search(rf"^\| {split} \|(.*)\|$", card, re.MULTILINE)
        assert row is not None
        assert [int(cell) for cell in row[1].split("|")] == note_counts(split)
    assert f"has {sum(len(notes(split)) for split in SPLITS)} notes of 25 to 80 words" in card
    train, validation, test = (len(table(f"pairs-{split}.csv")) for split in SPLITS)
    counted = f"{train + validation + test:,} pairs of similar sentences: {train} for training, {validation} for validation, {test} for test"
    assert counted in card
