"""A finished model folder as an artifact: without logs and caches."""

from __future__ import annotations

import re
from pathlib import Path

from manyheads.bundle import MANIFEST, REPORT, read_manifest


def model_files(folder: Path) -> list[str]:
    """Names, relative to the folder, of everything that loading needs, and of the report."""
    names = [MANIFEST, *read_manifest(folder)["files"], REPORT]
    return [name for name in names if (folder / name).is_file()]


def artifact_name(name: str) -> str:
    """The name of a run as wandb and trackio take it for an artifact.

    >>> artifact_name("all tasks, seed 0")
    'all-tasks-seed-0'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]
