"""Batches of requests in files, as in OpenAI's API: uploaded, answered when nothing else waits, and fetched later.

Decided here: each line of a batch is a request to this server like any other, made within the process, so it is checked,
queued and answered alike. A few lines at a time enter the queue, and only while it is empty: other requests never wait for
more than those. If the queue is never empty, the next few enter after `PATIENCE_S`. Files are on disk and end with the
server; batches, which are small, are in memory. One batch runs at a time.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message

from manyheads.data.strict_json import read_json
from manyheads.serve.errors import InvalidRequestError, QueueFullError, UnknownModelError
from manyheads.serve.logs import error_location, log
from manyheads.serve.middleware import INTERNAL

LINES_AT_ONCE = 8
MAX_LINES = 50_000
MAX_LEVELS = 100
DISK_BYTES = 500_000_000
"""Of all files together."""
MAX_WAITING = 100
"""Batches."""
KEPT_S = 24 * 3600.0
"""Files and batches are deleted when they are older."""
PATIENCE_S = 5.0
POLL_S = 0.01
ENDPOINTS = ("/v1/predict", "/v1/embeddings")
"""Or of one of several models: `/models/NAME/v1/predict`."""
KEYS = {True: "output_file_id", False: "error_file_id"}
"""Keys of a batch for the files of what was answered, and of what failed."""
ENDED = frozenset({"completed", "failed", "cancelled"})


@dataclass(slots=True)
class File:
    """A file that was uploaded or written."""

    path: Path
    name: str
    purpose: str
    id: str = field(default_factory=lambda: f"file-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

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


class Batches:
    """The files and batches of a server. All methods run in the event loop."""

    def __init__(self, folder: Path) -> None:
        """`folder`: an empty one."""
        self.app: ASGIApp | None = None
        """What answers the requests."""
        self.is_calm: Callable[[], bool] = lambda: True
        """Whether nothing waits in the queues."""
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        self._folder = folder
        self._waiting: asyncio.Queue[Batch] = asyncio.Queue(MAX_WAITING)
        self._runner: asyncio.Task[None] | None = None

    def add_file(self, content: bytes, name: str, purpose: str) -> File:
        """Keep a file. Raises QueueFullError if there is no room."""
        self._forget()
        file = File(self._folder / uuid4().hex, name, purpose)
        self._append(file, content)
        self.files[file.id] = file
        return file

    def _append(self, file: File, content: bytes) -> None:
        """Write to a file. Raises QueueFullError if there is no room."""
        used = sum(one.stat().st_size for one in self._folder.iterdir())
        if used + len(content) > DISK_BYTES:
            raise QueueFullError(60.0, f"all files together hold at most {DISK_BYTES:,} bytes; delete some")
        with file.path.open("ab") as opened:
            opened.write(content)

    def file(self, file_id: str) -> File:
        """Raises UnknownModelError, which is a 404."""
        if file_id not in self.files:
            raise UnknownModelError(f"no file {file_id[:80]!r}")
        return self.files[file_id]

    def delete_file(self, file_id: str) -> None:
        """Raises UnknownModelError."""
        self.file(file_id).path.unlink(missing_ok=True)
        del self.files[file_id]

    def add(self, endpoint: str, input_file: str, metadata: Mapping[str, str] | None) -> Batch:
        """Queue a batch. Raises RequestError."""
        if re.sub(r"^/models/[^/]+", "", endpoint) not in ENDPOINTS:
            raise InvalidRequestError(f"endpoint {endpoint[:80]!r} has no batches; {', '.join(ENDPOINTS)} do")
        self.file(input_file)
        batch = Batch(endpoint, input_file, metadata)
        try:
            self._waiting.put_nowait(batch)
        except asyncio.QueueFull:
            raise QueueFullError(60.0, f"{MAX_WAITING} batches wait already") from None
        self.batches[batch.id] = batch
        if self._runner is None or self._runner.done():
            self._runner = asyncio.get_running_loop().create_task(self._run_all())
        return batch

    def batch(self, batch_id: str) -> Batch:
        """Raises UnknownModelError, which is a 404."""
        if batch_id not in self.batches:
            raise UnknownModelError(f"no batch {batch_id[:80]!r}")
        return self.batches[batch_id]

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch after the lines in progress; what is answered by then is kept."""
        batch = self.batch(batch_id)
        if batch.status not in ENDED:
            batch.enter("cancelling")
        return batch

    async def _run_all(self) -> None:
        while not self._waiting.empty():
            batch = self._waiting.get_nowait()
            try:
                await self._run(batch)
            except Exception as error:  # such as a file that was deleted, or a full disk
                log("batch_failed", batch=batch.id, **error_location(error))
                batch.problems.append({"code": "internal_error", "message": "the server's log says why"})
                batch.enter("failed")

    async def _run(self, batch: Batch) -> None:
        requests = await asyncio.to_thread(read_lines, self.file(batch.input_file).path, batch)
        batch.counts["total"] = len(requests)
        if batch.problems:
            batch.enter("failed")
            return
        if batch.status == "validating":
            batch.enter("in_progress")
        outputs = {
            good: File(self._folder / uuid4().hex, f"{batch.id}_{key[:-8]}.jsonl", "batch_output")
            for good, key in KEYS.items()
        }
        for start in range(0, len(requests), LINES_AT_ONCE):
            if batch.status != "in_progress":
                break
            await self._wait_until_calm()
            lines = requests[start : start + LINES_AT_ONCE]
            for line, (status, body) in zip(lines, await asyncio.gather(*map(self._answer, lines)), strict=True):
                batch.counts["completed" if status == 200 else "failed"] += 1
                response = {"status_code": status, "request_id": uuid4().hex, "body": json.loads(body)}
                written = {"id": f"batch_req_{uuid4().hex}", "custom_id": line["custom_id"], "response": response}
                self._append(outputs[status == 200], json.dumps({**written, "error": None}).encode() + b"\n")
        for good, file in outputs.items():
            if file.path.exists():
                self.files[file.id] = file
                batch.files[KEYS[good]] = file.id
        batch.enter("completed" if batch.status == "in_progress" else "cancelled")

    async def _wait_until_calm(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while not self.is_calm() and time.monotonic() < until:
            await asyncio.sleep(POLL_S)

    async def _answer(self, line: Mapping[str, Any]) -> tuple[int, bytes]:
        """Status and body of the response to a line; refusals for want of room are tried again."""
        body = json.dumps(line["body"]).encode()
        while True:
            status, headers, answer = await self._ask(line["url"], body)
            if status not in (429, 503):
                return status, answer
            await asyncio.sleep(float(headers.get(b"retry-after", b"1")))

    async def _ask(self, path: str, body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        """Make a request to the application."""
        assert self.app is not None, "set by the server"
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
                 "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": head,
                 "server": None, "client": None, INTERNAL: True}  # fmt: skip
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if not messages:
                await asyncio.Event().wait()  # this client never leaves
            return messages.pop()

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:])

    def _forget(self) -> None:
        """Delete what is too old."""
        oldest = time.time() - KEPT_S
        for file in [one for one in self.files.values() if one.created < oldest]:
            self.delete_file(file.id)
        for batch in [one for one in self.batches.values() if one.created < oldest and one.status in ENDED]:
            del self.batches[batch.id]


def read_lines(path: Path, batch: Batch) -> Sequence[Mapping[str, Any]]:
    """The requests of a file; what is wrong with them is added to `batch.problems`."""
    requests: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    if not 0 < len(lines) <= MAX_LINES:
        message = f"a file has 1 to {MAX_LINES:,} lines, seen {len(lines):,}"
        batch.problems.append({"code": "invalid_file", "message": message})
        return []
    for number, line in enumerate(lines, 1):
        request: Any = None
        with suppress(ValueError):
            request = read_json(line, MAX_LEVELS)
        problem = _problem(request, batch.endpoint, seen)
        if problem is None:
            requests.append(request)
        elif len(batch.problems) < 10:
            batch.problems.append({"code": "invalid_line", "line": number, "message": problem})
    return requests


def _problem(request: Any, endpoint: str, seen: set[str]) -> str | None:
    """What is wrong with a line. `seen`: the custom ids so far."""
    if not isinstance(request, Mapping):
        return "the line is no JSON object"
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str) or custom_id in seen:
        return "custom_id must be a string that no other line has"
    seen.add(custom_id)
    if request.get("method") != "POST" or request.get("url") != endpoint:
        return f"method must be POST, and url that of the batch, {endpoint}"
    return None if isinstance(request.get("body"), Mapping) else "body must be an object"
