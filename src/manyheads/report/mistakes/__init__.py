"""What a model gets wrong, one file = one task type: from answers and examples to counts, and on to exhibits.

`findings` is all that others need; the files know nothing of one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from manyheads.report.mistakes.answers import answer_findings
from manyheads.report.mistakes.base import NO_FINDINGS, Findings
from manyheads.report.mistakes.entities import entity_findings
from manyheads.report.mistakes.labels import label_findings
from manyheads.report.mistakes.vectors import vector_findings
from manyheads.tasks.base import Task

FINDERS: Mapping[str, Callable[[Any, Sequence[Any], Sequence[Any]], Findings]] = {
    "token-classification": entity_findings,
    "text-classification": label_findings,
    "question-answering": answer_findings,
    "sentence-embedding": vector_findings,
}
"""By `Task.kind`."""


def findings(task: Task[Any], answers: Sequence[Any], examples: Sequence[Any]) -> Findings:
    """What these answers to these examples tell; nothing for an unknown type or without examples."""
    finder = FINDERS.get(task.kind)
    return finder(task, answers, examples) if finder and examples else NO_FINDINGS
