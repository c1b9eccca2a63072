"""Vectors of labels in words: encoded with the head, kept in the model folder, and compared with texts in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from manyheads.metrics.vectors import unit_rows
from manyheads.tasks.base import Array, EncoderInput, Item
from manyheads.tasks.inputs import merge_outputs
from manyheads.tasks.store import OwnFile, Store
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.text.pack import Source

if TYPE_CHECKING:
    from manyheads.tasks.text_classification.by_name_task import ClassificationByName

KEY = "label.vectors"


@dataclass(frozen=True, slots=True)
class LabelStore(Store[LabelledText]):
    """The vectors of one task's labels."""

    task: ClassificationByName

    def read(self, open_file: Callable[[str], OwnFile]) -> ClassificationByName:
        """The same task: descriptions are settings."""
        return self.task

    @property
    def digest(self) -> str:
        """Nothing is read."""
        return ""

    def inputs(self, examples: Sequence[LabelledText] | None) -> Sequence[EncoderInput]:
        """The description of every label."""
        return [EncoderInput(Source(text, stride=self.task.stride)) for text in self.task.label_texts]

    def rows(self, items: Sequence[Item]) -> Array:
        """Vectors of length 1."""
        return unit_vectors(items)

    def with_rows(self, inputs: Sequence[EncoderInput], rows_NX: Array) -> ClassificationByName:
        """With the vectors of the labels, in their order."""
        return replace(self.task, vector_KD=rows_NX)

    def arrays(self) -> Mapping[str, Array]:
        """The vectors, `(K, D)` float32."""
        return {} if self.task.vector_KD is None else {KEY: self.task.vector_KD}

    def with_arrays(self, arrays: Mapping[str, Array]) -> ClassificationByName:
        """Raises ValueError for vectors that are not those of the labels."""
        vector_KD, labels = arrays.get(KEY), len(self.task.labels)
        if vector_KD is None or vector_KD.ndim != 2 or vector_KD.dtype != np.float32 or len(vector_KD) != labels:
            raise ValueError(f"has no vectors of {labels:,} labels")
        if not np.isfinite(vector_KD).all():
            raise ValueError("has vectors of labels that are not finite")
        return replace(self.task, vector_KD=vector_KD)


def unit_vectors(items: Sequence[Item]) -> Array:
    """The head's vectors of some texts, of length 1, `(N, D)` float32."""
    return unit_rows(merge_outputs(items, "vector_SD", np.float32))
