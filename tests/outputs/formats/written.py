"""Documents, written in a format and read again by our reader of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from manyheads.data.formats.annotations import ROLES, Relation, Span
from manyheads.data.formats.detection import BY_NAME as READERS
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.rows import RawRow
from manyheads.outputs.documents import Document, Labels
from manyheads.outputs.formats.format import Writing
from manyheads.outputs.formats.registry import BY_NAME
from manyheads.outputs.from_rows import document_of_row
from manyheads.outputs.losses import Losses
from manyheads.outputs.put import output_file, write_documents
from manyheads.tasks import TASK_TYPES

OF_FORM = {"spans": "token-classification", "classes": "text-classification", "passages": "question-answering",
           "tags": "token-tagging"}  # fmt: skip
FILES = {"brat": "folder", "docbin": "a.spacy", "bioc-xml": "a.xml", "conll": "a.conll", "bioc-json": "a.json",
         "label-studio": "a.json", "squad": "a.json", "pubtator": "a.pubtator"}  # fmt: skip
READ_AS = {"standoff": "jsonl"}


def write(folder: Path, name: str, documents: Sequence[Document], labels: Sequence[str] = ()) -> tuple[Path, list[str]]:
    """The file or folder, and what was said of losses."""
    path, target = folder / FILES.get(name, "a.jsonl"), BY_NAME[name]
    losses = Losses(target.title)
    with output_file(path, target) as file:
        write_documents(path, file, target, documents, Writing(losses, lambda: labels, "test"))
    return path, losses.lines()


def read(path: Path, name: str, form: Any = "spans") -> list[RawRow]:
    """The rows, as training reads them."""
    schema = RowSchema.for_task(TASK_TYPES[OF_FORM[form]])
    return list(READERS[READ_AS.get(name, name)].read(path, schema))


def read_documents(path: Path, name: str, form: Any = "spans") -> list[Document]:
    return [document_of_row(raw, form) for raw in read(path, name, form) if raw.skip is None]


PIECES = ["a", "Ada", "imTarsk", "北京", "ไทย", "e\u0301tude", "😀", "👩\u200d⚕️", "🇩🇪", "<&>", '"', "\\", "C++", "3.5%", "don't",
          " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2028", "\ufeff", "\u200b", "|", "#", "-DOCSTART-", ". "]  # fmt: skip
"""What texts are made of: no spaces, emoji, combining characters, all line ends."""
LABELS = ["PER", "Body-Part", "Ä", "类"]
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@st.composite
def span_lists(draw: Any, text: str, *, solid: bool, discontinuous: bool) -> tuple[Span, ...]:
    """Spans of a text, in text order. `solid`: they begin and end with a character that is not white space."""
    places = [place for place, character in enumerate(text) if not solid or character.strip()]
    found = []
    for _ in range(draw(st.integers(0, 4)) if places else 0):
        size = draw(st.sampled_from([2, 2, 4] if discontinuous else [2]))
        edges = sorted(draw(st.sampled_from(places)) for _ in range(size))
        pieces = tuple((one, two + 1) for one, two in zip(edges[::2], edges[1::2], strict=True))
        apart = len(pieces) == 1 or text[pieces[0][1] : pieces[1][0]].strip()
        if apart and all(one[1] < two[0] for one, two in pairwise(pieces)):
            found.append(Span(pieces, draw(st.sampled_from(LABELS))))
    return tuple(sorted(found, key=lambda span: span.pieces))


VALUES: list[Any] = [True, False, "high", "true ", "x|y", "ä b", ("a", "b"), 3, -0.5]
"""Of attributes."""


@st.composite
def marked_texts(draw: Any) -> list[Document]:
    """Documents whose spans have ids, attributes and identifiers, and relations between them."""
    found = []
    for document in draw(annotated_texts(solid=True)):
        spans = [
            replace(
                span,
                id=f"T{number}",
                links=tuple(draw(st.lists(st.sampled_from(["D001", "MESH:D2", "Q84"]), max_size=2, unique=True))),
                attributes=draw(st.dictionaries(st.sampled_from(["negated", "Sure", "ä"]), st.sampled_from(VALUES), max_size=2)),
            )
            for number, span in enumerate(document.spans, 1)
        ]
        ends = st.sampled_from([span.id for span in spans] + [link for span in spans for link in span.links] or [""])
        relations = [
            Relation(draw(ends), draw(ends), draw(st.sampled_from(["treats", "in"])), draw(st.sampled_from([ROLES, ("Of", "By")])))
            for _ in range(draw(st.integers(0, 3)) if spans else 0)
        ]
        found.append(replace(document, spans=tuple(spans), relations=tuple(relations)))
    return found


@st.composite
def annotated_texts(draw: Any, *, solid: bool = False, discontinuous: bool = True) -> list[Document]:
    """Documents with spans."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        text = draw(texts)
        spans = draw(span_lists(text, solid=solid, discontinuous=discontinuous))
        found.append(Document(text, f"row {number}", id=f"d{number}", spans=spans))
    return found


@st.composite
def labelled_texts(draw: Any, *, several: bool) -> list[Document]:
    """Documents with labels; at least one has two if they may have several."""
    counts = draw(st.lists(st.integers(0, 3) if several else st.just(1), min_size=1, max_size=4))
    counts = [2, *counts] if several else counts
    return [
        Document(draw(texts), f"row {number}", labels=Labels(tuple(draw(st.permutations(LABELS))[:count]), several))
        for number, count in enumerate(counts)
    ]
