"""WebAnno TSV 3, the format of WebAnno and INCEpTION: a word per line, with a column for each feature of each layer.

    #FORMAT=WebAnno TSV 3.3
    #T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value

    #Text=Ada Byron wrote.
    1-1	0-3	Ada	*[1]	PER[1]
    1-2	4-9	Byron	*[1]	PER[1]
    1-3	10-15	wrote	_	_
    1-4	15-16	.	_	_

A sentence is a row. Its text is that of `#Text=`, in which every word must stand at its offsets (UTF-16 units). A span of
several words has the same number on each; `|` separates the spans of a word, and lines `1-2.1` are parts of a word. Spans
that cross the end of a sentence are left out and counted. Which layer is read: `layers.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from manyheads.data.formats.annotations import Interval, Span, attribute_of_text, links_of_text
from manyheads.data.formats.format import SPANS, Format, RowSchema
from manyheads.data.formats.layers import IDENTITY, NAMED_ENTITIES, Layer, chosen_layer, is_counted
from manyheads.data.formats.lines import lines
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import LeftOut, RawRow, row_or_error
from manyheads.data.formats.standoff import (
    CHAINS,
    NO_LABEL,
    OTHER_LAYERS,
    RELATIONS,
    AnnotatedText,
    entity_row,
)
from manyheads.data.formats.utf16 import Utf16Offsets
from manyheads.errors import DataError

FORMAT_LINE = "#FORMAT=WebAnno TSV 3"
KINDS = {"#T_SP=": "span", "#T_CH=": "chain", "#T_RL=": "relation"}
CROSSING = "spans that cross the end of a sentence"
EMPTY = ("_", "*")
"""No annotation; an annotation without a value."""
_WORD = re.compile(r"(\d{1,9})-(\d{1,9})((?:\.\d{1,9})?)\t(\d{1,12})-(\d{1,12})\t", re.ASCII)
_SIMPLE = re.compile(r"([^\\|\[]*)(?:\[(\d{1,9})\])?")
_STACK = re.compile(r"((?:\\.|[^\\|]|\\$)*)(?:\||$)", re.DOTALL)
_NUMBERED = re.compile(r"((?:\\.|[^\\\[])*)(?:\[(\d{1,9})\])?", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def looks_like(preview: Preview) -> bool:
    """Its first line."""
    return preview.text.startswith(FORMAT_LINE)


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Sentences. Malformed lines, and a word that differs from its text, are rows with an error in place of their sentence.

    Raises DataError for a file of another format, and if it is not clear which layer to read.
    """
    columns = _header(path)
    layer = _layer(path, columns, schema)
    before: _Sentence | None = None
    numbers: set[int] = set()
    crossing: set[int] = set()
    for sentence in _sentences(path, columns):
        found = sentence.numbers_or_error(layer)
        if before is not None:
            shared = numbers & found
            yield from before.rows(path, layer, crossing | shared, crossing)
            crossing = shared
        before, numbers = sentence, found
    if before is not None:
        yield from before.rows(path, layer, crossing, crossing)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column after the word."""

    kind: str
    """Of its layer: `span`, `chain` or `relation`."""
    layer: str
    feature: str
    """Empty for a layer without features."""


def _header(path: Path) -> list[_Column]:
    """The columns. Raises DataError for a file of another format."""
    columns: list[_Column] = []
    for number, line in lines(path):
        text = line.rstrip("\r\n")
        if number == 1 and not text.startswith(FORMAT_LINE):
            raise DataError(f"{path}:1 should be '{FORMAT_LINE}.3' or the like, seen {text[:80]!r}")
        if text and not text.startswith("#"):
            break
        kind = KINDS.get(text[:6])
        if kind is not None:
            layer, *features = text[6:].split("|")
            columns += [_Column(kind, layer, feature) for feature in features or [""]]
    return columns


def _layer(path: Path, columns: Sequence[_Column], schema: RowSchema) -> Layer:
    """The layer of entities. Unless it is named, or has spans soon, all lines are looked at."""
    spans = [column for column in columns if column.kind == "span"]
    features = {
        layer: [c.feature for c in spans if c.layer == layer] for layer in dict.fromkeys(c.layer for c in spans)
    }
    used: Counter[str] = Counter()
    counted = [layer for layer in features if is_counted(layer)]
    if len(counted) > 1 and "entities" not in schema.renames:
        for sentence in _sentences(path, columns):
            for word in sentence.words:
                used.update({c.layer for c, cell in zip(columns, word.cells, strict=True) if cell != "_"})
            if any(used[layer] for layer in counted if layer.endswith(f".{NAMED_ENTITIES}")):
                break
    return chosen_layer(features, used, schema, str(path))


@dataclass(frozen=True, slots=True)
class _Annotation:
    """One of the annotations of a word in a layer."""

    number: int | None
    """Shared by the words of a span; None for a span of one word."""
    values: tuple[str, ...]
    """By feature; EMPTY without one."""


@dataclass(slots=True)
class _Word:
    """A word, or part of one."""

    where: str
    start: int
    end: int
    text: str
    cells: list[str]

    def annotations(self, columns: Sequence[int]) -> Iterator[_Annotation]:
        """Those of the layer with these columns. Raises DataError if its cells have different numbers of them."""
        cells = [self.cells[column] for column in columns]
        if all(cell == "_" for cell in cells):
            return
        stacks = [_stack(cell) for cell in cells]
        most = max(map(len, stacks))
        if any(len(stack) not in (1, most) for stack in stacks):
            raise DataError(f"{self.where} has {most} annotations in one column of a layer, and fewer in another; export the "
                            "document again")  # fmt: skip
        for place in range(most):
            found = [stack[place if len(stack) > 1 else 0] for stack in stacks]
            number = next((number for _, number in found if number is not None), None)
            yield _Annotation(number, tuple(value for value, _ in found))


def _stack(cell: str) -> list[tuple[str, int | None]]:
    """The values of a cell, each with its number."""
    if cell in EMPTY:
        return [(cell, None)]
    if (match := _SIMPLE.fullmatch(cell)) is not None:
        return [(match[1], int(match[2]) if match[2] else None)]
    found: list[tuple[str, int | None]] = []
    for part in _STACK.finditer(cell):
        if part.start() == len(cell) and found:
            break
        match = _NUMBERED.fullmatch(part[1])
        value, number = (match[1], match[2]) if match else (part[1], None)
        found.append((value, int(number) if number else None))
    return found


@dataclass(slots=True)
class _Sentence:
    """A sentence with its words."""

    where: str
    columns: Sequence[_Column]
    texts: list[str] = field(default_factory=list)
    words: list[_Word] = field(default_factory=list)
    errors: list[RawRow] = field(default_factory=list)
    """In place of a row, if there are any."""

    def refuse(self, error: DataError | str, where: str) -> None:
        """Add an error."""
        self.errors.append(RawRow({}, where, error=str(error)))

    def places(self, layer: str) -> list[int]:
        """The columns of a layer."""
        return [place for place, column in enumerate(self.columns) if column.layer == layer]

    def numbers_or_error(self, layer: Layer) -> set[int]:
        """Numbers of spans of the layer of entities. The sentence has an error for each word whose cells do not fit."""
        places, found = self.places(layer.name), set[int]()
        for word in self.words:
            try:
                found |= {one.number for one in word.annotations(places) if one.number is not None}
            except DataError as error:
                self.refuse(error, word.where)
        return found

    def rows(self, path: Path, layer: Layer, without: set[int], counted: set[int]) -> Iterator[RawRow]:
        """The errors, or else the row."""
        yield from self.errors
        if not self.errors:
            yield row_or_error(self.where, partial(self._row, path, layer, without, counted))

    def _row(self, path: Path, layer: Layer, without: set[int], counted: set[int]) -> RawRow:
        """The row. `without`: numbers of spans to leave out; those in `counted` are counted already. Raises DataError."""
        text = "\n".join(self.texts)
        begins, places = self._checked(text), self.places(layer.name)
        features = [self.columns[place].feature for place in places]
        spans: dict[tuple[int, int], tuple[list[Interval], _Annotation, str]] = {}
        left_out: dict[tuple[int, int], LeftOut] = {}
        for place, (word, span) in enumerate(zip(self.words, begins, strict=True)):
            for k, one in enumerate(word.annotations(places)):
                key = (-1, one.number) if one.number is not None else (place, k)
                if one.number in without:
                    left_out.setdefault(key, LeftOut(CROSSING, word.where))
                else:
                    spans.setdefault(key, ([], one, word.where))[0].append(span)
        made = []
        others = [part for (_, number), part in left_out.items() if number not in counted]
        for pieces, one, where in spans.values():
            values = {name: _unescaped(value) for name, value in zip(features, one.values, strict=True) if value not in EMPTY}
            label, links = values.pop(layer.feature, None), links_of_text(values.pop(IDENTITY, ""))
            if label is None:
                others.append(LeftOut(NO_LABEL, where))
            else:
                whole = (min(start for start, _ in pieces), max(end for _, end in pieces))
                attributes = {name: attribute_of_text(value) for name, value in values.items()}
                made.append(Span((whole,), label, links=links, attributes=attributes, where=where))
        left = (*others, *self._other_layers(layer))
        return entity_row(AnnotatedText(text, made, self.where, path.name.removesuffix(".gz"), left))

    def _checked(self, text: str) -> list[Interval]:
        """The offsets of the words in the text. Raises DataError for a word that does not stand there."""
        offsets = Utf16Offsets(text)
        first = self.words[0]
        at = text.find(first.text)
        base = first.start - Utf16Offsets(text[: max(at, 0)]).units
        found = []
        for word in self.words:
            span = offsets.characters(word.start - base, word.end - base)
            if span is None or text[slice(*span)] != word.text:
                seen = "which is outside of it" if span is None else f"which has {text[slice(*span)][:80]!r} there"
                raise DataError(f"{word.where} has the word {word.text[:80]!r} at {word.start}-{word.end} of its #Text, "
                                f"{seen}; export the document again")  # fmt: skip
            found.append(span)
        return found

    def _other_layers(self, layer: Layer) -> Iterator[LeftOut]:
        """Annotations that are not entities: each once, at its first word."""
        names = dict.fromkeys((column.layer, column.kind) for column in self.columns)
        for name, kind in names:
            if name == layer.name or not is_counted(name):
                continue
            what = {"relation": RELATIONS, "chain": CHAINS}.get(kind, OTHER_LAYERS)
            seen: set[int] = set()
            places = self.places(name)
            for word in self.words:
                for one in word.annotations(places):
                    if one.number is None or one.number not in seen or kind != "span":
                        yield LeftOut(what, word.where)
                    if one.number is not None:
                        seen.add(one.number)


def _sentences(path: Path, columns: Sequence[_Column]) -> Iterator[_Sentence]:
    """Sentences with words or errors."""
    sentence, comment = _Sentence("", columns), ""
    for number, line in lines(path):
        where, text = f"{path}:{number}", line.rstrip("\r\n")
        if not text.strip() or text.startswith("#"):
            if sentence.where:
                yield sentence
                comment = ""
            if sentence.where or not text:
                sentence = _Sentence("", columns)
            comment = text.strip() or comment
            if text.startswith("#Text="):
                sentence.texts.append(_unescaped(text[6:]))
            continue
        has_text = bool(sentence.texts or sentence.where)  # its absence is told once
        sentence.where = sentence.where or where
        try:
            sentence.words.append(_word(text, where, len(columns), has_text=has_text))
        except DataError as error:
            sentence.refuse(error, where)
    if sentence.where:
        yield sentence
    elif comment and not comment.startswith((FORMAT_LINE, *KINDS)):
        sentence.refuse(f"{path} ends with {comment[:80]!r} and without the words of this sentence; the file is truncated: "
                        "copy it again", str(path))  # fmt: skip
        yield sentence


def _word(line: str, where: str, width: int, *, has_text: bool) -> _Word:
    """A word with `width` cells. Raises DataError for any other line, and if its sentence has no text."""
    match = _WORD.match(line)
    if match is None:
        raise DataError(
            f"{where} is {line[:80]!r}; a word has its number (1-1), offsets (0-3) and text, separated by tabs"
        )
    text, *cells = line[match.end() :].split("\t")
    while cells and not cells[-1]:  # lines end with a tab
        cells.pop()
    if len(cells) != width:
        raise DataError(f"{where} has {len(cells)} columns after the word, the header has {width}; export the document again")
    if not has_text:
        raise DataError(f"{where} is a word without a line '#Text=' before its sentence; export the document again")
    return _Word(where, int(match[4]), int(match[5]), _unescaped(text), cells)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: {"t": "\t", "n": "\n", "r": "\r"}.get(match[1], match[1]), text)


FORMAT = Format("webanno-tsv", "WebAnno TSV", SPANS, looks_like, read, renames=True)
