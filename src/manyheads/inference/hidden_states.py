"""Hidden states of the tokens of texts, in character offsets.

Decided here: special tokens are left out, since they belong to no part of a text. A text longer than the encoder is read in
windows, and each token comes once, from the window with most context around it (`text/windows.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manyheads.errors import RowError
from manyheads.inference.questions import inputs_for
from manyheads.predict import packs_of
from manyheads.tasks.rows import text_of
from manyheads.text.pack import Source
from manyheads.text.windows import owned

if TYPE_CHECKING:
    from manyheads.inference.loaded import LoadedModel
    from manyheads.text.pack import Encoding


@dataclass(frozen=True, slots=True, eq=False)
class HiddenStates:
    """The tokens of one text, in reading order, without special tokens."""

    tokens: list[str]
    """As the tokenizer spells them."""
    offsets: npt.NDArray[np.int64]
    """Start and end of each token in its text, `(n, 2)`, in code points, the end exclusive."""
    vectors: npt.NDArray[np.float32]
    """`(n, d)`."""
    parts: npt.NDArray[np.int8]
    """`(n,)`: 0 for the text; for pairs, 0 for the question or text, 1 for the context or `text_pair`."""

    def __len__(self) -> int:
        return len(self.tokens)


def hidden_states(loaded: LoadedModel, rows: Iterable[Any], task: str | None) -> list[HiddenStates]:
    """Hidden states of the last layer that all tasks share, or of what the head of a task reads.

    Raises RowError for a row without a text, and UsageError for an export.
    """
    backend, predictor = loaded.torch_backend("hidden states"), loaded.predictor
    if task is None:
        sources = [_source(row, i) for i, row in enumerate(rows)]
    else:
        name = predictor.check_tasks([task])[0]
        sources = [entry.source for entry in inputs_for(predictor, name, rows)]
    encodings = predictor.tokenizer.encode(sources, predictor.max_length)
    windows = [(source, window) for source, some in zip(sources, encodings, strict=True) for window in some]
    states: list[npt.NDArray[np.float32]] = []
    for pack in packs_of(windows, predictor.batch_tokens):
        lengths = [len(window) for _, window in pack]
        states += np.split(backend.hidden_states([window for _, window in pack], task), np.cumsum(lengths)[:-1])
    remaining = iter(states)
    return [_merged(loaded, some, [next(remaining) for _ in some]) for some in encodings]


def _source(row: Any, place: int) -> Source:
    try:
        if isinstance(row, RowError):
            raise row
        return Source(text_of(row))
    except RowError as error:
        raise RowError(f"input {place}: {error}") from None


def _merged(loaded: LoadedModel, windows: Sequence[Encoding], states: Sequence[npt.NDArray[np.float32]]) -> HiddenStates:
    """Each token of the windows of one source, once."""
    ids, offsets, vectors, parts = [], [], [], []
    for part in (0, 1):
        for window, own, state_LD in zip(windows, owned(windows, part), states, strict=True):
            ids.append(window.ids_L[own])
            offsets.append(np.stack([window.start_L[own], window.end_L[own]], axis=1).astype(np.int64))
            vectors.append(state_LD[own])
            parts.append(window.part_L[own])
    spelled = loaded.bundle.tokenizer.spelled(np.concatenate(ids))
    return HiddenStates(spelled, np.concatenate(offsets), np.concatenate(vectors), np.concatenate(parts))
