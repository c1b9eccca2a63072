"""What the component adds to spaCy's Doc and Span: extension attributes and hooks.

Decided here:
- A span's notes lie where spaCy keeps values of extensions, in `doc.user_data` under its characters. So they are saved with
  the Doc, and move with it in `Doc.from_docs` and when tokens are merged. A span is found by its place, hence each note
  holds its task and label: two entities may have the same characters.
- Everything else is computed from the notes and the answers by functions of this module, which other processes can import.
- An extension that exists already is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from spacy.tokens import Doc, Span

from manyheads.metrics.vectors import cosine

ANSWERS = "manyheads"
"""Extension of a Doc: its output row. Of a Span: a list of notes, `{"task", "place", "label", "score", ...}`."""
QUESTION = "question"


class Relation(NamedTuple):
    """A directed relation between two entities of a Doc."""

    head: Span
    label: str
    tail: Span
    score: float
    task: str


def add_extensions() -> None:
    """Register the extensions, except for names that are taken."""
    documents: dict[str, dict[str, Any]] = {
        ANSWERS: {"default": None}, QUESTION: {"default": None}, "relations": {"getter": relations_of},
    }  # fmt: skip
    spans: dict[str, dict[str, Any]] = {
        ANSWERS: {"default": None}, "score": {"getter": score_of}, "attributes": {"getter": attributes_of},
        "candidates": {"getter": candidates_of},
    }  # fmt: skip
    for cls, wanted in ((Doc, documents), (Span, spans)):
        for name, kind in wanted.items():
            if not cls.has_extension(name):
                cls.set_extension(name, **kind)


def notes_of(span: Span) -> list[dict[str, Any]]:
    """The notes of a span with its label; all notes of its characters for a span without a label."""
    notes = span._.get(ANSWERS) or []
    return [note for note in notes if note["label"] == span.label_] if span.label else list(notes)


def score_of(span: Span) -> float | None:
    """The score of a span that a task answered; None for other spans."""
    return max((note["score"] for note in notes_of(span)), default=None)


def attributes_of(span: Span) -> dict[str, str]:
    """The attributes of an entity, `{task: label}`."""
    return {task: found["label"] for note in notes_of(span) for task, found in note.get("attributes", {}).items()}


def candidates_of(span: Span) -> list[dict[str, Any]]:
    """The entries of a dictionary that an entity may be, best first: `id`, `name`, `score`."""
    return [one for note in notes_of(span) for link in note.get("links", {}).values() for one in link["candidates"]]


def relations_of(doc: Doc) -> list[Relation]:
    """The relations between the entities of a Doc, by their task and head."""
    return [relation for name in doc.spans for relation in _relations_in(doc, name)]


def _relations_in(doc: Doc, name: str) -> Iterator[Relation]:
    """Relations between the entities of one task; those of an entity that no token holds are left out."""
    notes = {note["place"]: (note, span) for span in doc.spans[name] for note in notes_of(span) if note["task"] == name}
    for place in sorted(notes):
        note, head = notes[place]
        for one in note.get("relations", ()):
            if one["tail"] in notes:
                yield Relation(head, one["label"], notes[one["tail"]][1], one["score"], one["task"])


def add_vector_hooks(doc: Doc, task: str) -> None:
    """Let `doc.vector`, `doc.has_vector` and `doc.similarity` use the vector that a task answered."""
    doc.user_hooks |= {"vector": partial(vector_of, task=task), "has_vector": _always, "similarity": similarity_of}


def vector_of(doc: Doc, task: str) -> npt.NDArray[np.float32]:
    """The vector that a task answered, `(d,)` float32."""
    answers: Mapping[str, Any] = doc._.get(ANSWERS)["tasks"]
    return np.asarray(answers[task], dtype=np.float32)


def similarity_of(doc: Doc, other: Any) -> float:
    """Cosine of the vectors of a Doc and another object of spaCy; 0 if one of them is zero."""
    return float(cosine(doc.vector[None], other.vector[None])[0])


def _always(doc: Doc) -> bool:
    return True
