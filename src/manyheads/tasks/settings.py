"""Annotations of the fields of a task class: bounds, descriptions and marks, in `Annotated` beside the type.

Bounds are those of `annotated_types` (`Ge(0)`). A field is a key of the run file under its own name, unless it is DERIVED.
Constraints between settings are checked in `__post_init__`, which raises ValueError. The section of the run file, its
schema, and the checks of a model folder follow from these annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Lt

if TYPE_CHECKING:
    from manyheads.tasks.base import Task


class Mark(Enum):
    """Marks of fields."""

    DERIVED = "from data, from the encoder or on validation data; not a key of the run file"
    NAMES = "distinct strings (of a mapping: keys), which YAML may have parsed as whole numbers"
    PATH = "the path of a file, relative to the run file"
    HELD = "part of the task's store (`tasks/store.py`), not a setting"


DERIVED = Mark.DERIVED
NAMES = Mark.NAMES
PATH = Mark.PATH
HELD = Mark.HELD


@dataclass(frozen=True, slots=True)
class Doc:
    """Description of a key of the run file, for its schema."""

    text: str


Dropout = Annotated[float, Ge(0), Lt(1), Doc("in the head")]
Stride = Annotated[int, Ge(0), Doc("tokens by which windows overlap")]
Pooling = Annotated[Literal["mean", "cls"], Doc("mean of the tokens, or cls, the first one")]


@lru_cache
def setting_types(cls: type[Task[Any]]) -> dict[str, Any]:
    """The annotated type of each setting of a task class."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls) if HELD not in annotations_of(hints[field.name])}


def annotations_of(hint: Any) -> tuple[Any, ...]:
    """Annotations beside a type in `Annotated`.

    >>> annotations_of(Annotated[int, NAMES])
    (<Mark.NAMES: 'distinct strings (of a mapping: keys), which YAML may have parsed as whole numbers'>,)
    """
    return getattr(hint, "__metadata__", ())


def derived_settings(task: Task[Any]) -> dict[str, Any]:
    """The settings of a trained task that come from its data or were tuned."""
    return {name: getattr(task, name) for name, hint in setting_types(type(task)).items() if DERIVED in annotations_of(hint)}


def with_tuples(value: Any) -> Any:
    """A value from JSON or YAML as a task holds it: with tuples for lists.

    >>> with_tuples({"labels": ["a", "b"]})
    {'labels': ('a', 'b')}
    """
    if isinstance(value, Mapping):
        return {key: with_tuples(part) for key, part in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list) else value


def without_tuples(value: Any) -> Any:
    """The inverse of `with_tuples`: a setting as JSON."""
    if isinstance(value, Mapping):
        return {key: without_tuples(part) for key, part in value.items()}
    return [without_tuples(part) for part in value] if isinstance(value, tuple) else value
