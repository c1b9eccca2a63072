"""Vectors of labels in words: encoded with the head, kept in the model folder, and compared with texts in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from manyheads.metrics.vectors import unit_rows
from manyheads.tasks.base import Array, EncoderInput, Item
from manyheads.tasks.inputs import merge_outputs
from manyheads.tasks.store import OwnFile, Store

if TYPE_CHECKING:
    from manyheads.tasks.by_name.settings import NamedLabels

KEY = "label.vectors"
ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True, slots=True)
class LabelStore(Store[ExampleT]):
    """The vectors of one task's labels."""

    task: NamedLabels[ExampleT]

    def read(self, open_file: Callable[[str], OwnFile]) -> NamedLabels[ExampleT]:
        """The same task: descriptions are settings."""
        return self.task

    @property
    def digest(self) -> str:
        """Nothing is read."""
        return ""

    def inputs(self, examples: Sequence[ExampleT] | None) -> Sequence[EncoderInput]:
        """The description of every label."""
        return [self.task.description(k) for k in range(len(self.task.label_texts))]

    def rows(self, items: Sequence[Item]) -> Array:
        """Vectors of length 1."""
        return unit_vectors(items, self.task.vector_output)

    def with_rows(self, inputs: Sequence[EncoderInput], rows_NX: Array) -> NamedLabels[ExampleT]:
        """With the vectors of the labels, in their order."""
        return self._with(rows_NX)

    def arrays(self) -> Mapping[str, Array]:
        """The vectors, `(K, D)` float32."""
        return {} if self.task.vector_KD is None else {KEY: self.task.vector_KD}

    def with_arrays(self, arrays: Mapping[str, Array]) -> NamedLabels[ExampleT]:
        """Raises ValueError for vectors that are not those of the labels."""
        vector_KD, labels = arrays.get(KEY), len(self.task.label_texts)
        if vector_KD is None or vector_KD.ndim != 2 or vector_KD.dtype != np.float32 or len(vector_KD) != labels:
            raise ValueError(f"has no vectors of {labels:,} labels")
        if not np.isfinite(vector_KD).all():
            raise ValueError("has vectors of labels that are not finite")
        return self._with(vector_KD)

    def _with(self, vector_KD: Array) -> NamedLabels[ExampleT]:
        changes: dict[str, Any] = {"vector_KD": vector_KD}
        return replace(self.task, **changes)


def unit_vectors(items: Sequence[Item], output: str) -> Array:
    """A head's vectors of some texts, of length 1, `(N, D)` float32."""
    return unit_rows(merge_outputs(items, output, np.float32))
