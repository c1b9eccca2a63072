"""Clinical notes: entities with the attribute `assertion`, and relations between them. Read from notes/*.txt:

    === slug
    N | A line of the note with [fever]{Disease a negated} and [amoxicillin]{Chemical b} for [otitis]{Disease c}.
    R | b treats c

An entity has a label and an id, a letter that is local to the note. A Disease is present unless a class is given. Relations
stand after the text. A note may have several N lines; a line break joins them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks import SPLITS, Block, CorpusError, read_blocks, split_of

LABELS = ("Chemical", "Disease", "Dose")
ASSERTIONS = ("present", "negated", "hypothetical", "family")
RELATIONS = {"treats": ("Chemical", "Disease"), "causes": ("Chemical", "Disease"), "dose-of": ("Dose", "Chemical")}
"""Types of head and tail."""
WORDS = (25, 80)
"""Least and most words of a note."""
MARK = re.compile(r"\[([^\[\]{}|]*)\]\{([^{}]*)\}")


@dataclass
class Entity:
    name: str
    start: int
    end: int
    label: str
    assertion: str | None


@dataclass
class Note:
    slug: str
    where: str
    text: str = ""
    entities: dict[str, Entity] = field(default_factory=dict)
    relations: list[tuple[str, str, str]] = field(default_factory=list)
    """Head, label and tail."""

    @property
    def row(self) -> dict[str, Any]:
        """The row that is shipped."""
        entities = [
            {"id": one.name, "start": one.start, "end": one.end, "label": one.label}
            | ({"attributes": {"assertion": one.assertion}} if one.assertion else {})
            for one in self.entities.values()
        ]
        relations = [{"head": head, "tail": tail, "label": label} for head, label, tail in self.relations]
        return {"id": self.slug, "text": self.text, "entities": entities, "relations": relations}


def parse_notes(path: Path) -> list[Note]:
    """All notes of a file. Raises CorpusError."""
    return [note_of(block) for block in read_blocks(path)]


def note_of(block: Block) -> Note:
    """A note from its lines."""
    note = Note(block.slug, block.where)
    for where, cells in block.lines:
        if cells[0] not in ("N", "R") or len(cells) != 2:
            raise CorpusError(f"{where} begins with {cells[0]!r} and has {len(cells)} fields; expected 'N | text' or "
                              "'R | a treats b'")  # fmt: skip
        if cells[0] == "R":
            add_relation(note, cells[1], where)
        elif note.relations:
            raise CorpusError(f"{where} is text after relations")
        else:
            add_text(note, cells[1], where)
    words = len(note.text.split())
    if not WORDS[0] <= words <= WORDS[1]:
        raise CorpusError(f"{block.where} ({block.slug}) has {words} words; a note has {WORDS[0]} to {WORDS[1]}")
    return note


def add_text(note: Note, marked: str, where: str) -> None:
    """A line of text with its entities."""
    text = note.text + "\n" if note.text else ""
    last = 0
    for match in MARK.finditer(marked):
        text += marked[last : match.start()]
        entity = entity_of(match, len(text), where)
        if entity.name in note.entities:
            raise CorpusError(f"{where} has the id {entity.name!r} twice")
        note.entities[entity.name] = entity
        text += match[1]
        last = match.end()
    text += marked[last:]
    if re.search(r"[\[\]{}]", text):
        raise CorpusError(f"{where} has a bracket that is no annotation; entities do not overlap")
    for one in note.entities.values():
        if text[one.start - 1 : one.start].isalnum() or text[one.end : one.end + 1].isalnum():
            raise CorpusError(f"{where} has an entity within a word: [{text[one.start : one.end]}]")
    note.text = text


def entity_of(match: re.Match[str], start: int, where: str) -> Entity:
    """The entity of a mark."""
    surface, words = match[1], match[2].split()
    if not 2 <= len(words) <= 3:
        raise CorpusError(f"{where} has [{surface}]{{{match[2]}}}; expected {{Label id}} or {{Disease id class}}")
    label, name, assertion = words if len(words) == 3 else (*words, ASSERTIONS[0] if words[0] == "Disease" else None)
    if label not in LABELS:
        raise CorpusError(f"{where} has the label {label!r}; labels are {', '.join(LABELS)}")
    if not re.fullmatch(r"[a-z]", name):
        raise CorpusError(f"{where} has the id {name!r} in [{surface}]; an id is a lower-case letter")
    if len(words) == 3 and (label != "Disease" or assertion not in ASSERTIONS[1:]):
        known = ", ".join(ASSERTIONS[1:])
        raise CorpusError(f"{where} has the class {assertion!r} in [{surface}]; a Disease may have one of {known}")
    if surface != surface.strip() or not surface:
        raise CorpusError(f"{where} has a space at the edge of [{surface}]")
    return Entity(name, start, start + len(surface), label, assertion)


def add_relation(note: Note, written: str, where: str) -> None:
    """`head label tail`."""
    words = written.split()
    if len(words) != 3 or words[1] not in RELATIONS:
        raise CorpusError(f"{where} has the relation {written!r}; expected 'a LABEL b' with {', '.join(RELATIONS)}")
    head, label, tail = words
    for name in (head, tail):
        if name not in note.entities:
            raise CorpusError(f"{where} names the entity {name!r}, which the note lacks")
    types = note.entities[head].label, note.entities[tail].label
    if types != RELATIONS[label]:
        raise CorpusError(f"{where} relates {types[0]} to {types[1]}; {label} holds between {' and '.join(RELATIONS[label])}")
    if (head, label, tail) in note.relations:
        raise CorpusError(f"{where} repeats {written!r}")
    note.relations.append((head, label, tail))


def note_counts(notes: list[Note]) -> str:
    """Numbers of notes, entities, classes and relations."""
    splits = Counter(split_of(note.slug) for note in notes)
    entities = [one for note in notes for one in note.entities.values()]
    labels, classes = Counter(one.label for one in entities), Counter(one.assertion for one in entities)
    relations = Counter(label for note in notes for _, label, _ in note.relations)
    return (
        f"{len(notes)} notes ({', '.join(f'{splits[name]} {name}' for name, _ in SPLITS)}), "
        f"{len(entities)} entities ({', '.join(f'{label} {labels[label]}' for label in LABELS)}), "
        f"assertions ({', '.join(f'{name} {classes[name]}' for name in ASSERTIONS)}), "
        f"{sum(relations.values())} relations ({', '.join(f'{label} {relations[label]}' for label in RELATIONS)})"
    )


def write_notes(notes: list[Note], folder: Path) -> None:
    """A file of rows for every split."""
    for split, _ in SPLITS:
        rows = [json.dumps(note.row, ensure_ascii=False) + "\n" for note in notes if split_of(note.slug) == split]
        (folder / f"notes-{split}.jsonl").write_text("".join(rows), encoding="utf-8")
