"""Settings accepted without pydantic are exactly such that pydantic accepts."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import TypeAdapter, ValidationError

from manyheads.bundle.setting_values import has_type, is_plainly
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.settings import setting_types

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 10**30, 0.0, 0.5, 1.0, -0.5, float("nan"), float("inf"), "", "auto", "mean", "cls", "text",
    "crf", "a", "1", [], ["a"], ["a", "b"], ["a", 1], [1], [0], [0.5, 1], [0.5, "a"], [["a", "b"]], [["a", "b", "c", 1]], {},
    {"a": "b"}, {"a": 1}, {"a": -1}, {"a": [0.1, 1]}, {"a": [0.1]}, {"a": None}, [None], [[]],
]  # fmt: skip
HINTS: dict[str, Any] = {
    f"{cls.__name__}.{name}": hint
    for kind in TASK_TYPES
    for cls in TASK_TYPES.classes(kind)
    for name, hint in setting_types(cls).items()
}
OTHER: list[Any] = [Annotated[int | None, Gt(0), Le(3)], Annotated[float, Ge(0), Lt(1)], Annotated[str, MinLen(2)],
                    list[int], float | bool, tuple[()], bytes]  # fmt: skip


def valid(value: Any, hint: Any) -> bool:
    try:
        TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("hint", [*HINTS.values(), *OTHER], ids=[*HINTS, *map(str, OTHER)])
def test_every_type_takes_what_pydantic_takes(hint: Any) -> None:
    for value in VALUES:
        assert has_type(value, hint) == valid(value, hint), value
        assert not is_plainly(value, hint) or valid(value, hint), value


@pytest.mark.parametrize("kind", TASK_TYPES)
def test_the_defaults_of_every_task_type_are_accepted_without_pydantic(kind: str) -> None:
    from manyheads.tasks.settings import without_tuples

    for cls in TASK_TYPES.classes(kind):
        for name, hint in setting_types(cls).items():
            default = cls.__dataclass_fields__[name].default
            if isinstance(default, str | int | float | tuple | None):
                assert is_plainly(without_tuples(default), hint), f"{cls.__name__}.{name}: {default!r}"


def test_a_type_that_only_pydantic_knows_is_left_to_it() -> None:
    assert not is_plainly("ab", Annotated[str, MinLen(2)])
    assert has_type("ab", Annotated[str, MinLen(2)])
    assert not has_type("a", Annotated[str, MinLen(2)])
