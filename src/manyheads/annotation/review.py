"""`manyheads review`: the gold labels that are most likely wrong, by confident learning (Northcutt et al. 2021).

Labels are judged by heads that were not trained on them (`cross_validation.py`), on an encoder that was not either: the one
that the model was trained from. After three epochs on 1,000 sentences with 5 % planted errors, heads on the model's encoder
suspected 38 % of the errors, those on the original encoder 84 %. The list is sorted by the probability that
the gold label is right (self-confidence, Kuan & Mueller 2022), which also has a meaning by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.annotation.cross_validation import FOLDS, Reader, out_of_fold
from manyheads.annotation.labelled import LabelledExamples
from manyheads.config.dataset import read_task
from manyheads.errors import DataError, UsageError
from manyheads.metrics.confident_learning import suspected_labels
from manyheads.tasks.choices import Judged

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.tasks.base import Array, Task
    from manyheads.tasks.choices import Doubt

SPLITS = ("train", "validation", "test")
FEWEST = 2 * FOLDS
"""Examples that can be reviewed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A doubt about a label, and where the label is."""

    where: str
    """`file:line`."""
    split: str
    text: str
    doubt: Doubt


@dataclass(frozen=True, slots=True)
class TaskReview:
    """The labels of one task, the most doubtful first."""

    task: Task[Any]
    examples: int
    findings: list[Finding]
    accuracy: float
    """Share of the choices in which the heads agree with the labels."""

    @property
    def suspected(self) -> int:
        """Labels that confident learning takes for wrong."""
        return sum(finding.doubt.suspected for finding in self.findings)


def read_labelled(file: RunFile, name: str, splits: Sequence[str] | None) -> tuple[Task[Any], LabelledExamples]:
    """A task fitted to the training data of a run file, and the examples of its splits (None: of all that it has).

    Raises DataError for too few examples, and UsageError for a split that it lacks.
    """
    data = read_task(file, name)
    tables = [(split, data.table(split)) for split in splits or SPLITS if split in data.splits]
    if splits and (missing := [split for split in splits if split not in data.splits]):
        raise UsageError(f"{file.path}: task '{name}' has no {missing[0]} data; it has {', '.join(data.splits)}")
    examples = LabelledExamples(tables)
    if len(examples) < FEWEST:
        raise DataError(
            f"{examples.where(0)}: {len(examples)} examples of '{name}' are too few to review; give at least {FEWEST}"
        )
    return data.task, examples


def judging_task(task: Task[Any]) -> Task[Any]:
    """The task whose heads judge the labels of a task."""
    choices = task.choices
    assert choices is not None, "checked by the command"
    return choices.refitted_as() or task


def review_task(reader: Reader, examples: LabelledExamples) -> TaskReview:
    """Judge every label of one task. The reader's task is a `judging_task`."""
    task, choices = reader.task, reader.task.choices
    assert choices is not None
    judged = []
    for row, example, item in out_of_fold(reader, examples):
        chance_UK = choices.compared(example, item)
        judged.append((row, example, item, chance_UK.astype(np.float32), choices.gold(example, item)))
    judged.sort(key=lambda one: one[0])
    chance_NK, gold_N = np.concatenate([one[3] for one in judged]), np.concatenate([one[4] for one in judged])
    suspected_N = _suspected(chance_NK, gold_N, len(judged[0][4]) if choices.separate else 1)
    findings, first = [], 0
    for row, example, item, chance_UK, gold_U in judged:
        about = Judged(example, item, chance_UK, gold_U, suspected_N[first : first + len(gold_U)])
        first += len(gold_U)
        findings += [_finding(examples, row, example, doubt, choices.text(example)) for doubt in choices.doubts(about)]
    findings.sort(key=lambda finding: finding.doubt.quality)
    return TaskReview(task, len(examples), findings, float((chance_NK.argmax(-1) == gold_N).mean()))


def _suspected(chance_NK: Array, gold_N: Array, questions: int) -> Array:
    """`suspected_labels` of each of the questions that the choices of every example answer in turn."""
    suspected_N = np.zeros(len(gold_N), bool)
    for q in range(questions):
        part = slice(q, None, questions)
        suspected_N[part] = suspected_labels(chance_NK[part], gold_N[part])
    return suspected_N


def _finding(examples: LabelledExamples, row: int, example: Any, doubt: Doubt, text: str) -> Finding:
    words = getattr(example, "words", None)
    word = None
    if doubt.span is not None and words is not None:
        word = next((w for w, (_, end) in enumerate(words) if end > doubt.span[0]), None)
    suspected = doubt.suspected and bool(doubt.kind)  # not where the heads would give the label too
    return Finding(examples.where(row, word), examples.split(row), text, replace(doubt, suspected=suspected))
