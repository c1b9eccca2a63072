"""The files and batches of a server on disk, so that they outlive it.

    state.json    all files and batches; replaced as a whole when one of them changes
    files/        the contents of the files, under their ids
    lock          held by the server that uses the folder

Decided here: answers are appended to their files as they come, and `state.json` is not written for each. After a restart the
lines in those files say what is answered: a last line without its end was cut off, and is removed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from manyheads.durable import replace_file
from manyheads.errors import UsageError
from manyheads.serve.errors import QueueFullError, UnknownModelError

DISK_BYTES = 500_000_000
"""Of all files together."""
KEPT_S = 24 * 3600.0
"""Files and batches are deleted when they are older."""
ENDED = frozenset({"completed", "failed", "cancelled"})
FOLDER, STATE, FILES, LOCK = "batches", "state.json", "files", "lock"
FORMAT = 1


@dataclass(slots=True)
class File:
    """A file that was uploaded or written."""

    folder: Path
    name: str
    purpose: str
    id: str = field(default_factory=lambda: f"file-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def path(self) -> Path:
        """Where its content is."""
        return self.folder / self.id

    def to_json(self) -> dict[str, Any]:
        """As in OpenAI's API."""
        return {"id": self.id, "object": "file", "bytes": self.path.stat().st_size, "created_at": self.created,
                "filename": self.name, "purpose": self.purpose, "status": "processed"}  # fmt: skip


@dataclass(slots=True)
class Batch:
    """A file of requests on its way."""

    endpoint: str
    input_file: str
    metadata: Mapping[str, str] | None
    id: str = field(default_factory=lambda: f"batch_{uuid4().hex}")
    status: str = "validating"
    created: int = field(default_factory=lambda: int(time.time()))
    times: dict[str, int] = field(default_factory=dict)
    """When a status began, as `completed_at`."""
    writing: dict[str, str] = field(default_factory=dict)
    """Ids of the files of an unfinished batch, by the keys of `files`."""
    files: dict[str, str] = field(default_factory=dict)
    """Ids of `output_file_id` and `error_file_id`."""
    counts: dict[str, int] = field(default_factory=lambda: {"total": 0, "completed": 0, "failed": 0})
    problems: list[dict[str, Any]] = field(default_factory=list)

    def enter(self, status: str) -> None:
        """Change the status and note when."""
        self.status = status
        self.times[f"{status}_at"] = int(time.time())

    def to_json(self) -> dict[str, Any]:
        """As in OpenAI's API."""
        problems = {"object": "list", "data": self.problems} if self.problems else None
        return {"id": self.id, "object": "batch", "endpoint": self.endpoint, "errors": problems,
                "input_file_id": self.input_file, "completion_window": "24h", "status": self.status,
                "created_at": self.created, **self.times, "expires_at": self.created + int(KEPT_S),
                "request_counts": self.counts, "metadata": self.metadata, **self.files}  # fmt: skip


class Store:
    """The files and batches of a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError for a folder that cannot be used, and UsageError for one that cannot be read."""
        self._state, self._contents = folder / STATE, folder / FILES
        self._contents.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        if self._state.exists():
            self._load()
        self._remove_strays()

    def new_file(self, name: str, purpose: str) -> File:
        """A file that is not listed yet, and has no content."""
        return File(self._contents, name, purpose)

    def append(self, file: File, content: bytes) -> None:
        """Write to a file. Raises QueueFullError if there is no room."""
        used = sum(one.stat().st_size for one in self._contents.iterdir())
        if used + len(content) > DISK_BYTES:
            raise QueueFullError(60.0, f"all files together hold at most {DISK_BYTES:,} bytes; delete some")
        with file.path.open("ab") as opened:
            opened.write(content)

    def file(self, file_id: str) -> File:
        """Raises UnknownModelError, which is a 404."""
        if file_id not in self.files:
            raise UnknownModelError(f"no file {file_id[:80]!r}")
        return self.files[file_id]

    def delete(self, file_id: str) -> None:
        """Delete a file. Raises UnknownModelError."""
        self.file(file_id).path.unlink(missing_ok=True)
        del self.files[file_id]

    def forget(self) -> None:
        """Delete what is too old."""
        oldest = time.time() - KEPT_S
        for file in [one for one in self.files.values() if one.created < oldest]:
            self.delete(file.id)
        for batch in [one for one in self.batches.values() if one.created < oldest and one.status in ENDED]:
            del self.batches[batch.id]

    def save(self) -> None:
        """Write the state. Raises OSError."""
        keys = ("id", "name", "purpose", "created")
        files = [{key: getattr(one, key) for key in keys} for one in self.files.values()]
        state = {"format": FORMAT, "files": files, "batches": [asdict(batch) for batch in self.batches.values()]}
        replace_file(self._state, json.dumps(state))

    def _load(self) -> None:
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if state["format"] != FORMAT:
                raise ValueError(f"its format is {state['format']}")
            files = [File(self._contents, **one) for one in state["files"]]
            self.files = {file.id: file for file in files if file.path.is_file()}
            self.batches = {batch.id: batch for batch in (Batch(**one) for one in state["batches"])}
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self._state} has no state of batches that this version can read ({error}); delete "
                             f"{self._state.parent} to start without earlier batches") from None  # fmt: skip
        self.forget()

    def _remove_strays(self) -> None:
        """Delete contents that no file and no batch has: a server ended before it noted them, or deleted their file."""
        known = {*self.files, *(name for batch in self.batches.values() for name in batch.writing.values())}
        for path in self._contents.iterdir():
            if path.name not in known:
                path.unlink()


@contextmanager
def open_store(place: Path) -> Iterator[Store]:
    """The store in a folder, which no other server may use meanwhile. Raises UsageError."""
    folder = place / FOLDER
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        place.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        lock.acquire()
        store = Store(folder)
    except Timeout:
        raise UsageError(f"another server keeps its batches in {place}; give another folder to --batches") from None
    except OSError as error:
        raise UsageError(f"cannot write to {place} ({error.strerror}); give another folder to --batches") from None
    try:
        yield store
    finally:
        lock.release()


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that answers are appended to; one that was cut off is removed from it."""
    if not path.exists():
        return []
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        with path.open("r+b") as file:
            file.truncate(end)
    return content[:end].splitlines()
