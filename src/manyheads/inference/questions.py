"""What one task answers about rows, and how sure it is; which task is meant where none is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manyheads.errors import RowError, UsageError
from manyheads.evaluate import with_stores
from manyheads.tasks.words import WordTask

if TYPE_CHECKING:
    from manyheads.predict import Predictor
    from manyheads.tasks.base import AnswerForm, EncoderInput, Task

FORMS: Mapping[AnswerForm, str] = {"vector": "vectors"}
"""Display names of answer forms that differ from their keys."""


def only_task(tasks: Mapping[str, Task[Any]], form: AnswerForm, name: str | None) -> str:
    """The task with answers of this form: the named one, or the only one. Raises UsageError."""
    fitting = [task for task in tasks if tasks[task].answer_form == form]
    return _only(tasks, fitting, f"task that answers {FORMS.get(form, form)}", f"tasks answer {FORMS.get(form, form)}", name)


def only_tagger(tasks: Mapping[str, Task[Any]], name: str | None) -> str:
    """The task that tags words: the named one, or the only one. Raises UsageError."""
    fitting = [task for task in tasks if isinstance(tasks[task], WordTask)]
    return _only(tasks, fitting, "task that tags words", "tasks tag words", name)


def _only(tasks: Mapping[str, Task[Any]], fitting: list[str], one: str, several: str, name: str | None) -> str:
    if name is not None:
        if name not in fitting:
            raise UsageError(f"the model has no {one} called '{name}'; it has {', '.join(fitting) or 'none'}")
        return name
    if not fitting:
        raise UsageError(f"the model has no {one}; its tasks are {', '.join(tasks)}")
    if len(fitting) > 1:
        raise UsageError(f"several {several} ({', '.join(fitting)}); choose one with task=")
    return fitting[0]


def inputs_for(predictor: Predictor, name: str, rows: Iterable[Any]) -> list[EncoderInput]:
    """What the encoder reads for a task of each row. Raises RowError with the number of a row that has nothing for it."""
    inputs = []
    for i, row in enumerate(rows):
        entry = predictor.inputs_of(row, [name])
        if isinstance(entry, RowError):
            raise RowError(f"input {i}: {entry}")
        if name not in entry:
            raise RowError(f"input {i}: has no input for task '{name}'; its keys are {', '.join(row)}")
        inputs.append(entry[name])
    return inputs


def answers_of(predictor: Predictor, name: str, rows: Iterable[Any]) -> list[Any]:
    """The answer of one task to each row. Raises RowError."""
    inputs = [{name: entry} for entry in inputs_for(predictor, name, rows)]
    return [answered.answers[name] for answered in predictor.answer(inputs)]


def choosing_among(
    predictor: Predictor,
    name: str | None,
    labels: Mapping[str, str | None] | Iterable[str],
    form: AnswerForm | None = None,
) -> tuple[str, Predictor]:
    """The task that can choose among these labels (names, or `{name: description}`), and a predictor in which it does.

    `name`: None for the only such task; `form`: of its answers. Raises UsageError for a task whose labels are fixed, and for
    labels that are not texts or not distinct.
    """
    given, tasks = _described(labels), predictor.tasks
    fitting = [one for one in tasks if form is None or tasks[one].answer_form == form]
    free = [one for one in fitting if tasks[one].takes_labels]
    if name is not None or not fitting:
        predictor.check_tasks([name] if name is not None else None)
        chosen = only_task(tasks, form or tasks[name or next(iter(tasks))].answer_form, name)
    else:
        chosen = _only(tasks, free or fitting, "task to choose among labels", "tasks could choose among labels", None)
    if chosen not in free:
        raise UsageError(f"task '{chosen}' knows only the labels it was trained with; a task that is trained with "
                         "by_name: true can choose among others")  # fmt: skip
    task = {chosen: predictor.tasks[chosen].choosing_among(given)}
    encoded = with_stores(predictor.with_tasks(task)).tasks
    return chosen, predictor.with_tasks({**predictor.tasks, **encoded})


def _described(labels: Mapping[str, str | None] | Iterable[str]) -> dict[str, str | None]:
    if isinstance(labels, str):
        raise UsageError(f"labels must be a list of names, or a mapping of names to descriptions; seen {labels!r:.80}")
    pairs = list(labels.items()) if isinstance(labels, Mapping) else [(label, None) for label in labels]
    for label, text in pairs:
        if not isinstance(label, str) or not label.strip():
            raise UsageError(f"a label must be a text that is not empty; seen {label!r:.80}")
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise UsageError(f"the description of {label!r:.80} must be a text that is not empty; seen {text!r:.80}")
    names = [label for label, _ in pairs]
    if repeated := [label for k, label in enumerate(names) if label in names[:k]]:
        raise UsageError(f"label {repeated[0]!r:.80} is given twice; give each label once")
    return dict(pairs)


def class_probabilities(predictor: Predictor, name: str, rows: Iterable[Any]) -> npt.NDArray[np.float32]:
    """Scores of the labels of a task with classes, `(n, K)`, in the order of its labels. Raises RowError."""
    labels = predictor.tasks[name].output_names
    answers = answers_of(predictor, name, rows)
    scores = [[answer["scores"][label] for label in labels] for answer in answers]
    return np.array(scores, np.float32).reshape(len(answers), len(labels))


@dataclass(frozen=True, slots=True, eq=False)
class WordProbabilities:
    """Probabilities of the tags of each word of one text."""

    words: list[str]
    offsets: npt.NDArray[np.int64]
    """Start and end of each word in the text, `(n, 2)`, in code points, the end exclusive."""
    probabilities: npt.NDArray[np.float32]
    """`(n, K)`; rows add up to 1."""
    tags: tuple[str, ...]
    """Names of the columns."""

    def __len__(self) -> int:
        return len(self.words)


def word_probabilities(predictor: Predictor, name: str, rows: Iterable[Any]) -> list[WordProbabilities]:
    """Probabilities of the tags of the words of each row, for a task that tags words. Raises RowError."""
    task = predictor.tasks[name]
    assert isinstance(task, WordTask), "chosen by only_tagger"
    found = []
    for item in predictor.items(name, inputs_for(predictor, name, rows)):
        offsets_W2, chance_WK = task.word_probabilities(item)
        words = [item.source.first[start:end] for start, end in offsets_W2.tolist()]
        found.append(WordProbabilities(words, offsets_W2, chance_WK.astype(np.float32), tuple(task.output_names)))
    return found
