"""Our readers against bioc's (Peng), on generated documents: the same texts and the same spans."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest

from manyheads.data.readers import Files, open_files
from manyheads.tasks.token_classification import TokenClassification

bioc = pytest.importorskip("bioc", reason="bioc is the independent reader")
from bioc import biocjson, biocxml, brat, pubtator  # noqa: E402

DOCUMENTS = 200
WORDS = [
    "fever",
    "naïve",
    "Orbanol",
    "β-blocker",
    "😀",
    "10",
    "mg/l",
    "北京",
    "e\u0301tude",
    "<b>",
    "&",
    '"quoted"',
    "rash",
]
LABELS = ["Chemical", "Disease", "Gene"]
Span = tuple[int, int, str]


def text_of(rng: random.Random, most: int = 14) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def pieces_of(rng: random.Random, text: str) -> list[tuple[int, int]]:
    """One piece, or two with a word between."""
    bounds = [(at, at + len(word)) for at, word in places(text)]
    first = rng.randrange(len(bounds))
    last = rng.randrange(first, min(first + 3, len(bounds)))
    if last - first == 2 and rng.random() < 0.4:
        return [bounds[first], bounds[last]]
    return [(bounds[first][0], bounds[last][1])]


def places(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for word in text.split(" "):
        found.append((at, word))
        at += len(word) + 1
    return found


def flat(spans: list[tuple[list[tuple[int, int]], str]]) -> list[Span]:
    """The spans in one piece that token classification keeps, by comparing all pairs."""
    whole = [(*pieces[0], label) for pieces, label in spans if len(pieces) == 1]
    kept: list[Span] = []
    for start, end, label in sorted(whole, key=lambda span: span[0] - span[1]):
        if all(end <= other[0] or other[1] <= start for other in kept):
            kept.append((start, end, label))
    return sorted(kept)


def read(path: Path) -> list[tuple[str, list[Span]]]:
    rows = open_files(Files((path,)), TokenClassification).rows()
    return [
        (row.values["text"], [(e["start"], e["end"], e["label"]) for e in row.values["entities"]])
        for row in rows
        if row.skip is None
    ]


def test_pubtator_is_read_as_bioc_reads_it(tmp_path):
    rng, made = random.Random(0), []
    for number in range(DOCUMENTS):
        document = pubtator.PubTator(str(number), text_of(rng), text_of(rng) if rng.random() < 0.9 else None)
        for _ in range(rng.randint(0, 6)):
            start, end = pieces_of(rng, document.text.replace("\n", " "))[0]
            mention = document.text[start:end].replace("\n", " ")
            document.add_annotation(pubtator.PubTatorAnn(str(number), start, end, mention, rng.choice(LABELS), "D1"))
        made.append(document)
    path = tmp_path / "a.txt"
    path.write_text("\n".join(str(document) for document in made), encoding="utf-8")
    with path.open(encoding="utf-8") as stream:
        theirs = pubtator.load(stream)
    assert len(theirs) == DOCUMENTS
    assert read(path) == [
        (one.text.replace("\n", " "), flat([([(a.start, a.end)], a.type) for a in one.annotations])) for one in theirs
    ]


def collection_of(rng: random.Random) -> Any:
    made = bioc.BioCCollection()
    made.source, made.date, made.key = "s", "d", "k"
    for number in range(DOCUMENTS):
        document = bioc.BioCDocument()
        document.id = str(number)
        at = 0
        for _ in range(rng.randint(1, 3)):
            passage = bioc.BioCPassage()
            passage.offset, passage.text = at, text_of(rng)
            for k in range(rng.randint(0, 5)):
                annotation = bioc.BioCAnnotation()
                annotation.id, annotation.infons["type"] = str(k), rng.choice(LABELS)
                pieces = pieces_of(rng, passage.text)
                annotation.text = " ".join(passage.text[start:end] for start, end in pieces)
                for start, end in pieces:
                    annotation.add_location(bioc.BioCLocation(at + start, end - start))
                passage.add_annotation(annotation)
            document.add_passage(passage)
            at += len(passage.text) + 1
        made.add_document(document)
    return made


def spans_of(collection: Any) -> list[tuple[str, list[Span]]]:
    return [
        (
            passage.text,
            flat(
                [
                    (
                        [(part.offset - passage.offset, part.end - passage.offset) for part in one.locations],
                        one.infons["type"],
                    )
                    for one in passage.annotations
                ]
            ),
        )
        for document in collection.documents
        for passage in document.passages
    ]


def test_bioc_xml_is_read_as_bioc_reads_it(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(biocxml.dumps(collection_of(random.Random(1))), encoding="utf-8")
    with path.open("rb") as stream:
        theirs = biocxml.load(stream)
    assert read(path) == spans_of(theirs)


def test_bioc_json_is_read_as_bioc_reads_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(biocjson.dumps(collection_of(random.Random(2))), encoding="utf-8")
    with path.open(encoding="utf-8") as stream:
        theirs = biocjson.load(stream)
    assert read(path) == spans_of(theirs)


def test_brat_is_read_as_bioc_reads_it(tmp_path):
    rng = random.Random(3)
    for number in range(DOCUMENTS):
        document = brat.BratDocument()
        document.text = text_of(rng, 30)
        for k in range(rng.randint(0, 6)):
            entity = brat.BratEntity()
            entity.id, entity.type = f"T{k}", rng.choice(LABELS)
            pieces = pieces_of(rng, document.text)
            entity.text = " ".join(document.text[start:end] for start, end in pieces)
            for start, end in pieces:
                entity.add_span(start, end)
            document.add_annotation(entity)
        out = io.StringIO()
        brat.dump(document, out, marked := io.StringIO())
        (tmp_path / f"{number:03}.txt").write_text(out.getvalue(), encoding="utf-8")
        (tmp_path / f"{number:03}.ann").write_text(marked.getvalue(), encoding="utf-8")
    theirs = []
    for text in sorted(tmp_path.glob("*.txt")):
        with text.open(encoding="utf-8") as one, text.with_suffix(".ann").open(encoding="utf-8") as two:
            theirs.append(brat.load(one, two))
    assert read(tmp_path) == [
        (one.text, flat([([(part.begin, part.end) for part in e.locations], e.type) for e in one.entities]))
        for one in theirs
    ]
