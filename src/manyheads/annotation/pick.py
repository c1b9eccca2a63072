"""`manyheads pick`: the rows to label next, with the answers of the model as a first annotation.

Decided here:
- Rows are read once and scored in chunks; only the best candidates stay in memory (`pool.py`), so the input may be a stream
  of any length. Vectors are computed for candidates alone.
- Rows that were labelled already, and rows with equal texts, are left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.annotation.choose import choose, measure_of, pool_size
from manyheads.annotation.columns import readings_of
from manyheads.annotation.identity import Key, labelled_keys, row_key
from manyheads.annotation.pool import Candidate, Pool
from manyheads.annotation.reasons import reason
from manyheads.annotation.scores import Scorer
from manyheads.annotation.vectors import row_vectors
from manyheads.errors import RowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from manyheads.inference import LoadedModel

CHUNK_ROWS = 2048
RANK, SCORE, REASON = "pick_rank", "pick_score", "pick_reason"
"""Columns that the output has beside those of the input."""

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be picked."""

    count: int
    by: str = "mixed"
    tasks: Sequence[str] | None = None
    """None: all tasks that decide something."""
    labelled: Sequence[Path] = ()
    seed: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our columns: those of the rows and of the labelled files. Empty: those of the model's run file, or our own."""


@dataclass(slots=True)
class Picked:
    """The result of a pick."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the input, each with its rank, score and reason."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """The answers of the first model to them, as `predict` gives them."""
    read: int = 0
    bad: int = 0
    """Rows that could not be read."""
    first_error: str = ""
    """Why the first of them could not be read."""
    labelled: int = 0
    """Rows left out because they are labelled."""
    duplicates: int = 0
    """Candidates left out because their texts are equal to others'."""
    silent: int = 0
    """Rows that no task reads."""


def pick_rows(models: Sequence[LoadedModel], rows: Iterable[Any], wanted: Wanted) -> Picked:
    """Choose rows by the answers of one model, or of a committee of several. Raises UsageError and DataError."""
    names = tasks_to_ask(models, wanted)
    if wanted.by == "disagreement" and len(models) < 2:
        raise UsageError("disagreement takes several models (seeds of one run); give more, or choose another --by")
    measure = measure_of(wanted.by)
    known = labelled_keys(wanted.labelled, readings_of(models[0], names, wanted.columns))
    scorer = Scorer([model.predictor for model in models], names, measure)
    pool, found = Pool(pool_size(wanted.by, wanted.count)), Picked()
    for chunk in _chunks(rows):
        for candidate in _candidates(chunk, scorer, known, found, wanted.seed):
            pool.add(candidate)
    found.duplicates = pool.duplicates
    first = models[0]
    chosen = choose(
        wanted.by, pool.best(), wanted.count, wanted.seed,
        lambda candidates: row_vectors(first, names, [candidate.row for candidate in candidates]),
    )  # fmt: skip
    _annotate(found, first, names, chosen)
    return found


def tasks_to_ask(models: Sequence[LoadedModel], wanted: Wanted) -> list[str]:
    """The tasks whose answers count. Raises UsageError if there is none, or another model has other tasks."""
    first = models[0]
    names = first.predictor.check_tasks(wanted.tasks)
    deciding = [name for name in names if first.tasks[name].choices is not None]
    if not deciding or (wanted.tasks is not None and len(deciding) < len(names)):
        others = [name for name in names if name not in deciding]
        raise UsageError(f"{', '.join(others)}: answers without labels, of which no head is unsure; name another task")
    for model in models[1:]:
        for name in deciding:
            task = model.tasks.get(name)
            if task is None or task.output_names != first.tasks[name].output_names:
                raise UsageError(f"{model.bundle.folder} has no task '{name}' with the labels that it has in "
                                 f"{first.bundle.folder}; give models of one run file")  # fmt: skip
    return deciding


def _candidates(chunk: Sequence[Any], scorer: Scorer, known: set[Key], found: Picked, seed: int) -> Iterator[Candidate]:
    """The rows of a chunk that may be picked, scored."""
    fresh: list[tuple[Mapping[str, Any], Key, Any]] = []
    for row in chunk:
        found.read += 1
        inputs = scorer.inputs(row)
        if isinstance(inputs, RowError):
            found.bad += 1
            found.first_error = found.first_error or str(inputs)
        elif not inputs:
            found.silent += 1
        elif (key := row_key(row)) in known:
            found.labelled += 1
        else:
            fresh.append((row, key, inputs))
    if scorer.measure == "random":
        yield from (Candidate(row, key, random.Random(f"{seed} {key.hex()}").random()) for row, key, _ in fresh)
        return
    for (row, key, _), scored in zip(fresh, scorer.scores([inputs for _, _, inputs in fresh]), strict=True):
        yield Candidate(row, key, scored.score, scored.residual)


def _annotate(found: Picked, model: LoadedModel, names: Sequence[str], chosen: Sequence[Candidate]) -> None:
    """Answers to the chosen rows, and why they were chosen."""
    found.answers = list(model.predictor.predict([candidate.row for candidate in chosen], names))
    for rank, candidate in enumerate(chosen, start=1):
        why = reason(model.predictor, names, candidate.row)
        found.rows.append({**candidate.row, RANK: rank, SCORE: round(candidate.score, 6), REASON: why})


def _chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    return iter(partial(_next, iter(rows)), [])


def _next(rows: Iterator[Any]) -> list[Any]:
    return list(islice(rows, CHUNK_ROWS))
