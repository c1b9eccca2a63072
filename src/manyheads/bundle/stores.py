"""The stores of tasks in a model folder: `stores/TASK.safetensors`, read in place (memory-mapped)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import BundleError
from manyheads.nn.safetensors_header import read_arrays

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

STORES = "stores"


def store_file(name: str) -> str:
    """The file of a task's store."""
    return f"{STORES}/{name}.safetensors"


def store_files(tasks: Mapping[str, Task[Any]]) -> set[str]:
    """The files of the tasks that have a store."""
    return {store_file(name) for name, task in tasks.items() if task.store is not None}


def write_stores(folder: Path, tasks: Mapping[str, Task[Any]]) -> list[str]:
    """Write the stores of tasks; the names of the files."""
    from safetensors.numpy import save_file

    for name, store in ((name, store) for name, task in tasks.items() if (store := task.store) is not None):
        (folder / STORES).mkdir(exist_ok=True)
        save_file({key: np.ascontiguousarray(array) for key, array in store.arrays().items()}, folder / store_file(name))
    return sorted(store_files(tasks))


def with_stores_of(folder: Path, tasks: Mapping[str, Task[Any]]) -> dict[str, Task[Any]]:
    """The tasks with their stores. Raises BundleError for a damaged one."""
    found = dict(tasks)
    for name, store in ((name, store) for name, task in tasks.items() if (store := task.store) is not None):
        path = folder / store_file(name)
        try:
            found[name] = store.with_arrays(read_arrays(path))
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} {error}; the model folder is damaged") from None
    return found
