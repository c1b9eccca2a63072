"""Memory of models, for servers of several.

Decided here: by default the models may take 0.8 of the memory that the machine, or the container, has. Without a bound the
first sign of too many models would be the kernel, which ends a worker, or the whole container, under load; a bound by the
free memory of the moment would depend on what else happened to run at start-up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SHARE = 0.8
"""Of the usable memory, for the models. The rest is for the serving process, requests, and a model that is being replaced."""
WORKER_BYTES = 300_000_000
"""A worker without its weights: Python, torch and its first passes."""
WEIGHTS = 1.25
"""Memory per byte of weights. With 88 MB of them a worker took 388 MB, and this says 410."""
LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Of a container."""


def usable_bytes() -> int:
    """Memory of the machine, or of the container if that has less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(LIMIT.read_text()))
    except (OSError, ValueError):  # no such file, or no limit
        return machine


def estimated_bytes(folder: Path) -> int:
    """What a worker with a model of this folder will take."""
    try:
        weights = sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in (".safetensors", ".onnx", ".data"))
    except OSError:  # it is being replaced
        weights = 0
    return WORKER_BYTES + int(WEIGHTS * weights)


def resident_bytes(processes: Iterable[int]) -> int:
    """What these processes take, as far as the system says."""
    total = 0
    for process in processes:
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total
