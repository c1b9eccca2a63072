"""Reads run files: YAML with line numbers, so that every error message starts with `file:line`; and runs from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from manyheads.config.data_section import YAML
from manyheads.config.origin import MAX_SHOWN, Origin, Place, messages
from manyheads.config.schema import Run
from manyheads.config.untrusted_yaml import MAX_BYTES, key_lines, read_yaml
from manyheads.errors import ConfigError
from manyheads.text.untrusted_files import checked_size

DATA_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".conll", ".conllu", ".parquet", ".arrow", ".gz"})
"""Names of files that are data, whatever is in them. YAML reads a small table as one long string."""


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
            raise ConfigError(f"{path} is a folder; give the YAML file in it, or let `manyheads init {path}` write one")
        if path.is_file() and path.suffix.lower() in DATA_SUFFIXES:
            raise ConfigError(f"{path} is a data file, by its name; `manyheads init {path}` writes a run file for it")
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
    node, values = read_yaml(text, name)
    if not isinstance(values, dict):
        raise ConfigError(f"{name}:1: a run file is a mapping with the keys {', '.join(Run.model_fields)}")
    lines, duplicates = key_lines(node, name)
    return _checked(values, Origin(name, lines, YAML), overrides, duplicates)


def run_of(given: RunFile | Path | str | Mapping[str, Any] | Run, overrides: Sequence[str] = ()) -> RunFile:
    """A run in any form: the path of a run file, one that was read, a dictionary with its keys, or a checked `Run`.

    In a dictionary, the data of a task may also be rows: a list of dictionaries, a DataFrame, an Arrow table, a
    `datasets.Dataset`, or a `DatasetDict` with the splits. Relative paths start at the working folder. Raises ConfigError.

    `overrides` do not apply to a run file that was read.
    """
    if isinstance(given, RunFile):
        return given
    if isinstance(given, str | Path):
        return load_run(Path(given), overrides)
    name = "run"
    if isinstance(given, Run):
        given = given.model_dump(exclude_unset=True)
    elif not isinstance(given, Mapping):
        raise ConfigError(f"a run is a path, a dictionary or a Run; seen {type(given).__name__}")
    return RunFile(_checked(_copied(given), Origin(name, {}, None), overrides, []), Path.cwd() / name)


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain dictionaries, copied as overrides change them; data stays as it is."""
    return {key: _copied(value) if type(value) is dict else value for key, value in values.items()}


def _checked(values: dict[str, Any], origin: Origin, overrides: Sequence[str], duplicates: list[str]) -> Run:
    for override in overrides:
        _override(values, override, origin.lines)
    try:
        run = Run.model_validate(values, context=origin.context)
    except ValidationError as error:
        raise ConfigError("\n".join([*duplicates, *messages(error, values, origin)])) from None
    missing = [] if run.training.init_from else [name for name, task in run.tasks.items() if task.data.train is None]
    problems = duplicates + [_without_rows(name, run, origin) for name in missing]
    if problems:
        raise ConfigError("\n".join(problems))
    return run


def _without_rows(name: str, run: Run, origin: Origin) -> str:
    """The error for a task without training data."""
    place = ("tasks", name, "data", *(["train"] if "data" in run.tasks[name].model_fields_set else []))
    return f"{origin.place(place)}: {'.'.join(place)} is missing"


def _override(values: dict[str, Any], override: str, lines: dict[Place, str]) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override}: write KEY=VALUE, for example training.epochs=2")
    *parents, last = key.split(".")
    inner: Any = values
    for parent in parents:
        inner = inner.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override}: '{parent}' is a value, not a mapping")
    try:
        inner[last] = read_yaml(value, f"override {key}")[1]
    except ConfigError:
        raise ConfigError(f"override {override[:MAX_SHOWN]}: the value is not valid YAML") from None
    lines[tuple(key.split("."))] = f"override {override}"


