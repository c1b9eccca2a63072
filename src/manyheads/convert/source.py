"""The input of a conversion: its format, and the task type that its annotations are for.

Without `--type`, every task type tries the first rows, with the readers of training data. Types whose annotations have the
same form read the same; if rows hold annotations of several forms, such as spans and labels, the user must choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from manyheads.data.formats.detection import known_types
from manyheads.data.formats.format import Format, RowSchema
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow
from manyheads.data.readers import format_of, read_rows
from manyheads.errors import ColumnsError, DataError, ManyheadsError, RowError, UsageError
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.registry import ROWS
from manyheads.outputs.from_answers import document_of_answers
from manyheads.outputs.from_rows import FORMS, document_of_row
from manyheads.tasks import TASK_TYPES, unknown_type
from manyheads.tasks.answers import AnswerForm
from manyheads.tasks.base import Task

SAMPLE = 50
"""Rows that types are tried on."""
ANY_ROWS = RowSchema("convert")
ANSWERS, TARGETS = "tasks", "targets"
"""Columns with the answers or labels of several tasks, by name."""


@dataclass(frozen=True, slots=True)
class Source:
    """An input whose rows can be read repeatedly."""

    path: Path
    format: Format
    schema: RowSchema
    task: type[Task[Any]] | None = None
    """None: rows of any kind."""
    name: str | None = None
    """The task of rows with the labels or answers of several."""

    @property
    def form(self) -> AnswerForm:
        """The form of the annotations; `json` for rows of any kind."""
        return "json" if self.task is None else self.task.answer_form

    def rows(self) -> Iterator[RawRow]:
        """All rows, with the values of the task alone. Raises DataError."""
        return (self._own(raw) for raw in read_rows(self.path, self.format, self.schema))

    def document(self, raw: RawRow) -> Document | None:
        """A row as a document; None if it has no annotation of this task. Raises DataError."""
        answers = raw.values.get(ANSWERS)
        if not isinstance(answers, Mapping):
            return document_of_row(raw, self.form)
        rest = {key: value for key, value in raw.values.items() if key not in (ANSWERS, "windows")}
        try:
            return document_of_answers(answers, rest, {str(self.name): self.form}, raw.where, keep=True)
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"{raw.where} has an answer of '{self.name}' that is not one of {self.form}") from None
        except UsageError as error:
            raise DataError(f"{raw.where} {error}") from None

    def _own(self, raw: RawRow) -> RawRow:
        """The row with the task's target in place of `targets`."""
        if isinstance(raw.values.get("error"), Mapping) and raw.skip is None:
            return replace(raw, skip="an error in place of answers")
        targets = raw.values.get(TARGETS)
        if self.task is None or self.name is None or not isinstance(targets, Mapping):
            return raw
        if targets.get(self.name) is None:
            return replace(raw, skip=f"no target '{self.name}'")
        shared = {key: value for key, value in raw.values.items() if key != TARGETS}
        try:
            own = self.task(name=self.name).row_of_target(raw.values, targets[self.name])
        except RowError as error:
            raise DataError(f"{raw.where}: {error}") from None
        return replace(raw, values={**shared, **own})


def open_source(
    path: Path,
    *,
    form: str | None,
    kind: str | None,
    task: str | None,
    holds: Sequence[AnswerForm],
    columns: Mapping[str, str],
) -> Source:
    """The input of a conversion into a format that holds these forms of annotations; `holds` empty: any rows.

    `form`, `kind` and `task` are the format, the task type and the task that the user named, if any; `columns`: our columns,
    each with its name in the data. Raises DataError, and UsageError for rows that leave several possibilities.
    """
    if kind is not None and kind not in TASK_TYPES:
        raise UsageError(f"--type: {unknown_type(kind)}")
    types = list(filter(_is_alone, known_types())) if kind is None else [TASK_TYPES[kind]]
    if not all(map(_is_alone, types)):
        raise UsageError(f"--type: {kind} is about the answers of another task; name the type of that task")
    attempts = [_attempt(path, form, cls, _TaskName(task, holds), columns) for cls in types]
    good = [one for one in attempts if one.source is not None]
    if not holds and kind is None and task is None and not columns:
        rows = _plain_rows(path, form, good)
        if rows is not None:
            return rows
    if not good:
        raise _refusal(path, attempts)
    fitting = [one for one in good if not holds or one.form in holds]
    if not fitting:
        found = " or ".join(one.kind for one in good)
        raise UsageError(
            f"{path} holds data for {found}, which the output format has no place for; name another with --to"
        )
    return _chosen(path, fitting)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What came of reading the first rows for a task type."""

    kind: str
    form: AnswerForm
    source: Source | None = None
    annotated: int = 0
    """Rows with an annotation."""
    error: ManyheadsError | None = None
    opened: bool = False
    """Whether the format of the file is one of this type."""


def _is_alone(cls: type[Task[Any]]) -> bool:
    """Whether a type reads rows without settings, which name another task."""
    try:
        cls(name="convert")
    except TypeError:
        return False
    return True


def _attempt(
    path: Path, form: str | None, cls: type[Task[Any]], task: _TaskName, columns: Mapping[str, str]
) -> _Attempt:
    answers = not path.is_dir() and Preview.of(path).json.under(ANSWERS)
    schema, opened = ANY_ROWS if answers else RowSchema.for_task(cls, columns=columns), False
    try:
        source = Source(path, format_of(path, schema, form), schema, cls)
        opened = True
        sample = list(islice(read_rows(path, source.format, schema), SAMPLE))
        source = replace(source, name=task.of_rows(path, sample, cls))
        annotated = sum(_is_annotated(source, raw) for raw in islice(source.rows(), SAMPLE) if raw.skip is None)
    except (DataError, RowError) as error:
        return _Attempt(cls.kind, cls.answer_form, error=error, opened=opened)
    return _Attempt(cls.kind, cls.answer_form, source, annotated, opened=True)


@dataclass(frozen=True, slots=True)
class _TaskName:
    """The task to take from rows with the labels or answers of several."""

    given: str | None
    holds: Sequence[AnswerForm]
    """By the output format; empty: anything."""

    def of_rows(self, path: Path, sample: Sequence[RawRow], cls: type[Task[Any]]) -> str | None:
        """The only task that can be of this type; None for rows of one task.

        Raises DataError if there is none, UsageError if the user must choose.
        """
        fits: dict[str, set[bool | None]] = {}
        for raw in sample:
            for key in (ANSWERS, TARGETS):
                entries = raw.values.get(key)
                for name, entry in entries.items() if isinstance(entries, Mapping) else ():
                    fits.setdefault(str(name), set()).add(cls.matches_entry(entry))
        if not fits:
            return None
        found = [name for name, verdicts in fits.items() if True in verdicts and False not in verdicts]
        if self.given is not None:
            found = [name for name in found if name == self.given]
        if len(found) > 1 and cls.answer_form in self.holds:
            raise UsageError(f"{path} has rows of several tasks: {', '.join(fits)}; choose one with --task")
        if len(found) != 1:
            raise DataError(f"{path} has rows of the tasks {', '.join(fits)}, and none of them is {cls.kind}")
        return found[0]


def _is_annotated(source: Source, raw: RawRow) -> bool:
    """Whether a row has an annotation. Raises DataError if it is not of the task type."""
    if source.form not in FORMS and not isinstance(raw.values.get(ANSWERS), Mapping):
        if source.task is not None:
            source.task(name="convert").read(raw.values)
        return True
    document = source.document(raw)
    return document is not None and bool(document.spans or (document.labels and document.labels.names) or document.tags)


def _plain_rows(path: Path, form: str | None, good: Sequence[_Attempt]) -> Source | None:
    """The input as rows with all their columns, unless it is in a format of others."""
    if any(one.source is not None and one.source.format.name not in ROWS for one in good):
        return None
    try:
        found = format_of(path, ANY_ROWS, form)
    except DataError:
        return None
    forms = {one.form for one in good}
    task = good[0].source.task if len(forms) == 1 and good[0].source is not None else None
    return Source(path, found, ANY_ROWS, task) if found.name in ROWS else None


def _chosen(path: Path, fitting: Sequence[_Attempt]) -> Source:
    """The one possibility. Raises UsageError if the rows have annotations of several forms."""
    tasks = {one.source.name: None for one in fitting if one.source is not None and one.source.name is not None}
    if len(tasks) > 1:
        raise UsageError(f"{path} has rows of several tasks: {', '.join(tasks)}; choose one with --task")
    forms = dict.fromkeys(one.form for one in fitting if one.annotated) or {fitting[0].form: None}
    if "spans" in forms:
        forms.pop("tags", None)  # tags that are spans
    if len(forms) > 1:
        kinds = " or ".join(next(one.kind for one in fitting if one.form == form) for form in forms)
        raise UsageError(f"{path} can be read for {kinds}; choose one with --type")
    chosen = next(one.source for one in fitting if one.form in forms)
    return cast("Source", chosen)


def _refusal(path: Path, attempts: Sequence[_Attempt]) -> ManyheadsError:
    """Why nothing was read: the error of the type whose format this is, if there is one."""
    errors = [one for one in attempts if one.error is not None]
    opened = [one for one in errors if one.opened] or errors
    messages = {str(one.error) for one in opened}
    first = str(opened[0].error)
    if isinstance(opened[0].error, ColumnsError):
        first += "; on the command line, this is --columns OURS=THEIRS"
    if len(messages) == 1 or len(attempts) == 1:
        return DataError(first)
    kinds = ", ".join(one.kind for one in opened)
    return DataError(f"{path} has rows for none of {kinds}; name one with --type. The first of them says: "
                     f"{first}")  # fmt: skip
