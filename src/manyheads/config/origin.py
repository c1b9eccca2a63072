"""Where the settings of a run come from, and readable messages about errors in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from manyheads.config.data_section import YAML
from manyheads.config.schema import Run
from manyheads.config.section import Section
from manyheads.config.task_section import section_of
from manyheads.tasks import TASK_TYPES
from manyheads.text.values import did_you_mean

Place = tuple[str | int, ...]
"""Keys from the top of the run file down to a value."""
MAX_ERRORS = 20
"""Errors reported at once."""
MAX_SHOWN = 200
"""Characters of a value that an error message quotes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the settings of a run come from, for error messages."""

    name: str
    lines: dict[Place, str]
    """`file:line` of each key; empty for a run given from Python."""
    context: Mapping[str, bool] | None
    """For validators."""

    def place(self, place: Place) -> str:
        """Where a key is, or else the nearest key above it."""
        whole = f"{self.name}:1" if self.context == YAML else self.name
        return next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), whole)


def messages(error: ValidationError, values: Any, origin: Origin) -> list[str]:
    """Readable errors, one for each place in the file, unknown keys first."""
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    found: dict[Place, str] = {}
    for problem in problems:  # a union gives an error for each of its types
        found.setdefault(_real_place(problem["loc"], values), _message(problem, values, origin))
    # If one type of a union reports an error inside a value, drop what the others report about the value as a whole.
    messages = [text for place, text in found.items() if not any(_within(other, place) for other in found)]
    if len(messages) > MAX_ERRORS:
        return [*messages[:MAX_ERRORS], f"{origin.name}: {len(messages) - MAX_ERRORS} more errors"]
    return messages


def _within(place: Place, outer: Place) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _message(problem: Any, values: Any, origin: Origin) -> str:
    """One pydantic error as a readable message."""
    place = _real_place(problem["loc"], values)
    known = origin.place(place)
    dotted = ".".join(str(part)[:MAX_SHOWN] for part in place)
    if problem["type"] == "extra_forbidden":
        keys = _known_keys(place[:-1], values)
        near = _elsewhere(str(place[-1])) or did_you_mean(str(place[-1]), keys)
        return f"{known}: unknown key '{dotted}'{near} (known here: {', '.join(keys)})"
    if problem["type"] == "union_tag_invalid":
        kinds = problem["ctx"]["expected_tags"].replace("'", "")
        kind = problem["ctx"]["tag"]
        near = did_you_mean(kind, kinds.split(", "))
        return f"{known}: {dotted} has type {kind[:MAX_SHOWN]!r}{near}{' T' if near else '; t'}he types are {kinds}"
    if problem["type"] == "union_tag_not_found":
        return f"{known}: {dotted} has no 'type'; the types are {', '.join(TASK_TYPES)}"
    if problem["type"] == "missing":
        return f"{known}: {dotted} is missing"
    seen = problem.get("input")
    shown = f", seen {seen!r:.{MAX_SHOWN}}" if isinstance(seen, str | int | float | bool | None) else ""
    message = problem["msg"].removeprefix("Value error, ")
    return f"{known}: {dotted}: {message[0].lower() + message[1:1000]}{shown}"


def _real_place(location: tuple[int | str, ...], values: Any) -> Place:
    """Pydantic's location without the names of union members, which are not keys of the file."""
    place: list[str | int] = []
    inner = values
    for i, part in enumerate(location):
        if isinstance(inner, dict) and (part in inner or i == len(location) - 1):
            place.append(part)
            inner = inner.get(part)
        elif isinstance(inner, list) and isinstance(part, int) and part < len(inner):
            place.append(part)
            inner = inner[part]
    return tuple(place)


def _known_keys(place: Place, values: Any) -> list[str]:
    """Keys allowed at a place in the file."""
    model: type[BaseModel] = Run
    inner = values
    for depth, part in enumerate(place):
        inner = inner.get(part) if isinstance(inner, dict) else None
        if depth == 1 and place[0] == "tasks" and isinstance(inner, dict):
            model = section_of(inner["type"])
            continue
        field = model.model_fields.get(str(part))
        section = next((s for s in _sections(field.annotation) if field), None) if field else None
        model = section or model
    return list(model.model_fields)


def _elsewhere(key: str) -> str:
    """A section that has the key, as a question to append to a message; empty if none has it."""
    for name, field in Run.model_fields.items():
        if name != "tasks" and any(key in section.model_fields for section in _sections(field.annotation)):
            return f"; did you mean '{name}.{key}'?"
    return ""


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in getattr(annotation, "__args__", ()) for section in _sections(part)]
