"""`manyheads predict`: answers a text, a file or standard input, on the screen or into a file.

Decided here:
- An argument that is not an existing file is a text, unless it looks like a file name.
- Embeddings, hundreds of numbers, are not printed on a terminal unless requested with --task. Files and pipes get them.
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
from typing import IO, TYPE_CHECKING, Any

from manyheads.data.requests import Requested, read_requests
from manyheads.data.text_lines import SniffedStream
from manyheads.errors import DataError, UsageError
from manyheads.outputs.answer_documents import answer_documents, labels_of_tasks, tasks_of_format
from manyheads.outputs.formats.format import WriteFormat, Writing
from manyheads.outputs.formats.registry import format_for
from manyheads.outputs.losses import Losses
from manyheads.outputs.min_score import check_min_score, filter_by_score
from manyheads.outputs.passthrough import column_types, with_passthrough
from manyheads.outputs.put import check_folder, output_file, write_documents
from manyheads.outputs.writers import TABLES, Write, ending_of, json_line, writer

if TYPE_CHECKING:
    from manyheads.inference import LoadedModel
    from manyheads.tasks.base import Task

Log = Callable[[str], None]
Answered = tuple[dict[str, Any], dict[str, Any]]
"""An output row, and the columns of its input row."""
STDIN = "-"
_FILE_NAME = re.compile(
    r"\S*[/\\]\S*|.*\.(jsonl|ndjson|json|csv|tsv|parquet|txt|gz|xlsx?|conll|yaml|xml|pdf)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the command: its input, output and options."""

    source: str
    """A text, a file, or `-` for standard input."""
    output: Path | None = None
    """None: standard output."""
    tasks: Sequence[str] | None = None
    keep: bool = False
    """Whether to also write the other columns of the input."""
    min_score: float | None = None
    """Leave out spans, answers and labels with a lower score."""
    to: str | None = None
    """The output format; None: by the ending of the output."""
    labels: Path | None = None
    """A YAML or JSON file of labels to choose among, as names or names with descriptions."""


def predict_all(request: Request, load: Callable[[], LoadedModel], log: Log) -> int:
    """Answer all rows; returns the number of rows that could not be read. `log` receives notes for the user.

    Raises UsageError and DataError; an existing output then remains unchanged.
    """
    if request.output is not None and _is_input(request.output, request.source):
        raise UsageError(f"-o {request.output} is the input itself; give another file")
    target = _target(request)
    rows, path, stream = _rows(request.source)
    answers = _Answers(rows, check_min_score(request.min_score, "--min-score"))
    labels = None if request.labels is None else _labels(request.labels)
    with ExitStack() as stack:
        file = stack.enter_context(output_file(request.output, target)) if request.output is not None else None
        model = load()
        if labels is not None:
            model.choose_among(labels, request.tasks)
        names = _printed_tasks(model.predictor.check_tasks(request.tasks), model, request, log)
        if target is not None:
            _write_documents(request, target, model, names, answers, file, log)
        else:
            write: Write = _print
            if request.output is not None and file is not None:
                tasks, kept = [model.tasks[name] for name in names], _kept_types(request, path)
                write = stack.enter_context(writer(request.output, file, tasks, kept, log, to=request.to))
            for answer, row in answers.of(model, names):
                write(answer, row if request.keep else {})
    sys.stdout.flush()
    if stream is not None and stream.plain:
        log("read standard input as plain text, one text per line; ids are line numbers")
    for name in model.tasks:
        for note in model.tasks[name].threshold_notes() if name in answers.seen else ():
            log(f"{name}: {note}")
    return answers.failed


class _Answers:
    """The answers to rows, counted as they are given."""

    def __init__(self, rows: Iterator[Requested], min_score: float) -> None:
        self._rows = rows
        self._min_score = min_score
        self.failed = 0
        """Rows that could not be read."""
        self.seen: set[str] = set()
        """Tasks that were answered."""

    def of(self, model: LoadedModel, names: Sequence[str]) -> Iterator[Answered]:
        """Output rows, each with the columns of its input row."""
        for answer, row in with_passthrough(self._rows, partial(model.predictor.predict, names=names)):
            self.failed += "error" in answer
            self.seen |= answer.get("tasks", {}).keys()
            yield filter_by_score(answer, self._min_score), row


def _write_documents(
    request: Request,
    target: WriteFormat,
    model: LoadedModel,
    names: Sequence[str],
    answers: _Answers,
    file: IO[bytes] | None,
    log: Log,
) -> None:
    """Write the answers that a format of annotated texts holds, and log what it does not. Raises UsageError."""
    requested = request.tasks is not None
    forms = tasks_of_format(target, [model.tasks[name] for name in names], log, requested=requested)
    losses = Losses(target.title)
    labels = partial(labels_of_tasks, model.tasks, forms)
    writing = Writing(losses, labels, f"manyheads {model.bundle.hash[:12]}")
    documents = answer_documents(answers.of(model, list(forms)), forms, losses, keep=request.keep)
    write_documents(request.output, file or sys.stdout.buffer, target, documents, writing)
    for line in losses.lines():
        log(line)


def _target(request: Request) -> WriteFormat | None:
    """The format of annotated texts to write; None for output rows. Raises UsageError for a format that needs `-o`."""
    target = format_for(request.output, request.to)
    if request.output is not None:
        if target is None:
            ending_of(request.output, request.to)
        elif target.files is not None:
            check_folder(request.output)
    elif request.to not in (None, "jsonl") and (target is None or target.encode is None or target.binary):
        raise UsageError(f"--to {request.to} needs a file to write, -o OUTPUT")
    return target


def _rows(source: str) -> tuple[Iterator[Requested], Path | None, SniffedStream | None]:
    """The rows, and the file or stream they come from. Raises DataError for a missing file."""
    if source == STDIN:
        stream = SniffedStream(sys.stdin.buffer)
        return read_requests(stream), None, stream
    if os.path.exists(source):
        return read_requests(Path(source)), Path(source), None
    if not source.strip():
        raise UsageError("the input is an empty text; give a text, a file, or '-' for standard input")
    if _FILE_NAME.fullmatch(source):
        raise DataError(f"{source} does not exist; give an existing file, or pass a text through standard input")
    return iter([{"text": source}]), None, None


def _labels(path: Path) -> Any:
    """A list or mapping of labels. Raises DataError."""
    from manyheads.config.untrusted_yaml import key_lines, read_yaml  # 0.2 s that most predictions do without

    try:
        node, found = read_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); give a YAML or JSON file of labels, in UTF-8") from None
    if not isinstance(found, list | dict):
        raise DataError(f"{path} must be a list of labels, or a mapping of labels to descriptions; seen {found!r:.80}")
    if repeated := key_lines(node, str(path))[1]:
        raise DataError(repeated[0])
    return found


def _printed_tasks(names: list[str], model: LoadedModel, request: Request, log: Log) -> list[str]:
    """The tasks to answer: on a terminal without vectors, unless requested or the only answers."""
    if request.tasks is not None or request.output is not None or not sys.stdout.isatty():
        return names
    vectors = [name for name in names if _gives_vectors(model.tasks[name])]
    if not vectors or len(vectors) == len(names):
        return names
    log(f"{', '.join(vectors)}: vectors are not printed on a terminal; request them with --task {vectors[0]}, or write "
        "a file with -o")  # fmt: skip
    return [name for name in names if name not in vectors]


def _gives_vectors(task: Task[Any]) -> bool:
    return dict(task.answer_types) == {task.name: ["float"]}


def _kept_types(request: Request, path: Path | None) -> dict[str, Any]:
    """Types of the input columns kept in a table. Raises UsageError for a stream, whose columns are not known in advance."""
    if not request.keep or request.output is None or ending_of(request.output, request.to) not in TABLES:
        return {}
    if path is None and request.source == STDIN:
        raise UsageError(f"--keep with {request.output} needs a file as input, to know its columns in advance; save "
                         "standard input to a file, or write jsonl")  # fmt: skip
    import pyarrow as pa

    return {"text": pa.string()} if path is None else column_types(path)


def _print(answer: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    sys.stdout.write(json_line(answer, kept))


def _is_input(output: Path, source: str) -> bool:
    """Whether the output is the same file as the input, also through links."""
    try:
        given = os.fstat(sys.stdin.fileno()) if source == STDIN else os.stat(source)
        return stat.S_ISREG(given.st_mode) and os.path.samestat(given, output.stat())
    except (OSError, ValueError):  # does not exist yet, or standard input is not a file
        return False
