"""Reading a run file: YAML with line numbers, so that every complaint names `file:line`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from manyheads.config.schema import Run
from manyheads.config.section import Section
from manyheads.errors import ConfigError

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class RunFile:
    """A checked run file and where it stands."""

    run: Run
    path: Path

    def resolve(self, path: str) -> Path:
        """A path of the run file: relative ones start at its folder."""
        return (self.path.parent / Path(path).expanduser()).resolve()


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunFile:
    """Read and check a run file; `overrides` are `KEY=VALUE` with dotted keys. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such run file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; give the YAML file in it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return RunFile(parse_run(text, str(path), overrides), path.resolve())


def parse_run(text: str, name: str, overrides: Sequence[str] = ()) -> Run:
    """Check the text of a run file called `name`. Raises ConfigError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: this is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: this is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{name}:1: a run file is a mapping with the keys {', '.join(Run.model_fields)}")
    lines = _lines(node, name)
    for override in overrides:
        _override(values, override, lines)
    try:
        return Run.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_sentence(error, values, lines, name)) from None


def _override(values: dict[str, Any], override: str, lines: dict[Place, str]) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write KEY=VALUE, for example --set training.epochs=2")
    *parents, last = key.split(".")
    inner: Any = values
    for parent in parents:
        inner = inner.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: '{parent}' is a value, not a mapping")
    try:
        inner[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value is not YAML") from None
    lines[tuple(key.split("."))] = f"--set {override}"


def _lines(node: yaml.Node | None, name: str) -> dict[Place, str]:
    """`file:line` of every key and item. Raises ConfigError for a key that stands twice in one mapping."""
    found: dict[Place, str] = {}
    seen: set[int] = set()

    def walk(node: yaml.Node, place: Place) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                here = f"{name}:{key.start_mark.line + 1}"
                if key.value in keys:
                    raise ConfigError(f"{here}: the key '{key.value}' stands twice in this mapping; keep one")
                keys.add(key.value)
                found[(*place, key.value)] = here
                walk(value, (*place, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                found[(*place, i)] = f"{name}:{value.start_mark.line + 1}"
                walk(value, (*place, i))

    if node is not None:
        walk(node, ())
    return found


def _sentence(error: ValidationError, values: Any, lines: dict[Place, str], name: str) -> str:
    """The most telling of pydantic's complaints, in our words."""
    problems = error.errors(include_url=False)
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = _real_place(problem["loc"], values)
    known = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), f"{name}:1")
    dotted = ".".join(map(str, place))
    if problem["type"] == "extra_forbidden":
        keys = _known_keys(place[:-1], values)
        near = difflib.get_close_matches(str(place[-1]), keys, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"{known}: unknown key '{dotted}'{hint} (known here: {', '.join(keys)})"
    if problem["type"] == "union_tag_invalid":
        kinds = problem["ctx"]["expected_tags"].replace("'", "")
        return f"{known}: {dotted} has type {problem['ctx']['tag']!r}; the types are {kinds}"
    if problem["type"] == "union_tag_not_found":
        return f"{known}: {dotted} has no 'type'; say which kind of task it is"
    if problem["type"] == "missing":
        return f"{known}: {dotted} is missing"
    seen = problem.get("input")
    shown = f", seen {seen!r}" if isinstance(seen, str | int | float | bool | None) else ""
    message = problem["msg"].removeprefix("Value error, ")
    return f"{known}: {dotted}: {message[0].lower() + message[1:]}{shown}"


def _real_place(location: tuple[int | str, ...], values: Any) -> Place:
    """Pydantic's location without the names of union members, which are no keys of the file."""
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
    """Keys that may stand at a place of the file."""
    model: type[BaseModel] = Run
    inner = values
    for part in place:
        inner = inner.get(part) if isinstance(inner, dict) else None
        if place[:1] == ("tasks",) and part == place[1] and len(place) > 1 and isinstance(inner, dict):
            model = _task_section(inner.get("type")) or model
            continue
        field = model.model_fields.get(str(part))
        section = next((s for s in _sections(field.annotation) if field), None) if field else None
        model = section or model
    return list(model.model_fields)


def _task_section(kind: Any) -> type[Section] | None:
    for section in _sections(Run.model_fields["tasks"].annotation):
        if "type" in section.model_fields and kind in getattr(section.model_fields["type"].annotation, "__args__", ()):
            return section
    return None


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in getattr(annotation, "__args__", ()) for section in _sections(part)]
