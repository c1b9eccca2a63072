"""Settings of a task that knows its labels by their descriptions, and what becomes of them when labels change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from manyheads.errors import DataError, UsageError
from manyheads.tasks.base import Array, DataStatistics, EncoderInput, Task
from manyheads.tasks.by_name.store import LabelStore
from manyheads.tasks.settings import DERIVED, HELD, NAMES, Doc
from manyheads.text.pack import Source

if TYPE_CHECKING:
    from typing import Self

MOST_CHARACTERS = 1000
"""Of a description; a model folder holds no longer text."""
ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True, kw_only=True)
class NamedLabels(Task[ExampleT]):
    """A task that compares texts, or parts of them, with the description of each label."""

    takes_labels: ClassVar[bool] = True
    vector_output: ClassVar[str]
    """The head's output for a sequence that stands for a description."""

    descriptions: Annotated[
        dict[str, str], NAMES, Doc("each label in words; without one, its name, with spaces for underscores")
    ] = field(default_factory=dict)
    label_texts: Annotated[tuple[str, ...], DERIVED] = ()
    """What is encoded for each label; empty until the task is fitted."""
    vector_KD: Annotated[Array | None, HELD] = field(default=None, repr=False, compare=False)
    """Of the labels, of length 1; None until they are encoded."""

    def __post_init__(self) -> None:
        """Raises ValueError for descriptions that are empty or too long."""
        after = getattr(super(), "__post_init__", None)  # of the task type, which may check its own settings
        if after is not None:
            after()
        for label, text in self.descriptions.items():
            if not text.strip():
                raise ValueError(f"descriptions: that of {label!r} is empty; describe the label, or leave it out")
            if len(text) > MOST_CHARACTERS:
                raise ValueError(f"descriptions: that of {label!r} has {len(text):,} characters; at most "
                                 f"{MOST_CHARACTERS:,} are read")  # fmt: skip

    @property
    def store(self) -> LabelStore[ExampleT]:
        """The vectors of the labels."""
        return LabelStore(self)

    def description(self, label: int) -> EncoderInput:
        """What the encoder reads for a label. It does not depend on settings for texts: others are given with these."""
        return EncoderInput(Source(self.label_texts[label]))

    def with_texts(self) -> Self:
        """A fitted task with the texts of its labels. Raises DataError."""
        if unknown := sorted(set(self.descriptions) - set(self.label_names)):
            raise DataError(f"task '{self.name}': descriptions has {unknown[0]!r}; labels are {', '.join(self.label_names)}; "
                            "correct it, or leave it out, as other labels are given with the texts")  # fmt: skip
        changes: dict[str, Any] = {}
        try:
            changes["label_texts"] = described(self.label_names, self.descriptions)
        except UsageError as error:
            raise DataError(f"task '{self.name}': {error}") from None
        return replace(self, **changes)

    def fit_from(self, before: Task[ExampleT], statistics: DataStatistics) -> Self:
        """With the labels that the task had, and their descriptions where the run gives no other."""
        assert isinstance(before, NamedLabels), "the same task"
        kept = {label: text for label, text in before.descriptions.items() if label in before.label_names}
        changes: dict[str, Any] = {"descriptions": {**kept, **self.descriptions}}
        fitted = super(NamedLabels, replace(self, **changes)).fit_from(before, statistics)
        assert isinstance(fitted, type(self)), "the same task"
        return fitted

    def described_as_before(self, before: NamedLabels[ExampleT]) -> Self:
        """For a task whose labels have changed: without the descriptions and vectors of labels that are gone."""
        kept = {label: text for label, text in before.descriptions.items() if label in self.label_names}
        changes: dict[str, Any] = {
            "descriptions": kept, "label_texts": described(self.label_names, kept), "vector_KD": None,
        }  # fmt: skip
        return replace(self, **changes)

    def texts_of(self, labels: Mapping[str, str | None]) -> tuple[str, ...]:
        """What is encoded for labels that are given with texts: a description, that of a known label, or the name.

        Raises UsageError for labels with the same text.
        """
        known = dict(zip(self.label_names, self.label_texts, strict=True))
        given = {label: text if text is not None else known.get(label) for label, text in labels.items()}
        return described(tuple(given), {label: text for label, text in given.items() if text is not None})


def described(labels: Sequence[str], descriptions: Mapping[str, str]) -> tuple[str, ...]:
    """What is encoded for each label: its description, or its name. Raises UsageError for labels with the same text.

    >>> described(["card_lost", "refund"], {"refund": "the customer wants money back"})
    ('card lost', 'the customer wants money back')
    """
    texts = tuple(descriptions.get(label) or label.replace("_", " ").strip() or label for label in labels)
    for k, text in enumerate(texts):
        if text in texts[:k]:
            raise UsageError(f"labels {labels[texts.index(text)]!r} and {labels[k]!r} both read {text!r}; describe them "
                             "differently")  # fmt: skip
    return texts
