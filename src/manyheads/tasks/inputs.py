"""What a task asks the encoder to read, what it gets back to decode, and how windows of a long text are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manyheads.text.pack import Encoding, Source

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]
Encodings = Sequence[Sequence[Sequence[Encoding]]]
"""Windows of each source of each example."""


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """A source, and its words if the row came in words; for a task on sentences, its sentences."""

    source: Source
    words: tuple[tuple[int, int], ...] | None = None
    spans: tuple[tuple[int, int, str], ...] | None = None
    """For a task about entities: those that it is asked about; None: those that the task it depends on finds."""


@dataclass(frozen=True, slots=True)
class Item:
    """One source with everything a task needs to answer it."""

    source: Source
    words: tuple[tuple[int, int], ...] | None
    """Offsets of given words (CoNLL rows) or of sentences; None when the text came as a string."""
    encodings: Sequence[Encoding]
    outputs: Sequence[Mapping[str, Array]]
    """Outputs of the head for each window: L rows for token outputs, one row for sequence outputs."""
    spans: Sequence[tuple[int, int, str]] | None = None
    """For a task about entities: the entities, as `(start, end, label)`; None if there is no task to find them."""


def window_weights(windows: Sequence[Sequence[Encoding]]) -> tuple[Array, Array]:
    """For the windows of several sources: `owner_S`, the source of each, and `share_S`, its part of the source's tokens."""
    counts = [len(source) for source in windows]
    owner_S = np.repeat(np.arange(len(counts)), counts)
    tokens_S = np.array([len(window) for source in windows for window in source], np.float32)
    totals_B = np.bincount(owner_S, weights=tokens_S, minlength=len(counts))
    return owner_S.astype(np.int64), (tokens_S / totals_B[owner_S]).astype(np.float32)


def merge_windows(values_SX: torch.Tensor, owner_S: torch.Tensor, share_S: torch.Tensor, count: int) -> torch.Tensor:
    """Weighted mean over the windows of each source, `(count, X)`; with one window each, the values themselves."""
    if len(owner_S) == count:
        return values_SX
    result_BX = values_SX.new_zeros((count, values_SX.shape[1]))
    return result_BX.index_add(0, owner_S, values_SX * share_S[:, None])


def merge_outputs(items: Sequence[Item], key: str, dtype: type[np.floating[Any]]) -> Array:
    """The same for a sequence output of at least one item in answering, `(B, X)`."""
    owner_S, share_S = window_weights([item.encodings for item in items])
    values_SX = np.concatenate([output[key] for item in items for output in item.outputs]).astype(dtype)
    if len(owner_S) == len(items):
        return values_SX
    result_BX = np.zeros((len(items), values_SX.shape[1]), dtype)
    np.add.at(result_BX, owner_S, values_SX * share_S[:, None])
    return result_BX
