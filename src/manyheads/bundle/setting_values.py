"""Whether a setting in a manifest has the type that its task declares.

Pydantic decides, as for run files. Decided here: plain values of plain types are accepted without it, because importing it
and building its validators takes a tenth of an export's cold start. What is not surely valid is left to it.
"""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from manyheads.tasks.settings import Doc, Mark


def has_type(value: Any, hint: Any) -> bool:
    """Whether a value of JSON has a type, strictly: `1` is no bool and no str, but a float; a list is a tuple.

    >>> has_type(["a", "b"], tuple[str, ...]), has_type(True, int)
    (True, False)
    """
    if is_plainly(value, hint):
        return True
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(hint).validate_json(json.dumps(value), strict=True)  # as JSON, where a tuple is a list
    except ValidationError:
        return False
    return True


def is_plainly(value: Any, hint: Any) -> bool:
    """Whether a value surely has a type; False also for what only pydantic can tell."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return is_plainly(value, parts[0]) and all(_keeps(value, bound) for bound in parts[1:])
    if origin in (Union, UnionType):
        return any(is_plainly(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin in (dict, tuple):
        return _holds(value, origin, parts)
    if hint is float:
        return type(value) in (float, int)
    return type(value) is hint if hint in (bool, int, str) else hint is NoneType and value is None


def _holds(value: Any, origin: type, parts: tuple[Any, ...]) -> bool:
    """Whether a value is a mapping or a list whose items plainly have their types."""
    if origin is dict:
        return type(value) is dict and all(
            is_plainly(k, parts[0]) and is_plainly(v, parts[1]) for k, v in value.items()
        )
    if type(value) is not list:
        return False
    parts = parts[:1] * len(value) if parts[1:] == (...,) else parts
    return len(parts) == len(value) and all(map(is_plainly, value, parts))


def _keeps(value: Any, bound: Any) -> bool:
    """Whether a value keeps to an annotation; None has no bounds."""
    match bound:
        case Doc() | Mark():
            return True
        case Ge(ge=least):
            return value is None or bool(value >= least)
        case Gt(gt=below):
            return value is None or bool(value > below)
        case Le(le=most):
            return value is None or bool(value <= most)
        case Lt(lt=above):
            return value is None or bool(value < above)
    return False
