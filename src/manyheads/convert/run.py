"""One conversion: the input's rows, as documents or with their columns, to a new file or folder.

Decided here:
- An existing output is refused: a conversion is done once, and must not replace data that somebody annotated.
- What the output cannot hold is counted, with the first place, and said at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyheads.convert.source import Source, open_source
from manyheads.data.formats.annotations import entity, relation_entry
from manyheads.data.formats.lines import opened
from manyheads.data.formats.messages import counted
from manyheads.durable import writing_bytes
from manyheads.errors import DataError, UsageError
from manyheads.outputs.documents import Document
from manyheads.outputs.formats import squad
from manyheads.outputs.formats.format import WriteFormat, Writing
from manyheads.outputs.formats.registry import check_name, endings, format_for, names, row_format_for
from manyheads.outputs.from_rows import all_annotations
from manyheads.outputs.losses import Losses
from manyheads.outputs.put import check_folder, output_file, put_blocks, write_documents
from manyheads.outputs.rows import encode_rows


@dataclass(frozen=True, slots=True)
class Conversion:
    """One call of the command."""

    input: Path
    output: Path
    to: str | None = None
    """The output format; None: by the ending of the output."""
    input_format: str | None = None
    """None: detected."""
    type: str | None = None
    """The task type; None: found by reading the first rows."""
    task: str | None = None
    """Of rows with the labels or answers of several tasks."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our columns, each with its name in the data where that is another."""


def convert(conversion: Conversion, say: Callable[[str], None]) -> str:
    """Convert a file or folder; returns a sentence about what was done. `say` receives what was not written or changed.

    Raises UsageError and DataError; the output then does not exist.
    """
    path, output = conversion.input, conversion.output
    target = _target(conversion)
    _check_paths(path, output, target)
    source = open_source(
        path,
        form=conversion.input_format,
        kind=conversion.type,
        task=conversion.task,
        holds=target.forms if target else (),
        columns=conversion.columns,
    )
    rows = row_format_for(output, conversion.to)
    if target is None and rows == "json" and source.form == "passages" and conversion.to is None:
        target = squad.FORMAT  # as `.json` is read
    run = _Run(source, Losses(target.title if target is not None else str(rows)))
    try:
        if target is not None:
            writing = Writing(run.losses, run.labels, path.name)
            with output_file(output, target) as file:
                write_documents(output, file, target, run.documents(), writing)
        else:
            with writing_bytes(output) as file:
                put_blocks(output, file, encode_rows(str(rows), run.rows, run.losses))
    except UnicodeEncodeError:
        raise DataError(
            f"{run.where} holds half of a surrogate pair, which is not a character; correct the text"
        ) from None
    for line in run.losses.lines():
        say(line)
    what = target.title if target is not None else rows
    return f"{counted(run.count, 'row')} of {source.format.title} written to {output} as {what}"


class _Run:
    """The rows of a source, counted."""

    def __init__(self, source: Source, losses: Losses) -> None:
        self.source = source
        self.losses = losses
        self.count = 0
        self.where = str(source.path)
        """Of the last row."""
        self._labels: dict[str, None] | None = None

    def documents(self) -> Iterator[Document]:
        """The rows as documents. Raises DataError."""
        for raw in self.source.rows():
            self.where = raw.where
            if raw.skip is not None:
                self.losses.add(f"rows not written ({raw.skip})", raw.where)
                continue
            document = self.source.document(raw)
            if document is None:
                self.losses.add("rows without an answer not written", raw.where)
                continue
            self.count += 1
            yield document

    def labels(self) -> Sequence[str]:
        """All labels of texts, in the order of their first appearance; the first call reads all rows."""
        if self._labels is None:
            found = (document.labels for document in _Run(self.source, Losses("")).documents())
            self._labels = dict.fromkeys(name for one in found if one for name in (*one.scores, *one.names))
        return list(self._labels)

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows with their places, from the beginning. Raises DataError."""
        self.losses.clear()
        self.count = 0
        for raw in self.source.rows():
            self.where = raw.where
            if raw.skip is not None:
                self.losses.add(f"rows not written ({raw.skip})", raw.where)
                continue
            values, lost = raw.values, raw.left_out
            if raw.annotated is not None:
                found = all_annotations(raw)
                lost, values = found.left_out, {**values, "entities": list(map(entity, found.spans))}
                if found.relations:
                    values["relations"] = list(map(relation_entry, found.relations))
            for part in lost:
                self.losses.add(f"{part.what} not written", part.where)
            self.count += 1
            yield raw.where, values


def _target(conversion: Conversion) -> WriteFormat | None:
    """The output format; None for rows. Raises UsageError if neither name nor ending says one."""
    output, to = conversion.output, conversion.to
    if to is not None:
        check_name(to)
    target = format_for(output, to)
    if target is None and row_format_for(output, to) is None:
        raise UsageError(f"-o {output}: the ending names no format; use one of {', '.join(endings())}, or name the format "
                         f"with --to: {', '.join(names())}")  # fmt: skip
    return target


def _check_paths(path: Path, output: Path, target: WriteFormat | None) -> None:
    """Raise UsageError or DataError for a missing input, and an output that is the input or exists."""
    if not path.is_dir():
        opened(path).close()
    if output.exists() and output.samefile(path):
        raise UsageError(f"-o {output} is the input itself; give another name")
    if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
        raise UsageError(f"-o {output} is inside the input folder; give another place")
    if target is not None and target.files is not None:
        check_folder(output)
    elif output.exists():
        raise UsageError(f"-o {output} exists; give a new name, or remove it first")
