"""Tables cached on disk between runs. Anything in the folder may be deleted at any time.

Design:
- The name of a table is a hash of the files' contents and names, the task's type and name, and the code that reads them;
  times and sizes do not matter. So a changed file is always read again, and an unchanged one never.
- Opening a table touches its files; writing one removes those not opened for 30 days. Modification times are used, because
  many file systems do not keep access times.
- Processes need no lock: files appear complete by renaming, and a table that is removed before it is opened is built again.
  An open table stays readable after its removal. Errors in touching and removing files never fail a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from manyheads.data.report import ReadReport
from manyheads.data.table import SCHEMA, ExampleT, ExampleTable, open_table
from manyheads.tasks.base import Task

KEPT_S = 30 * 24 * 3600
"""Seconds after which an unopened table is removed."""
SPOOLED = "rows.{}.jsonl"
"""Name of a file of rows from Python, with a random number."""
_OURS = re.compile(r"[0-9a-f]{64}\.(arrow|json|\d+\.[0-9a-f]{32}\.(json\.)?tmp)|rows\.[0-9a-f]{32}\.jsonl")
"""Names of tables, and of files that killed processes left. Other files in the folder are never touched."""


def cache_folder() -> Path:
    """`$MANYHEADS_CACHE`, or `~/.cache/manyheads`."""
    chosen = os.environ.get("MANYHEADS_CACHE")
    return Path(chosen) if chosen else Path("~/.cache/manyheads").expanduser()


def table_key(task: Task[Any], fingerprint: str) -> str:
    """The name of a table: a sha256 of everything that its rows depend on."""
    code = "\0".join((_code(), task.kind, type(task).__qualname__, task.name, *task.reading))
    return hashlib.sha256(f"{code}\0{fingerprint}".encode("utf-8", "surrogateescape")).hexdigest()


def find(task: Task[ExampleT], folder: Path, key: str) -> tuple[ExampleTable[ExampleT], ReadReport] | None:
    """The table under this key, which counts as opened now; None if there is none, or it is damaged."""
    path, described = folder / f"{key}.arrow", folder / f"{key}.json"
    for file in (path, described):
        with suppress(OSError):  # missing, or a read-only cache
            os.utime(file)
    try:
        report = ReadReport.from_json(json.loads(described.read_text(encoding="utf-8")))
        table = open_table(task, path, None)
    except (OSError, ValueError, KeyError, TypeError):  # ArrowInvalid is a ValueError
        return None
    return (table, report) if len(table) == report.used else None


def store(folder: Path, key: str, fill: Callable[[Callable[[Any], object]], ReadReport]) -> tuple[Path, ReadReport]:
    """Write a table atomically: `fill` is given a function that writes a record batch of SCHEMA.

    Also removes tables not opened for KEPT_S. Raises OSError if the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{key}.{os.getpid()}.{uuid4().hex}.tmp"
    described = unfinished.with_suffix(".json.tmp")
    path = folder / f"{key}.arrow"
    try:
        with pa.OSFile(str(unfinished), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            report = fill(writer.write_batch)
        described.write_text(json.dumps(report.to_json()), encoding="utf-8")
        described.replace(folder / f"{key}.json")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
        described.unlink(missing_ok=True)
    prune(folder, time.time())
    return path, report


def prune(folder: Path, now_s: float) -> None:
    """Remove tables neither written nor opened for KEPT_S before `now_s`. Errors are ignored."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another process was first, or (Windows) has it open
                if _OURS.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < now_s - KEPT_S:
                    os.unlink(entry.path)


class TemporaryFolder:
    """A folder that is removed with the last table that needs it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="manyheads-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@lru_cache
def _code() -> str:
    """A hash of the version and of the modules that turn files into rows."""
    try:
        version = metadata.version("manyheads")
    except metadata.PackageNotFoundError:
        version = ""
    digest = hashlib.sha256(version.encode())
    root = Path(__file__).parent.parent
    for room in ("data", "tasks", "text"):
        for module in sorted((root / room).rglob("*.py")):
            digest.update(module.read_bytes())
    return digest.hexdigest()
