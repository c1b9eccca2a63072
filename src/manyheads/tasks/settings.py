"""What the fields of a task class say of themselves, beside type and default, in `Annotated`.

Bounds are those of `annotated_types` (`Ge(0)`). A field is a key of the run file, under its name, unless it is SETTLED. What
settings have to do with one another is checked in `__post_init__`, by a ValueError. The section of the run file, its schema,
and what a model folder may say of a task follow from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import lru_cache
from inspect import get_annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Lt

if TYPE_CHECKING:
    from manyheads.tasks.base import Task


class Mark(Enum):
    """What else can be said of a field."""

    SETTLED = "from data, by the encoder or on validation data; it is no key of the run file"
    NAMES = "texts that differ (of a mapping: keys), and that YAML may take for whole numbers"


SETTLED = Mark.SETTLED
NAMES = Mark.NAMES


@dataclass(frozen=True, slots=True)
class Doc:
    """What a key of the run file is, for its schema."""

    text: str


Dropout = Annotated[float, Ge(0), Lt(1), Doc("in the head")]
Stride = Annotated[int, Ge(0), Doc("tokens by which windows overlap")]
Pooling = Annotated[Literal["mean", "cls"], Doc("mean of the tokens, or cls, the first one")]


@lru_cache
def declared(cls: type[Task[Any]]) -> dict[str, Any]:
    """The type of each setting of a task class, with what its field says of itself."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def said(hint: Any) -> tuple[Any, ...]:
    """What stands beside a type in `Annotated`."""
    return getattr(hint, "__metadata__", ())


def described(task: Task[Any]) -> dict[str, Any]:
    """A task's settings as JSON: those of every task, of its own class, and of other classes that it is made of."""
    from manyheads.tasks.base import Task

    names = dict.fromkeys(name for cls in (Task, *type(task).__mro__) for name in get_annotations(cls))
    return {name: _plain(getattr(task, name)) for name in names if name in declared(type(task))}


def frozen(value: Any) -> Any:
    """A setting as a task has it, from JSON or YAML: tuples for lists."""
    if isinstance(value, Mapping):
        return {key: frozen(part) for key, part in value.items()}
    if isinstance(value, Mapping):
        return {key: frozen(part) for key, part in value.items()}
    return tuple(map(frozen, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
