"""The tasks of a manifest: each setting of the type that its task declares, and within bounds, before anything is built."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import BundleError
from manyheads.nn.stored import Stored
from manyheads.tasks import TASK_TYPES, restore, unknown_type
from manyheads.tasks.settings import NAMES, declared, said
from manyheads.text.plain_files import is_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from manyheads.tasks.base import Task

MOST_TASKS = 1000
MOST_TAGS = 2001
"""O and two for each of 1,000 labels. The rules between tags are a square of them, 16 MB."""
MOST_NUMBER = 1 << 31
LONGEST_LABEL = 1000


def tasks_of(manifest: Mapping[str, Any], path: Path) -> dict[str, Task[Any]]:
    """The tasks of the manifest in `path`. Raises BundleError for one that is not as `describe` writes it."""
    described = manifest["tasks"]
    if not 0 < len(described) <= MOST_TASKS:
        raise BundleError(f"{path} has {len(described):,} tasks; the model folder is damaged")
    return {name: _task(name, description, path) for name, description in described.items()}


def check_heads(tasks: Mapping[str, Task[Any]], width: int, stored: Mapping[str, Stored], path: Path) -> None:
    """Raise BundleError unless the tensors of a file are those of the tasks' heads. Nothing is made of their size.

    `width`: of the encoder. Tensors whose names begin with _ belong to no head.
    """
    import torch

    found = {name: tensor.shape for name, tensor in stored.items() if not name.startswith("_")}
    numbers = sum(tensor.numbers for tensor in stored.values())
    wanted: dict[str, tuple[int, ...]] = {}
    for name, task in tasks.items():
        labels = getattr(task, "labels", ())
        if len(labels) > numbers:
            raise BundleError(
                f"{path} has {numbers:,} numbers, too few for the {len(labels):,} labels of task '{name}'"
            )
        try:
            with torch.device("meta"):
                head = task.build_head(width)
        except (ValueError, TypeError, RuntimeError, OverflowError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise BundleError(f"task '{name}' of the model folder has no head that can be built ({reason})") from None
        wanted |= {f"{name}.{key}": tuple(value.shape) for key, value in head.state_dict().items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise BundleError(f"{path} does not fit the tasks of the manifest: {key[:200]} has the shape {found.get(key)}, "
                              f"and should have {wanted.get(key)}; the model folder is damaged")  # fmt: skip


def _task(name: str, description: Mapping[str, Any], path: Path) -> Task[Any]:
    kind = description.get("type")
    if not isinstance(kind, str) or kind not in TASK_TYPES:
        raise BundleError(f"{path}: {unknown_type(kind, description.get('package'))}")
    if description.get("name") != name:
        raise BundleError(
            f"{path}: task '{name}' calls itself {description.get('name')!r:.80}; the model folder is damaged"
        )
    checks = _checks(TASK_TYPES[kind])
    for key, value in description.items():
        if key != "type" and not (key in checks and _is_plain(value, *checks[key])):
            raise BundleError(f"{path}: task '{name}' has {key[:80]!r}: {value!r:.80}, which it cannot have; the model "
                              "folder is damaged, or of another version")  # fmt: skip
    try:
        task = restore(description)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"{path}: task '{name}' cannot be made ({str(error)[:200]}); the model folder is damaged"
        ) from None
    if len(getattr(task, "tags", ())) > MOST_TAGS:
        raise BundleError(
            f"{path}: task '{name}' has {len(getattr(task, 'labels', ())):,} labels, at most {MOST_TAGS // 2} are read"
        )
    return task


def _is_plain(value: Any, adapter: TypeAdapter[Any], names: bool) -> bool:
    """Whether a setting is as its field declares it, its numbers are no bombs, and its texts can be shown."""
    from pydantic import ValidationError

    try:
        adapter.validate_json(json.dumps(value), strict=True)  # of JSON, since a tuple is a list there
    except ValidationError:
        return False
    parts = list(_parts(value))
    strings = [text for text in parts if isinstance(text, str)]
    if names and len(set(strings)) < len(strings):
        return False
    return all(is_text(text, LONGEST_LABEL) for text in strings) and all(
        math.isfinite(number) if isinstance(number, float) else abs(number) < MOST_NUMBER
        for number in parts
        if isinstance(number, int | float)
    )


def _parts(value: Any) -> Iterator[Any]:
    """The plain values of a setting, and the keys of its mappings."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _parts(part)
    else:
        yield value


@lru_cache
def _checks(cls: type[Task[Any]]) -> dict[str, tuple[TypeAdapter[Any], bool]]:
    """What tells whether a setting of a task is as its field declares it, and whether its texts are names."""
    from pydantic import TypeAdapter

    hints = {"package": dict[str, str], **declared(cls)}
    return {key: (TypeAdapter(hint), NAMES in said(hint)) for key, hint in hints.items()}
