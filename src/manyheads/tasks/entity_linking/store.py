"""The dictionary as the store of its task: read from the run's file, encoded with the head, kept in the model folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, EncoderInput, Item
from manyheads.tasks.entity_linking.dictionary import Dictionary
from manyheads.tasks.entity_linking.mentions import name_vectors
from manyheads.tasks.entity_linking.terms import read_terms
from manyheads.tasks.spans import SpanExample
from manyheads.tasks.store import OwnFile, Store
from manyheads.text.pack import Source

if TYPE_CHECKING:
    from manyheads.tasks.entity_linking.task import EntityLinking

FEW = 4096
"""Names that are encoded for every evaluation in training; of more, those that its mentions resemble and as many others."""


@dataclass(frozen=True, slots=True)
class DictionaryStore(Store[SpanExample]):
    """The dictionary of one task."""

    task: EntityLinking

    def read(self, open_file: Callable[[str], OwnFile]) -> EntityLinking:
        """The concepts of `terms`."""
        file = open_file(self.task.terms)
        return replace(self.task, dictionary=Dictionary.of(read_terms(file.place, file.lines, tabs=file.tabs)))

    @property
    def digest(self) -> str:
        """Of identifiers, types and names."""
        return "" if self.task.dictionary is None else self.task.dictionary.digest

    def inputs(self, examples: Sequence[SpanExample] | None) -> Sequence[EncoderInput]:
        """Names; in training, of a large dictionary a part."""
        dictionary = self.task.dictionary
        if dictionary is None:
            return []
        names = dictionary.names.all()
        if examples is not None and len(names) > FEW:
            names = [names[name] for name in self._needed(dictionary, examples)]
        return [EncoderInput(Source(name, stride=self.task.stride)) for name in dict.fromkeys(names)]

    def _needed(self, dictionary: Dictionary, examples: Sequence[SpanExample]) -> list[int]:
        spans = [(example.text, one) for example in examples for one in example.spans if one.label in self.task.types]
        found = {name for text, one in spans for name in dictionary.spelled(text[one.start : one.end]).tolist()}
        gold = {name for _, one in spans for concept in dictionary.places(one.links) for name in dictionary.names_of(concept)}
        others = np.random.default_rng(len(dictionary.names)).permutation(len(dictionary.names))[:FEW].tolist()
        return sorted({*found, *gold, *others})

    def rows(self, items: Sequence[Item]) -> Array:
        """Vectors of names."""
        return name_vectors(items)

    def with_rows(self, inputs: Sequence[EncoderInput], rows_NX: Array) -> EntityLinking:
        """With the vectors of these names."""
        assert self.task.dictionary is not None, "its names were encoded"
        texts = [entry.source.first for entry in inputs]
        return replace(self.task, dictionary=self.task.dictionary.with_vectors(texts, rows_NX))

    def arrays(self) -> Mapping[str, Array]:
        """The dictionary with its index."""
        return {} if self.task.dictionary is None else self.task.dictionary.arrays()

    def with_arrays(self, arrays: Mapping[str, Array]) -> EntityLinking:
        """Raises ValueError."""
        return replace(self.task, dictionary=Dictionary.from_arrays(arrays))
