"""The routes of files and batches, as OpenAI's clients call them."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from manyheads.serve import schema
from manyheads.serve.batches import Batches
from manyheads.serve.errors import InvalidRequestError
from manyheads.serve.responses import JSON
from manyheads.serve.routes import StrictRoute, read_body

_BOUNDARY = re.compile(r'multipart/form-data;.*\bboundary="?([^";,]{1,200})"?', re.IGNORECASE)
_NAME = re.compile(rb'\bname="([^"\r\n]*)"')
_FILE_NAME = re.compile(rb'\bfilename="([^"\r\n]*)"')


def batch_routes(batches: Batches) -> APIRouter:
    """All of them. They are not in the OpenAPI schema: clients know this API."""
    router = APIRouter(prefix="/v1", include_in_schema=False, route_class=StrictRoute)
    _add_files(router, batches)
    _add_batches(router, batches)
    return router


def _add_files(router: APIRouter, batches: Batches) -> None:
    @router.post("/files")
    async def upload(request: Request) -> Response:
        """Keep a file of requests, one JSON object per line."""
        name, content = form_file(request.headers.get("content-type", ""), await read_body(request))
        return JSON(batches.add_file(content, name, "batch").to_json())

    @router.get("/files")
    async def listed() -> Response:
        """All files."""
        return JSON(_listed([file.to_json() for file in batches.store.files.values()]))

    @router.get("/files/{file_id}")
    async def file(file_id: str) -> Response:
        """What is known of a file."""
        return JSON(batches.store.file(file_id).to_json())

    @router.get("/files/{file_id}/content")
    async def content(file_id: str) -> Response:
        """A file."""
        return FileResponse(batches.store.file(file_id).path, media_type="application/jsonl")

    @router.delete("/files/{file_id}")
    async def delete(file_id: str) -> Response:
        """Delete a file."""
        batches.delete_file(file_id)
        return JSON({"id": file_id, "object": "file", "deleted": True})


def _add_batches(router: APIRouter, batches: Batches) -> None:
    @router.post("/batches")
    async def create(body: schema.BatchRequest) -> Response:
        """Answer all requests of a file."""
        return JSON(batches.add(body.endpoint, body.input_file_id, body.metadata).to_json())

    @router.get("/batches")
    async def listed() -> Response:
        """All batches, the newest first."""
        return JSON(_listed([batch.to_json() for batch in reversed(batches.store.batches.values())]))

    @router.get("/batches/{batch_id}")
    async def batch(batch_id: str) -> Response:
        """How far a batch is."""
        return JSON(batches.batch(batch_id).to_json())

    @router.post("/batches/{batch_id}/cancel")
    async def cancel(batch_id: str, request: Request) -> Response:
        """Stop a batch."""
        await read_body(request)
        return JSON(batches.cancel(batch_id).to_json())


def _listed(data: list[dict[str, object]]) -> dict[str, object]:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, "has_more": False, **ends}


def form_file(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Name and content of the field `file` of a form (RFC 7578). Raises InvalidRequestError.

    >>> body = b'--x\\r\\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\\r\\n\\r\\n{}\\r\\n--x--\\r\\n'
    >>> form_file("multipart/form-data; boundary=x", body)
    ('a.jsonl', b'{}')
    """
    found = _BOUNDARY.match(content_type)
    if found is None:
        raise InvalidRequestError("send the file as multipart/form-data, in the field 'file'")
    for part in (b"\r\n" + body).split(b"\r\n--" + found[1].encode("latin-1", "replace"))[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        name, file_name = _NAME.search(head), _FILE_NAME.search(head)
        if name is not None and name[1] == b"file" and file_name is not None:
            return file_name[1].decode(errors="replace")[:200], content
    raise InvalidRequestError("the form has no file in the field 'file'")
