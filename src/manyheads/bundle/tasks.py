"""The tasks of a manifest. Each setting is checked against the type its task declares, and bounded, before it is built."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle.setting_values import has_type
from manyheads.errors import BundleError
from manyheads.nn.safetensors_header import TensorInfo
from manyheads.tasks import TASK_TYPES, restore, unknown_type
from manyheads.tasks.settings import NAMES, annotations_of, setting_types
from manyheads.text.untrusted_files import is_text

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

MAX_TASKS = 1000
MAX_TAGS = 2001
"""O, and two for each of 1,000 labels. The transition matrix is quadratic in them: 16 MB."""
MAX_NUMBER = 1 << 31
MAX_LABEL_LENGTH = 1000


def tasks_of(manifest: Mapping[str, Any], path: Path) -> dict[str, Task[Any]]:
    """The tasks of a manifest, which `path` names in errors. Raises BundleError for one that `describe` would not write."""
    described = manifest["tasks"]
    if not 0 < len(described) <= MAX_TASKS:
        raise BundleError(f"{path} has {len(described):,} tasks; the model folder is damaged")
    return {name: _task(name, description, path) for name, description in described.items()}


def check_heads(tasks: Mapping[str, Task[Any]], width: int, stored: Mapping[str, TensorInfo], path: Path) -> None:
    """Raise BundleError unless the stored tensors are those of the tasks' heads. Allocates nothing of their size.

    `width`: of the encoder. Tensors whose names start with _ belong to no head.
    """
    import torch

    found = {name: tensor.shape for name, tensor in stored.items() if not name.startswith("_")}
    numbers = sum(tensor.numbers for tensor in stored.values())
    wanted: dict[str, tuple[int, ...]] = {}
    for name, task in tasks.items():
        labels = getattr(task, "labels", ())
        if len(labels) > numbers:
            raise BundleError(f"{path} has {numbers:,} numbers, too few for {len(labels):,} labels of task '{name}'")
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
        raise BundleError(f"{path}: task '{name}' calls itself {description.get('name')!r:.80}; it is damaged")
    checks = _checks(TASK_TYPES.class_of(kind, description))
    for key, value in description.items():
        if key != "type" and not (key in checks and _is_valid(value, *checks[key])):
            raise BundleError(f"{path}: task '{name}' has {key[:80]!r}: {value!r:.80}, which is not a valid setting; the "
                              "model folder is damaged, or of another version")  # fmt: skip
    try:
        task = restore(description)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: task '{name}' cannot be created ({str(error)[:200]}); it is damaged") from None
    if len(getattr(task, "tags", ())) > MAX_TAGS:
        count = len(getattr(task, "labels", ()))
        raise BundleError(f"{path}: task '{name}' has {count:,} labels, at most {MAX_TAGS // 2} are read")
    return task


def _is_valid(value: Any, hint: Any, names: bool) -> bool:
    """Whether a setting has its field's type, bounded numbers, and texts that can be shown."""
    if not has_type(value, hint):
        return False
    parts = list(_parts(value))
    strings = [text for text in parts if isinstance(text, str)]
    named = list(value) if isinstance(value, dict) else strings
    if names and len(set(named)) < len(named):
        return False
    return all(is_text(text, MAX_LABEL_LENGTH) for text in strings) and all(
        math.isfinite(number) if isinstance(number, float) else abs(number) < MAX_NUMBER
        for number in parts
        if isinstance(number, int | float)
    )


def _parts(value: Any) -> Iterator[Any]:
    """The scalars in a setting, including keys of mappings."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _parts(part)
    else:
        yield value


@lru_cache
def _checks(cls: type[Task[Any]]) -> dict[str, tuple[Any, bool]]:
    """For each setting, its type, and whether its texts are names (all different)."""
    hints = {"package": dict[str, str], **setting_types(cls)}
    return {key: (hint, NAMES in annotations_of(hint)) for key, hint in hints.items()}
