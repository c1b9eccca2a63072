"""A vector for each row, to tell how alike rows are: that of the model's embedding head, or else the mean of the encoder's
hidden states. Vectors have length 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import RowError
from manyheads.inference.hidden_states import hidden_states
from manyheads.inference.questions import answers_of
from manyheads.metrics.vectors import unit_rows

if TYPE_CHECKING:
    from manyheads.inference import LoadedModel
    from manyheads.tasks.base import Array, EncoderInput

CHUNK_ROWS = 1024


def row_vectors(model: LoadedModel, tasks: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Array:
    """Vectors of rows that at least one of the tasks reads, `(N, D)`. Raises UsageError for an export without vectors."""
    embedding = next((name for name, task in model.tasks.items() if task.answer_form == "vector"), None)
    found: list[Array] = []
    for start in range(0, len(rows), CHUNK_ROWS):
        some = rows[start : start + CHUNK_ROWS]
        if embedding is not None and all("text" in row for row in some):
            found += [np.asarray(vector) for vector in answers_of(model.predictor, embedding, some)]
        else:
            found += _pooled(model, tasks, some)
    vector_ND = np.asarray(found, np.float32)
    return unit_rows(vector_ND)


def _pooled(model: LoadedModel, tasks: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Array]:
    """Mean hidden states, as the first task that reads a row reads it."""
    readers = [next(iter(_inputs(model, tasks, row))) for row in rows]
    found: dict[int, Array] = {}
    for task in dict.fromkeys(readers):
        places = [i for i, reader in enumerate(readers) if reader == task]
        for i, states in zip(places, hidden_states(model, [rows[i] for i in places], task), strict=True):
            found[i] = states.vectors.mean(0) if len(states) else np.zeros(states.vectors.shape[-1], np.float32)
    return [found[i] for i in range(len(rows))]


def _inputs(model: LoadedModel, tasks: Sequence[str], row: Mapping[str, Any]) -> Mapping[str, EncoderInput]:
    inputs = model.predictor.inputs_of(row, tasks)
    assert not isinstance(inputs, RowError), "rows that cannot be read are no candidates"
    return inputs
