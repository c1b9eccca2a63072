"""Task types: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.errors import BundleError
from manyheads.tasks.base import Task
from manyheads.tasks.question_answering import QuestionAnswering
from manyheads.tasks.sentence_embedding import SentenceEmbedding
from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.token_classification import TokenClassification

TASK_TYPES: Mapping[str, type[Task[Any]]] = {
    TokenClassification.kind: TokenClassification,
    TextClassification.kind: TextClassification,
    QuestionAnswering.kind: QuestionAnswering,
    SentenceEmbedding.kind: SentenceEmbedding,
}


def describe(task: Task[Any]) -> dict[str, Any]:
    """A task as JSON, its `type` first."""
    return {"type": task.kind, **task.describe()}


def restore(description: Mapping[str, Any]) -> Task[Any]:
    """The task that `describe` described. Raises BundleError for a type or setting of another version."""
    settings = dict(description)
    kind = settings.pop("type", None)
    if kind not in TASK_TYPES:
        raise BundleError(f"task type {kind!r} is not known to this version; it knows {', '.join(TASK_TYPES)}")
    try:
        return TASK_TYPES[kind](**{key: _frozen(value) for key, value in settings.items()})
    except TypeError as error:
        raise BundleError(f"task {settings.get('name')!r}: {error}") from None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
