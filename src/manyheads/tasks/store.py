"""What a task answers with besides its settings and weights: a dictionary whose names are encoded.

A store comes from files that the task's settings name. Where answers need the head's outputs for texts of its own, these are
computed with the weights of the moment: before each evaluation, and before the model is saved. The model folder keeps the
store as named arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from manyheads.tasks.inputs import Array, EncoderInput, Item

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file that a task's settings name."""

    place: str
    """Its path, for messages."""
    lines: Iterable[str]
    tabs: bool
    """Whether its name says that tabs separate its columns."""


class Store(ABC, Generic[ExampleT]):
    """The store of one task. Methods return the task with another store; none changes it."""

    @abstractmethod
    def read(self, open_file: Callable[[str], OwnFile]) -> Task[Any]:
        """The task with the files that its settings name, opened by path. Raises DataError with file and line."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """A sha256 of what was read."""

    @abstractmethod
    def inputs(self, examples: Sequence[ExampleT] | None) -> Sequence[EncoderInput]:
        """Texts whose outputs answers need, each once: all of them, or those that answers about some examples need."""

    @abstractmethod
    def rows(self, items: Sequence[Item]) -> Array:
        """What is kept of the outputs for some of these texts, `(N, X)`."""

    @abstractmethod
    def with_rows(self, inputs: Sequence[EncoderInput], rows_NX: Array) -> Task[Any]:
        """The task with what is kept for these texts, in place of what it had."""

    @abstractmethod
    def arrays(self) -> Mapping[str, Array]:
        """Everything, for the model folder."""

    @abstractmethod
    def with_arrays(self, arrays: Mapping[str, Array]) -> Task[Any]:
        """The task with a store from a model folder; the arrays may lie on disk. Raises ValueError for damaged ones."""
