"""Reading a run file: YAML with line numbers, so that every complaint names `file:line`.

Decided here: a run file may come from a stranger. Only plain YAML is read, no tag makes anything but text, numbers, lists
and mappings. What is small on disk and large in memory (aliases of aliases, numbers of thousands of digits) is refused while
it is still a tree of nodes; merge keys are counted as what they become.
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
from manyheads.text.plain_files import size_of

Place = tuple[str | int, ...]

MOST_BYTES = 1 << 20
"""Of a run file. 30,000 labels fit; PyYAML reads some 300,000 bytes a second."""
MOST_NODES = 100_000
"""Keys and values, with aliases written out."""
LONGEST_VALUE = 4096
"""Characters of one value: the longest path that Linux has."""
MOST_DIGITS = 64
MOST_ERRORS = 20
"""Mistakes that are told of at once."""
SHOWN = 200
"""Characters of a strange value that a message repeats."""


@dataclass(frozen=True, slots=True)
class RunFile:
    """A checked run file and where it stands."""

    run: Run
    path: Path

    def resolve(self, path: str) -> Path:
        """A path of the run file: relative ones start at its folder. Raises ConfigError."""
        try:
            return (self.path.parent / Path(path).expanduser()).resolve()
        except RuntimeError as error:  # a ~user that is none, or links in a circle
            raise ConfigError(f"{self.path}: the path {path!r} leads nowhere ({error})") from None


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunFile:
    """Read and check a run file; `overrides` are `KEY=VALUE` with dotted keys. Raises ConfigError."""
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; give the YAML file in it")
        size_of(path, MOST_BYTES)
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such run file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from None
    return RunFile(parse_run(text, str(path), overrides), path.resolve())


def as_given(run: Run) -> dict[str, Any]:
    """The settings of a run as JSON values, without those left at their defaults.

    A setting of `training` that its user wrote stays even at its default: where it is not written the recipe settles it.
    """
    values: dict[str, Any] = run.model_dump(mode="json", exclude_defaults=True)
    written = run.training.model_dump(mode="json", exclude_unset=True)
    return {**values, "training": written} if written else values


def parse_run(text: str, name: str, overrides: Sequence[str] = ()) -> Run:
    """Check the text of a run file called `name`. Raises ConfigError."""
    node, values = _read(text, name)
    if not isinstance(values, dict):
        raise ConfigError(f"{name}:1: a run file is a mapping with the keys {', '.join(Run.model_fields)}")
    lines, doubled = _lines(node, name)
    for override in overrides:
        _override(values, override, lines)
    try:
        run = Run.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join([*doubled, *_sentences(error, values, lines, name)])) from None
    if doubled:
        raise ConfigError("\n".join(doubled))
    return run


def _read(text: str, name: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a YAML text, and what they say. Raises ConfigError."""
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
        raise ConfigError(f"{name}:{line}: this is not YAML: {str(error.problem)[:SHOWN]}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: this is not YAML: {str(error).splitlines()[0][:SHOWN]}") from None
    except RecursionError:
        raise ConfigError(f"{name}: lists and mappings are nested too deeply; a run file has five levels") from None


def _check_nodes(loader: yaml.SafeLoader, root: yaml.Node, name: str) -> None:
    """Raise ConfigError for a value that is no value, for an alias that holds itself, and for bombs of aliases."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        """Nodes below this one and itself, with aliases written out."""
        here = f"{name}:{node.start_mark.line + 1}"
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise ConfigError(f"{here}: an alias stands inside of what it names; write it out")
            return known
        sizes[id(node)] = None
        total = 1
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(loader, node, here)
        else:
            pairs = isinstance(node, yaml.MappingNode)
            children = [part for pair in node.value for part in pair] if pairs else node.value
            total += sum(size(child) for child in children)
        if total > MOST_NODES:
            raise ConfigError(
                f"{here}: more than {MOST_NODES:,} values, with aliases written out; a run file has hundreds"
            )
        sizes[id(node)] = total
        return total

    size(root)


def _check_scalar(loader: yaml.SafeLoader, node: yaml.ScalarNode, here: str) -> None:
    """Raise ConfigError for a value that is too long, is no text, or is not of the type that its form or tag says."""
    value, kind = node.value, node.tag.rpartition(":")[2]
    if len(value) > LONGEST_VALUE or (kind in ("int", "float") and len(value) > MOST_DIGITS):
        raise ConfigError(f"{here}: a value of {len(value):,} characters ({value[:20]}...); give a shorter one")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(
            f"{here}: {value[:SHOWN]!r} holds a character that is none (NUL, or half of a surrogate pair)"
        )
    if kind in ("int", "float", "bool", "timestamp"):
        try:
            made = loader.construct_object(node)
        except (ValueError, KeyError, OverflowError):
            raise ConfigError(f"{here}: {value[:SHOWN]!r} is no {kind}; correct it, or put it in quotes") from None
        if kind == "int" and abs(made) >= 1 << 63:
            raise ConfigError(f"{here}: {value[:SHOWN]} is too large a number")


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
        raise ConfigError(f"--set {override[:SHOWN]}: the value is not YAML") from None
    lines[tuple(key.split("."))] = f"--set {override}"


def _lines(node: yaml.Node | None, name: str) -> tuple[dict[Place, str], list[str]]:
    """`file:line` of every key and item; what is to be said of keys that stand twice in one mapping."""
    found: dict[Place, str] = {}
    doubled: list[str] = []
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
                    doubled.append(f"{here}: the key '{key.value[:SHOWN]}' stands twice in this mapping; keep one")
                keys.add(key.value)
                found[(*place, key.value)] = here
                walk(value, (*place, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                found[(*place, i)] = f"{name}:{value.start_mark.line + 1}"
                walk(value, (*place, i))

    if node is not None:
        walk(node, ())
    return found, doubled[:MOST_ERRORS]


def _sentences(error: ValidationError, values: Any, lines: dict[Place, str], name: str) -> list[str]:
    """Pydantic's complaints in our words, one for each place of the file, unknown keys first."""
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    found: dict[Place, str] = {}
    for problem in problems:  # a value of several types has a complaint for each of them
        found.setdefault(_real_place(problem["loc"], values), _sentence(problem, values, lines, name))
    # The other types of a value complain of it as a whole, where one has more to say of what is in it.
    told = [text for place, text in found.items() if not any(_within(other, place) for other in found)]
    if len(told) > MOST_ERRORS:
        return [*told[:MOST_ERRORS], f"{name}: there are {len(told) - MOST_ERRORS} more"]
    return told


def _within(place: Place, outer: Place) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _sentence(problem: Any, values: Any, lines: dict[Place, str], name: str) -> str:
    """A complaint of pydantic's in our words."""
    place = _real_place(problem["loc"], values)
    known = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), f"{name}:1")
    dotted = ".".join(str(part)[:SHOWN] for part in place)
    if problem["type"] == "extra_forbidden":
        keys = _known_keys(place[:-1], values)
        near = difflib.get_close_matches(str(place[-1]), keys, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"{known}: unknown key '{dotted}'{hint} (known here: {', '.join(keys)})"
    if problem["type"] == "union_tag_invalid":
        kinds = problem["ctx"]["expected_tags"].replace("'", "")
        return f"{known}: {dotted} has type {problem['ctx']['tag'][:SHOWN]!r}; the types are {kinds}"
    if problem["type"] == "union_tag_not_found":
        return f"{known}: {dotted} has no 'type'; say which kind of task it is"
    if problem["type"] == "missing":
        return f"{known}: {dotted} is missing"
    seen = problem.get("input")
    shown = f", seen {seen!r:.{SHOWN}}" if isinstance(seen, str | int | float | bool | None) else ""
    message = problem["msg"].removeprefix("Value error, ")
    return f"{known}: {dotted}: {message[0].lower() + message[1:1000]}{shown}"


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
