"""What `manyheads predict` does: a text, a file or standard input, answered onto the screen or into a file.

Decided here:
- An argument that names no file is a text, unless it looks like the name of a file.
- Vectors are hundreds of numbers nobody reads: on a terminal they are left out unless asked for by --task. Files and pipes
  have them.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.plain_texts import Sniffed
from manyheads.data.requests import Requested, read_requests
from manyheads.durable import writing_bytes
from manyheads.errors import DataError, UsageError
from manyheads.outputs.kept import beside, types_of
from manyheads.outputs.sure import checked_score, sure_of
from manyheads.outputs.writers import TABLES, Write, ending_of, json_line, writer

if TYPE_CHECKING:
    from manyheads.api import Model
    from manyheads.tasks.base import Task

Say = Callable[[str], None]
STANDARD = "-"
_FILE_NAME = re.compile(
    r"\S*[/\\]\S*|.*\.(jsonl|ndjson|json|csv|tsv|parquet|txt|gz|xlsx?|conll|yaml|xml|pdf)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be answered, and where to."""

    source: str
    """A text, a file, or `-`."""
    output: Path | None = None
    """None: standard output."""
    tasks: Sequence[str] | None = None
    keep: bool = False
    """Also the other columns of the input."""
    min_score: float | None = None
    """What has a lower score is left out."""


def answer_all(asked: Asked, load: Callable[[], Model], say: Say) -> int:
    """Answer everything; how many rows could not be read. `say` is told what a person should know besides.

    Raises UsageError and DataError, and leaves an earlier output as it was.
    """
    if asked.output is not None:
        if _is_input(asked.output, asked.source):
            raise UsageError(f"-o {asked.output} is the input itself; give another file")
        ending_of(asked.output)
    least = checked_score(asked.min_score, "--min-score")
    rows, path, stream = _rows(asked.source)
    failed, seen = 0, set[str]()
    with ExitStack() as held:
        file = held.enter_context(writing_bytes(asked.output)) if asked.output is not None else None
        model = load()
        names = _shown(model.predictor.chosen(asked.tasks), model, asked, say)
        write: Write = _print
        if asked.output is not None and file is not None:
            tasks = [model.tasks[name] for name in names]
            write = held.enter_context(writer(asked.output, file, tasks, _kept_types(asked, path), say))
        for answer, kept in beside(rows, partial(model.predictor.predict, names=names)):
            failed += "error" in answer
            seen |= answer.get("tasks", {}).keys()
            write(sure_of(answer, least), kept if asked.keep else {})
    sys.stdout.flush()
    if stream is not None and stream.plain:
        say("standard input was read as plain texts, one a line; the id of each is the number of its line")
    for name in names:
        for condition in model.tasks[name].conditions() if name in seen else ():
            say(f"{name}: {condition}")
    return failed


def _rows(source: str) -> tuple[Iterator[Requested], Path | None, Sniffed | None]:
    """The rows; the file that they are of, or the stream. Raises DataError for a file that is not there."""
    if source == STANDARD:
        stream = Sniffed(sys.stdin.buffer)
        return read_requests(stream), None, stream
    if os.path.exists(source):
        return read_requests(Path(source)), Path(source), None
    if not source.strip():
        raise UsageError("the input is an empty text; give a text, a file, or '-' for standard input")
    if _FILE_NAME.fullmatch(source):
        raise DataError(
            f"{source} does not exist; give a file that does, or, if that is a text, give it by standard input"
        )
    return iter([{"text": source}]), None, None


def _shown(names: list[str], model: Model, asked: Asked, say: Say) -> list[str]:
    """The tasks that are answered: on a terminal without vectors, unless these were asked for or are all there is."""
    if asked.tasks is not None or asked.output is not None or not sys.stdout.isatty():
        return names
    vectors = [name for name in names if _gives_vectors(model.tasks[name])]
    if not vectors or len(vectors) == len(names):
        return names
    say(f"{', '.join(vectors)}: vectors are not shown on a terminal; ask for them with --task {vectors[0]}, or write a file "
        "with -o")  # fmt: skip
    return [name for name in names if name not in vectors]


def _gives_vectors(task: Task[Any]) -> bool:
    return dict(task.answer_types) == {task.name: ["float"]}


def _kept_types(asked: Asked, path: Path | None) -> dict[str, Any]:
    """Types of the columns that are kept in a table. Raises UsageError for a stream, whose columns are not known before."""
    if not asked.keep or asked.output is None or ending_of(asked.output) not in TABLES:
        return {}
    if path is None and asked.source == STANDARD:
        raise UsageError(f"--keep into {asked.output} needs a file as input, whose columns are known before its rows; save "
                         "standard input into a file, or write jsonl")  # fmt: skip
    import pyarrow as pa

    return {"text": pa.string()} if path is None else types_of(path)


def _print(answer: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    sys.stdout.write(json_line(answer, kept))


def _is_input(output: Path, source: str) -> bool:
    """Whether a file is the input, by whatever name."""
    try:
        given = os.fstat(sys.stdin.fileno()) if source == STANDARD else os.stat(source)
        return stat.S_ISREG(given.st_mode) and os.path.samestat(given, output.stat())
    except (OSError, ValueError):  # not there yet, or a standard input that is no file
        return False
