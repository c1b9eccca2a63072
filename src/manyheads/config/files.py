"""Reads run files: YAML with line numbers, so that every error message starts with `file:line`.

Decided here: run files are untrusted input. Only plain YAML is accepted: tags construct nothing but text, numbers, lists and
mappings. Input that is small on disk but large in memory (nested aliases, numbers of thousands of digits) is refused as a
tree of nodes, before values are constructed; merge keys count as their expansion.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from manyheads.config.schema import Run, section_of
from manyheads.config.section import Section
from manyheads.errors import ConfigError
from manyheads.tasks import TASK_TYPES
from manyheads.text.untrusted_files import checked_size

Place = tuple[str | int, ...]

MAX_BYTES = 1 << 20
"""Size of a run file: enough for 30,000 labels. PyYAML reads about 300,000 bytes per second."""
MAX_NODES = 100_000
"""Keys and values, with aliases expanded."""
MAX_VALUE_CHARACTERS = 4096
"""The longest path on Linux."""
MAX_DIGITS = 64
MAX_ERRORS = 20
"""Errors reported at once."""
MAX_SHOWN = 200
"""Characters of a value that an error message quotes."""


@dataclass(frozen=True, slots=True)
class RunFile:
    """A checked run file and its path."""

    run: Run
    path: Path

    def resolve(self, path: str) -> Path:
        """The absolute path of a path in the run file, relative to the folder of the run file. Raises ConfigError."""
        try:
            return (self.path.parent / Path(path).expanduser()).resolve()
        except RuntimeError as error:  # unknown ~user, or a loop of links
            raise ConfigError(f"{self.path}: the path {path!r} cannot be resolved ({error})") from None

    def display_path(self, path: str) -> Path:
        """A path in the run file, for messages: relative to the working folder if it is inside it. Raises ConfigError."""
        resolved = self.resolve(path)
        return resolved.relative_to(Path.cwd()) if resolved.is_relative_to(Path.cwd()) else resolved


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunFile:
    """Read and check a run file; `overrides` are `KEY=VALUE` with dotted keys. Raises ConfigError."""
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; give the YAML file in it")
        checked_size(path, MAX_BYTES)
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such run file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from None
    return RunFile(parse_run(text, str(path), overrides), path.resolve())


def as_given(run: Run) -> dict[str, Any]:
    """The settings of a run as JSON values, without defaults.

    Settings of `training` that the user wrote are kept even if equal to the default: without them the recipe would decide.
    """
    values: dict[str, Any] = run.model_dump(mode="json", exclude_defaults=True)
    written = run.training.model_dump(mode="json", exclude_unset=True)
    return {**values, "training": written} if written else values


def parse_run(text: str, name: str, overrides: Sequence[str] = ()) -> Run:
    """Check the text of a run file called `name`. Raises ConfigError."""
    node, values = _read(text, name)
    if not isinstance(values, dict):
        raise ConfigError(f"{name}:1: a run file is a mapping with the keys {', '.join(Run.model_fields)}")
    lines, duplicates = _lines(node, name)
    for override in overrides:
        _override(values, override, lines)
    try:
        run = Run.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join([*duplicates, *_messages(error, values, lines, name)])) from None
    if duplicates:
        raise ConfigError("\n".join(duplicates))
    return run


def _read(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """The nodes and the value of a YAML text. Raises ConfigError."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _check_nodes(loader, node, name)
        return node, loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: invalid YAML: {str(error.problem)[:MAX_SHOWN]}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: invalid YAML: {str(error).splitlines()[0][:MAX_SHOWN]}") from None
    except RecursionError:
        raise ConfigError(f"{name}: lists and mappings are nested too deeply; a run file has at most five levels") from None


def _check_nodes(loader: yaml.SafeLoader, root: yaml.Node, name: str) -> None:
    """Raise ConfigError for invalid scalars, aliases that contain themselves, and alias bombs."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        """Number of nodes in this subtree, with aliases expanded."""
        here = f"{name}:{node.start_mark.line + 1}"
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise ConfigError(f"{here}: an alias is inside the value it refers to; write the value out")
            return known
        sizes[id(node)] = None
        total = 1
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(loader, node, here)
        else:
            pairs = isinstance(node, yaml.MappingNode)
            children = [part for pair in node.value for part in pair] if pairs else node.value
            total += sum(size(child) for child in children)
        if total > MAX_NODES:
            raise ConfigError(
                f"{here}: more than {MAX_NODES:,} values with aliases expanded; a run file has hundreds"
            )
        sizes[id(node)] = total
        return total

    size(root)


def _check_scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode, here: str) -> None:
    """Raise ConfigError for a value that is too long, has invalid characters, or does not match its type or tag."""
    value, kind = node.value, node.tag.rpartition(":")[2]
    if len(value) > MAX_VALUE_CHARACTERS or (kind in ("int", "float") and len(value) > MAX_DIGITS):
        raise ConfigError(f"{here}: a value of {len(value):,} characters ({value[:20]}...); shorten it")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(
            f"{here}: {value[:MAX_SHOWN]!r} contains an invalid character (NUL or a lone surrogate)"
        )
    if kind in ("int", "float", "bool", "timestamp"):
        try:
            made = loader.construct_object(node)
        except (ValueError, KeyError, OverflowError):
            raise ConfigError(f"{here}: {value[:MAX_SHOWN]!r} is not a valid {kind}; correct it, or quote it") from None
        if kind == "int" and abs(made) >= 1 << 63:
            raise ConfigError(f"{here}: {value[:MAX_SHOWN]} is too large; integers have at most 63 bits")


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
        inner[last] = _read(value, f"--set {key}")[1]
    except ConfigError:
        raise ConfigError(f"--set {override[:MAX_SHOWN]}: the value is not valid YAML") from None
    lines[tuple(key.split("."))] = f"--set {override}"


def _lines(node: yaml.Node | None, name: str) -> tuple[dict[Place, str], list[str]]:
    """`file:line` of every key and item, and an error for every duplicate key."""
    found: dict[Place, str] = {}
    duplicates: list[str] = []
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
                    duplicates.append(f"{here}: duplicate key '{key.value[:MAX_SHOWN]}'; keep one of them")
                keys.add(key.value)
                found[(*place, key.value)] = here
                walk(value, (*place, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                found[(*place, i)] = f"{name}:{value.start_mark.line + 1}"
                walk(value, (*place, i))

    if node is not None:
        walk(node, ())
    return found, duplicates[:MAX_ERRORS]


def _messages(error: ValidationError, values: Any, lines: dict[Place, str], name: str) -> list[str]:
    """Readable errors, one for each place in the file, unknown keys first."""
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    found: dict[Place, str] = {}
    for problem in problems:  # a union gives an error for each of its types
        found.setdefault(_real_place(problem["loc"], values), _message(problem, values, lines, name))
    # If one type of a union reports an error inside a value, drop what the others report about the value as a whole.
    messages = [text for place, text in found.items() if not any(_within(other, place) for other in found)]
    if len(messages) > MAX_ERRORS:
        return [*messages[:MAX_ERRORS], f"{name}: {len(messages) - MAX_ERRORS} more errors"]
    return messages


def _within(place: Place, outer: Place) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _message(problem: Any, values: Any, lines: dict[Place, str], name: str) -> str:
    """One pydantic error as a readable message."""
    place = _real_place(problem["loc"], values)
    known = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), f"{name}:1")
    dotted = ".".join(str(part)[:MAX_SHOWN] for part in place)
    if problem["type"] == "extra_forbidden":
        keys = _known_keys(place[:-1], values)
        near = difflib.get_close_matches(str(place[-1]), keys, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"{known}: unknown key '{dotted}'{hint} (known here: {', '.join(keys)})"
    if problem["type"] == "union_tag_invalid":
        kinds = problem["ctx"]["expected_tags"].replace("'", "")
        return f"{known}: {dotted} has type {problem['ctx']['tag'][:MAX_SHOWN]!r}; the types are {kinds}"
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


def _sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in getattr(annotation, "__args__", ()) for section in _sections(part)]
