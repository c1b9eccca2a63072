"""What a head decides about a text as probability distributions: to choose rows to label, and to find wrong labels.

A choice is one decision with alternatives: the label of a text, whether a label applies, the tag of a word, the place where
an answer starts. U choices of one text with K alternatives are an array `(U, K)` whose rows add up to 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from manyheads.tasks.inputs import Array, Item

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True, slots=True)
class Judged(Generic[ExampleT]):
    """A labelled example and what a head that was not trained on it says."""

    example: ExampleT
    item: Item
    chance_UK: Array
    """Probabilities of the alternatives of each choice."""
    gold_U: Array
    """The alternative that the example's labels chose."""
    suspected_U: Array
    """Whether confident learning takes the label of a choice for wrong."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A gold label, how probable it is, and what the head would have given."""

    quality: float
    """Probability that the gold label is right, 0 to 1."""
    kind: str
    """`wrong label`, `wrong boundary`, `missed`, `spurious`; empty where the head agrees."""
    gold: Any
    """As JSON; None for a label that is missing."""
    suggestion: Any
    """As JSON; None for a label to remove."""
    probabilities: dict[str, float]
    """Of the labels in question."""
    suspected: bool
    """Whether confident learning takes it for wrong."""
    span: tuple[int, int] | None = None
    """The part of the text that is meant, in code points; None for the whole."""


class Choices(ABC, Generic[ExampleT]):
    """The choices of one task."""

    reviews: ClassVar[bool] = False
    """Whether gold labels can be judged, by `gold` and `doubts`."""

    needs_trained_encoder: ClassVar[bool] = False
    """Whether a head on an encoder that has not learned the task judges no better than chance."""

    @property
    def separate(self) -> bool:
        """Whether every example has the same number of choices, which are different questions (does label A apply, ...)."""
        return False

    @abstractmethod
    def probabilities(self, items: Sequence[Item]) -> list[Array]:
        """The choices about each item, `(U, K)`; U and K may differ from item to item."""

    @abstractmethod
    def describe(self, item: Item, chance_K: Array, choice: int) -> str:
        """What one choice about an item is between, with probabilities: `RESULTS 0.41 or METHODS 0.38`."""

    def compared(self, example: ExampleT, item: Item) -> Array:
        """The choices that labels are compared with, `(U, K)`, the same K for all examples; those of `probabilities`."""
        (chance_UK,) = self.probabilities([item])
        return chance_UK

    def text(self, example: ExampleT) -> str:
        """The text of an example that offsets of doubts count in, with its second one after it."""
        shown: Any = example
        pair = getattr(shown, "pair", None)
        return str(shown.text) if pair is None else f"{shown.text} ∥ {pair}"

    def refitted_as(self) -> Task[ExampleT] | None:
        """The task as whose head it is refitted to judge labels; None: itself."""
        return None

    def gold(self, example: ExampleT, item: Item) -> Array:
        """The alternative chosen by the labels of an example in each choice, `(U,)`."""
        raise NotImplementedError

    def doubts(self, judged: Judged[ExampleT]) -> list[Doubt]:
        """Each gold label of an example, and labels that it may lack, with their probabilities."""
        raise NotImplementedError


def likeliest(chance_K: Array, names: Sequence[str], most: int = 2) -> str:
    """The likeliest alternatives with their probabilities.

    >>> likeliest(np.array([0.2, 0.7, 0.1]), ["A", "B", "C"])
    'B 0.70 or A 0.20'
    """
    order = np.argsort(-chance_K, kind="stable")[:most]
    return " or ".join(f"{names[k]} {chance_K[k]:.2f}" for k in order.tolist())
