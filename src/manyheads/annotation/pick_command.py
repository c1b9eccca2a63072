"""`manyheads pick`: what is asked, checked, and written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from manyheads.annotation.choose import STRATEGIES
from manyheads.annotation.columns import renames_of
from manyheads.annotation.pick import Picked, Wanted, pick_rows, tasks_to_ask
from manyheads.data.requests import Renames, Requested, read_requests
from manyheads.data.text_lines import SniffedStream
from manyheads.errors import UsageError
from manyheads.outputs.answer_documents import answer_documents, labels_of_tasks, tasks_of_format
from manyheads.outputs.formats.format import Writing
from manyheads.outputs.formats.registry import format_for
from manyheads.outputs.losses import Losses
from manyheads.outputs.passthrough import is_passthrough
from manyheads.outputs.put import check_folder, output_file, write_documents
from manyheads.outputs.writers import TABLES, ending_of, writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from manyheads.inference import LoadedModel

Log = Callable[[str], None]
Load = Callable[[str], "LoadedModel"]
STDIN = "-"


@dataclass(frozen=True, slots=True)
class PickRequest:
    """One call of `manyheads pick`."""

    models: Sequence[str]
    source: str
    """A file of rows, or `-` for standard input."""
    output: Path
    wanted: Wanted
    to: str | None = None
    """The output format; None: by the ending of the output."""


def pick(request: PickRequest, load: Load, log: Log) -> Picked:
    """Write the rows to label next, with the answers of the first model. Raises UsageError and DataError."""
    if request.wanted.by not in STRATEGIES:
        raise UsageError(f"--by {request.wanted.by[:40]}: rows are picked by {', '.join(STRATEGIES)}")
    if request.source != STDIN and request.output.exists() and request.output.samefile(request.source):
        raise UsageError(f"-o {request.output} is the input itself; give another file")
    target = format_for(request.output, request.to)
    if target is None:
        ending_of(request.output, request.to)
    elif target.files is not None:
        check_folder(request.output)
    _rows(request.source, ())  # a missing file is reported before models are loaded
    models = [load(name) for name in request.models]
    first, names = models[0], tasks_to_ask(models, request.wanted)
    rows = _rows(request.source, renames_of(first, names, request.wanted.columns))
    tasks = [first.tasks[name] for name in names]
    forms = {} if target is None else tasks_of_format(target, tasks, log, requested=request.wanted.tasks is not None)
    with output_file(request.output, target) as file:
        found = pick_rows(models, rows, request.wanted)
        if target is None:
            assert file is not None
            _write_rows(request, file, first, names, found, log)
        else:
            losses = Losses(target.title)
            writing = Writing(
                losses, partial(labels_of_tasks, first.tasks, forms), f"manyheads {first.bundle.hash[:12]}"
            )
            documents = answer_documents(zip(found.answers, found.rows, strict=True), forms, losses, keep=True)
            write_documents(request.output, file, target, documents, writing)
            for line in losses.lines():
                log(line)
    return found


def _rows(source: str, renames: Renames) -> Iterator[Requested]:
    return read_requests(SniffedStream(sys.stdin.buffer) if source == STDIN else Path(source), renames)


def _write_rows(
    request: PickRequest, file: IO[bytes], model: LoadedModel, names: Sequence[str], found: Picked, log: Log
) -> None:
    rows = [{name: value for name, value in row.items() if is_passthrough(name)} for row in found.rows]
    kept = _types(rows) if ending_of(request.output, request.to) in TABLES else {}
    tasks = [model.tasks[name] for name in names]
    with writer(request.output, file, tasks, kept, log, to=request.to) as write:
        for answer, row in zip(found.answers, rows, strict=True):
            write(answer, row)


def _types(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Arrow types of the columns of rows. Raises UsageError for a column of several types."""
    import pyarrow as pa

    types = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            types[name] = pa.infer_type([row.get(name) for row in rows])
        except pa.ArrowInvalid:
            raise UsageError(f"the input's column '{name[:80]}' has values of several types; write jsonl") from None
    return types


def picked_lines(found: Picked) -> Iterator[str]:
    """What was picked and what was left out, as sentences."""
    yield f"{len(found.rows):,} of {found.read:,} rows picked"
    for count, what in (
        (found.labelled, "already labelled"), (found.duplicates, "with the texts of another row"),
        (found.silent, "without anything for these tasks to read"),
        (found.bad, f"that could not be read; the first: {found.first_error}"),
    ):  # fmt: skip
        if count:
            yield f"left out: {count:,} row{'s' if count > 1 else ''} {what}"
