"""fastText: a text on each line, and its labels as words that begin with `__label__`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import Format, RowSchema
from manyheads.data.formats.labelled import LabelledText, label_rows
from manyheads.data.formats.lines import lines
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow

MARK = "__label__"


def looks_like(preview: Preview) -> bool:
    """A first line with a label before its text."""
    return preview.text.lstrip().startswith(MARK)


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Texts with their labels; a line without a label, or without a text, has an error."""
    return label_rows(lambda: _texts(path), single=schema.has_any("label"))


def _texts(path: Path) -> Iterator[LabelledText]:
    for number, line in lines(path):
        words, where = line.split(), f"{path}:{number}"
        labels = [word.removeprefix(MARK) for word in words if word.startswith(MARK)]
        text = " ".join(word for word in line.strip().split(" ") if not word.startswith(MARK))
        if words and (not all(labels) or not labels or not text):
            what = "text" if labels and all(labels) else "label"
            error = f"{where} has no {what}, seen {line.strip()[:80]!r}; write {MARK}NAME before each text"
            yield LabelledText("", (), where, error=error)
        elif words:
            yield LabelledText(text, tuple(dict.fromkeys(labels)), where)


FORMAT = Format("fasttext", "fastText", (("text", "label"), ("text", "labels")), looks_like, read)
