"""Which tasks of a model an output format holds, and their answers as documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat
from manyheads.outputs.from_answers import document_of_answers
from manyheads.outputs.losses import Losses
from manyheads.tasks.answers import AnswerForm

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

Forms = Mapping[str, AnswerForm]
"""Tasks and the form of their answers."""


def tasks_of_format(
    target: WriteFormat, tasks: Sequence[Task[Any]], say: Callable[[str], None], *, requested: bool
) -> Forms:
    """The tasks whose answers a format holds. `requested`: the user named the tasks.

    Raises UsageError if there is none, if a requested one does not fit, or if there are more than the format holds.
    """
    fitting = {task.name: task.answer_form for task in tasks if task.answer_form in target.forms}
    others = [task.name for task in tasks if task.name not in fitting]
    holds = " and ".join(target.forms)
    if not fitting or (others and requested):
        raise UsageError(f"{target.title} holds {holds}, which are not the answers of {', '.join(others)}; request another "
                         "task with --task, or another format")  # fmt: skip
    if len(set(fitting.values())) < len(fitting) or (len(fitting) > 1 and not target.together):
        one = f"one task each for {holds}" if target.together else "one task"
        raise UsageError(
            f"{target.title} holds the answers of {one}, and there are {', '.join(fitting)}; choose with --task"
        )
    if others:
        say(f"{', '.join(others)}: not answered, because {target.title} holds {holds} alone")
    return fitting


def labels_of_tasks(tasks: Mapping[str, Task[Any]], forms: Forms) -> list[str]:
    """All labels that these tasks can give to a text."""
    return [label for name, form in forms.items() if form == "classes" for label in tasks[name].label_names]


def answer_documents(
    answered: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], forms: Forms, losses: Losses, *, keep: bool
) -> Iterator[Document]:
    """Documents of output rows, each given with the columns of its input row. Rows without answers are counted.

    `keep`: with the other columns of the input.
    """
    for number, (answer, row) in enumerate(answered, 1):
        where = f"row {number}"
        if "error" in answer:
            losses.add(f"rows not written ({answer['error']['message'][:80]})", where)
            continue
        given = {**row, "id": answer.get("id")}
        document = document_of_answers(answer.get("tasks", {}), given, forms, where, keep=keep)
        if document is None:
            losses.add("rows without an answer not written", where)
        else:
            yield document
