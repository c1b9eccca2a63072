"""Batches of requests in files, as in OpenAI's API: uploaded, answered when nothing else waits, and fetched later.

Decided here: each line of a batch is a request to this server like any other, made within the process, so it is checked,
queued and answered alike. A few lines at a time enter the queue, and only while it is empty: other requests never wait for
more than those. If the queue is never empty, the next few enter after `PATIENCE_S`. One batch runs at a time. A batch that is
unfinished when the server ends is continued by the next one, with the lines that have no answer yet (`batch_store.py`).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message

from manyheads.data.strict_json import read_json
from manyheads.serve.batch_store import ENDED, Batch, File, Store, whole_lines
from manyheads.serve.errors import InvalidRequestError, QueueFullError, RequestError, UnknownModelError
from manyheads.serve.logs import error_location, log
from manyheads.serve.middleware import INTERNAL

LINES_AT_ONCE = 8
MAX_LINES = 50_000
MAX_LEVELS = 100
MAX_WAITING = 100
"""Batches."""
PATIENCE_S = 5.0
POLL_S = 0.01
ENDPOINTS = ("/v1/predict", "/v1/embeddings")
"""Or of one of several models: `/models/NAME/v1/predict`."""
KEYS = {True: "output_file_id", False: "error_file_id"}
"""Keys of a batch for the files of what was answered, and of what failed."""


class Batches:
    """The files and batches of a server. All methods run in the event loop."""

    def __init__(self, store: Store) -> None:
        self.app: ASGIApp | None = None
        """What answers the requests."""
        self.is_calm: Callable[[], bool] = lambda: True
        """Whether nothing waits in the queues."""
        self.store = store
        self._waiting: deque[Batch] = deque(batch for batch in store.batches.values() if batch.status not in ENDED)
        self._runner: asyncio.Task[None] | None = None

    def resume(self) -> None:
        """Continue what an earlier server left unfinished."""
        if self._waiting:
            log("batches_resumed", count=len(self._waiting))
            self._start()

    def _start(self) -> None:
        if self._runner is None or self._runner.done():
            self._runner = asyncio.get_running_loop().create_task(self._run_all())

    def add_file(self, content: bytes, name: str, purpose: str) -> File:
        """Keep a file. Raises QueueFullError if there is no room."""
        self.store.forget()
        file = self.store.new_file(name, purpose)
        self.store.append(file, content)
        self.store.files[file.id] = file
        self.store.save()
        return file

    def delete_file(self, file_id: str) -> None:
        """Raises UnknownModelError."""
        self.store.delete(file_id)
        self.store.save()

    def add(self, endpoint: str, input_file: str, metadata: Mapping[str, str] | None) -> Batch:
        """Queue a batch. Raises RequestError."""
        if re.sub(r"^/models/[^/]+", "", endpoint) not in ENDPOINTS:
            raise InvalidRequestError(f"endpoint {endpoint[:80]!r} has no batches; {', '.join(ENDPOINTS)} do")
        self.store.file(input_file)
        if len(self._waiting) >= MAX_WAITING:
            raise QueueFullError(60.0, f"{MAX_WAITING} batches wait already")
        batch = Batch(endpoint, input_file, metadata)
        self.store.batches[batch.id] = batch
        self.store.save()
        self._waiting.append(batch)
        self._start()
        return batch

    def batch(self, batch_id: str) -> Batch:
        """Raises UnknownModelError, which is a 404."""
        if batch_id not in self.store.batches:
            raise UnknownModelError(f"no batch {batch_id[:80]!r}")
        return self.store.batches[batch_id]

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch after the lines in progress; what is answered by then is kept."""
        batch = self.batch(batch_id)
        if batch.status not in ENDED:
            batch.enter("cancelling")
            self.store.save()
        return batch

    async def _run_all(self) -> None:
        while self._waiting:
            batch = self._waiting.popleft()
            try:
                status = await self._run(batch)
            except Exception as error:  # such as a file that was deleted, or a full disk
                log("batch_failed", batch=batch.id, **error_location(error))
                message = str(error) if isinstance(error, RequestError) else "the server's log says why"
                batch.problems.append({"code": "internal_error", "message": message})
                status = "failed"
            self._end(batch, status)

    def _end(self, batch: Batch, status: str) -> None:
        """List the files of a batch, and keep its last status."""
        for key, name in batch.writing.items():
            file = self._file_of(batch, key, name)
            if file.path.exists():
                self.store.files[file.id] = file
                batch.files[key] = file.id
        batch.writing = {}
        batch.enter(status)
        try:
            self.store.save()
        except OSError as error:  # the next server runs the batch again
            log("batch_not_saved", batch=batch.id, **error_location(error))

    async def _run(self, batch: Batch) -> str:
        """Answer the lines of a batch that have no answer yet; returns how it ended."""
        requests = await asyncio.to_thread(read_lines, self.store.file(batch.input_file).path, batch)
        batch.counts["total"] = len(requests)
        if batch.problems:
            return "failed"
        outputs = self._outputs(batch)
        answered = await asyncio.to_thread(_answered, outputs, batch)
        if batch.status == "validating":
            batch.enter("in_progress")
        self.store.save()
        waiting = [line for line in requests if line["custom_id"] not in answered]
        for start in range(0, len(waiting), LINES_AT_ONCE):
            if batch.status != "in_progress":
                break
            await self._wait_until_calm()
            lines = waiting[start : start + LINES_AT_ONCE]
            for line, (status, body) in zip(lines, await asyncio.gather(*map(self._answer, lines)), strict=True):
                batch.counts["completed" if status == 200 else "failed"] += 1
                response = {"status_code": status, "request_id": uuid4().hex, "body": json.loads(body)}
                written = {"id": f"batch_req_{uuid4().hex}", "custom_id": line["custom_id"], "response": response}
                self.store.append(outputs[status == 200], json.dumps({**written, "error": None}).encode() + b"\n")
        return "completed" if batch.status == "in_progress" else "cancelled"

    def _outputs(self, batch: Batch) -> dict[bool, File]:
        """The files that the answers are appended to: new ones, or those of the server before."""
        for key in KEYS.values():
            batch.writing.setdefault(key, f"file-{uuid4().hex}")
        return {good: self._file_of(batch, key, batch.writing[key]) for good, key in KEYS.items()}

    def _file_of(self, batch: Batch, key: str, file_id: str) -> File:
        return replace(self.store.new_file(f"{batch.id}_{key[:-8]}.jsonl", "batch_output"), id=file_id)

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


def _answered(outputs: Mapping[bool, File], batch: Batch) -> set[str]:
    """The custom ids of the lines that an earlier server answered, which are counted."""
    found: set[str] = set()
    for good, file in outputs.items():
        ids = [json.loads(line)["custom_id"] for line in whole_lines(file.path)]
        batch.counts["completed" if good else "failed"] = len(ids)
        found.update(ids)
    return found


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
