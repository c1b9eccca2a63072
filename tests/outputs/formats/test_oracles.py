"""What we write, read by the libraries of each format: bioc (Peng) for PubTator, BioC and brat."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manyheads.data.formats.annotations import Relation, Span
from manyheads.outputs.documents import Document, Labels
from outputs.formats.written import read_documents, write

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
    "rash.",
]
TYPES = ["Chemical", "Disease", "Gene"]


def made(seed: int, *, discontinuous: bool = True) -> list[Document]:
    """Documents of a line each."""
    rng, found = random.Random(seed), []
    for number in range(DOCUMENTS):
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 20))]
        places, at = [], 0
        for word in words:
            places.append((at, at + len(word)))
            at += len(word) + 1
        spans = set()
        for _ in range(rng.randint(0, 5)):
            first = rng.randrange(len(places))
            last = rng.randrange(first, min(first + 3, len(places)))
            pieces = ((places[first][0], places[last][1]),)
            if discontinuous and last - first == 2 and rng.random() < 0.5:
                pieces = (places[first], places[last])
            spans.add(Span(pieces, rng.choice(TYPES), links=rng.choice([(), ("D001",)])))
        in_order = tuple(sorted(spans, key=lambda span: (span.pieces, span.label, span.links)))
        found.append(Document(" ".join(words), f"row {number}", id=f"{number:03}", spans=in_order))
    return found


def marked(seed: int) -> list[Document]:
    """The same with ids, attributes, several identifiers, and relations."""
    rng, found = random.Random(seed), []
    for document in made(seed):
        spans = tuple(
            replace(span, id=f"T{n}", links=rng.choice([(), ("D001",), ("D001", "Q2")]),
                    attributes=rng.choice([{}, {"Negated": True}, {"Sure": "high", "Negated": True}]))
            for n, span in enumerate(document.spans, 1)
        )  # fmt: skip
        relations = tuple(
            Relation(rng.choice(spans).id, rng.choice(spans).id, "Treats", rng.choice([("Arg1", "Arg2"), ("Of", "By")]))
            for _ in range(rng.randint(0, 2) if spans else 0)
        )
        found.append(replace(document, spans=spans, relations=relations))
    return found


def test_bioc_reads_our_pubtator(tmp_path: Path) -> None:
    documents = made(0, discontinuous=False)
    path, said = write(tmp_path, "pubtator", documents)
    with path.open(encoding="utf-8") as stream:
        found = pubtator.load(stream)
    assert [(one.pmid, one.text.replace("\n", " ")) for one in found] == [(one.id, one.text) for one in documents]
    assert [[(a.start, a.end, a.text, a.type, a.id) for a in one.annotations] for one in found] == [
        [(s.start, s.end, one.text[s.start : s.end], s.label, "|".join(s.links) or "-") for s in one.spans or ()]
        for one in documents
    ]
    assert said == []


@pytest.mark.parametrize(("name", "library"), [("bioc-xml", biocxml), ("bioc-json", biocjson)])
def test_bioc_reads_our_bioc(name: str, library: Any, tmp_path: Path) -> None:
    documents = made(1)
    path, said = write(tmp_path, name, documents)
    with path.open("rb" if name == "bioc-xml" else "r", encoding=None if name == "bioc-xml" else "utf-8") as stream:
        collection = library.load(stream)
    assert [one.id for one in collection.documents] == [one.id for one in documents]
    for theirs, ours in zip(collection.documents, documents, strict=True):
        (passage,) = theirs.passages
        assert (passage.text, passage.offset) == (ours.text, 0)
        assert [
            (
                tuple((part.offset, part.end) for part in a.locations),
                a.infons["type"],
                a.infons.get("identifier"),
                a.text,
            )
            for a in passage.annotations
        ] == [(s.pieces, s.label, s.links[0] if s.links else None, s.quoted(ours.text)) for s in ours.spans or ()]
    assert said == []


@pytest.mark.parametrize(("name", "library"), [("bioc-xml", biocxml), ("bioc-json", biocjson)])
def test_bioc_reads_the_relations_and_attributes_of_our_bioc(name: str, library: Any, tmp_path: Path) -> None:
    documents = marked(3)
    path, said = write(tmp_path, name, documents)
    with path.open("rb" if name == "bioc-xml" else "r", encoding=None if name == "bioc-xml" else "utf-8") as stream:
        passages = [document.passages[0] for document in library.load(stream).documents]
    assert [[(a.id, a.infons) for a in passage.annotations] for passage in passages] == [
        [(s.id, {"type": s.label, **({"identifier": "|".join(s.links)} if s.links else {}),
                 **{key: "true" if value is True else value for key, value in s.attributes.items()}}) for s in one.spans]
        for one in documents
    ]  # fmt: skip
    assert [[(r.infons["type"], [(n.refid, n.role) for n in r.nodes]) for r in passage.relations] for passage in passages] == [
        [(r.label, [(r.head, r.roles[0]), (r.tail, r.roles[1])]) for r in one.relations] for one in documents
    ]
    assert said == []


def test_bioc_reads_the_relations_and_attributes_of_our_brat(tmp_path: Path) -> None:
    documents = marked(4)
    folder, said = write(tmp_path, "brat", documents)
    for ours in documents:
        with (folder / f"{ours.id}.txt").open() as one, (folder / f"{ours.id}.ann").open() as two:
            theirs = brat.load(one, two)
        assert [(r.type, list(r.arguments.items())) for r in theirs.relations] == [
            (r.label, [(r.roles[0], r.head), (r.roles[1], r.tail)]) for r in ours.relations
        ]
        assert [(a.type, a.refid, list(a.attributes) or [True]) for a in theirs.attributes] == [
            (key, span.id, [value]) for span in ours.spans for key, value in span.attributes.items()
        ]
    assert [line for line in said if "ids changed" not in line] == []


def test_bioc_reads_the_relations_of_our_pubtator(tmp_path: Path) -> None:
    spans = (Span(((0, 7),), "Chemical", links=("D01",)), Span(((15, 20),), "Disease", links=("D02", "D03")))
    relations = (Relation("D01", "D03", "CID"), Relation("D01", "D02", "CID", attributes={"novelty": "Novel"}))
    document = Document("Orbanol lowers fever.", "", id="7", spans=spans, relations=relations)
    path, said = write(tmp_path, "pubtator", [document])
    with path.open() as stream:
        (found,) = pubtator.load(stream)
    assert next((r.type, r.id1, r.id2) for r in found.relations) == ("CID", "D01", "D03")
    assert [(one.spans, one.relations) for one in read_documents(path, "pubtator")] == [(spans, relations)]
    assert said == []


def test_offsets_of_bioc_count_from_the_beginning_of_a_document(tmp_path: Path) -> None:
    rows = [
        Document("😀 one", "", group="d", spans=()),
        Document("two", "", group="d", spans=(Span(((0, 3),), "X", 0.5),)),
    ]
    path, _ = write(tmp_path, "bioc-json", rows)
    (document,) = json.loads(path.read_text())["documents"]
    assert [passage["offset"] for passage in document["passages"]] == [0, 6]
    (annotation,) = document["passages"][1]["annotations"]
    assert annotation["locations"] == [{"offset": 6, "length": 3}]
    assert annotation["infons"] == {"type": "X", "score": "0.5"}


def test_bioc_reads_our_brat(tmp_path: Path) -> None:
    documents = made(2)
    folder, _ = write(tmp_path, "brat", documents)
    for ours in documents:
        with (
            (folder / f"{ours.id}.txt").open(encoding="utf-8") as one,
            (folder / f"{ours.id}.ann").open(encoding="utf-8") as two,
        ):
            theirs = brat.load(one, two)
        assert theirs.text == ours.text
        found = {
            (tuple(sorted((part.begin, part.end) for part in e.locations)), e.type, e.text) for e in theirs.entities
        }
        assert found == {(s.pieces, s.label, s.quoted(ours.text)) for s in ours.spans or ()}


def test_predictions_have_the_schema_of_label_studio(tmp_path: Path) -> None:
    """https://labelstud.io/guide/predictions: data, and predictions with results of from_name, to_name, type and value."""
    labels = Labels(("good",), several=False, scores={"good": 0.75, "bad": 0.25})
    spans = (Span(((2, 5),), "PER", 0.5),)
    document = Document("😀 Ada", "", id=4, spans=spans, labels=labels, columns={"year": 1843}, predicted=True)
    path, said = write(tmp_path, "label-studio", [document])
    assert json.loads(path.read_text()) == [
        {
            "data": {"text": "😀 Ada", "id": 4, "year": 1843},
            "annotations": [],
            "predictions": [
                {
                    "model_version": "test",
                    "score": 0.625,
                    "result": [
                        {"id": "span-1", "from_name": "label", "to_name": "text", "type": "labels", "score": 0.5,
                         "value": {"start": 2, "end": 5, "text": "Ada", "labels": ["PER"]}},
                        {"id": "choice", "from_name": "choice", "to_name": "text", "type": "choices", "score": 0.75,
                         "value": {"choices": ["good"]}},
                    ],
                }
            ],
        }
    ]  # fmt: skip
    assert said == []


def test_predictions_are_unanswered_tasks_of_prodigy(tmp_path: Path) -> None:
    labels = Labels(("good",), several=False, scores={"good": 0.75, "bad": 0.25})
    spanned = Document("Ada", "", id="a", spans=(Span(((0, 3),), "PER", 0.5),), predicted=True)
    path, _ = write(
        tmp_path, "prodigy", [spanned, Document("Nice", "", labels=labels, predicted=True)], ["bad", "good"]
    )
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"text": "Ada", "spans": [{"start": 0, "end": 3, "label": "PER", "score": 0.5}], "meta": {"id": "a"}},
        {"text": "Nice", "options": [{"id": "bad", "text": "bad", "score": 0.25}, {"id": "good", "text": "good", "score": 0.75}],
         "accept": ["good"]},
    ]  # fmt: skip


def test_doccano_reads_triples_and_lists_of_labels(tmp_path: Path) -> None:
    path, said = write(
        tmp_path, "doccano", [Document("Ada wrote", "", id=3, spans=(Span(((0, 3),), "PER", 0.5),), predicted=True)]
    )
    assert json.loads(path.read_text()) == {"id": 3, "text": "Ada wrote", "label": [[0, 3, "PER"]]}
    assert said == ["doccano: scores not written (1, the first at )"]
