"""A small imitation of the Hub's HTTP API on the loopback interface, for the real client of `huggingface_hub`.

It keeps repositories with their commits and branches in memory, stores large files by sha256 as git-lfs does, and answers errors
with the Hub's own headers. Without Xet, for which the client is told HF_HUB_DISABLE_XET.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens of the account `alice`, and of `bob`, who may only read."""
ACCOUNTS = {WRITER: "alice", READER: "bob"}
LARGE = (".safetensors", ".onnx")


@dataclass
class Repo:
    """A repository: what each commit holds, by path, and the commit of each branch."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        number = hashlib.sha1(repr((len(self.commits), branch, message, sorted(files))).encode()).hexdigest()
        self.commits[number], self.messages[number], self.branches[branch] = files, message, number
        return number

    def find(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)


class Hub:
    """The state of the imitation, and the faults that tests ask of it."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failing_uploads = 0
        """Uploads of large files to refuse before any is taken."""
        self.spoilt: set[str] = set()
        """Paths whose content arrives with one byte changed."""
        self.url = ""

    def create(self, name: str, files: dict[str, bytes], *, private: bool = False) -> str:
        """A repository with files, as if pushed by another program; returns the commit."""
        self.repos[name] = Repo(private)
        return self.repos[name].commit("main", files, "first")

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        repo = self.repos[name]
        return repo.commits[repo.find(revision) or ""]


def is_large(path: str) -> bool:
    return path.endswith(LARGE)


def blob_id(path: str, data: bytes) -> str:
    """The id that the client compares: the sha256 of a large file, the git hash of another."""
    return (
        hashlib.sha256(data).hexdigest()
        if is_large(path)
        else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    )


class RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {self.path}")
        try:
            self._route([unquote(part) for part in self.path.strip("/").split("/")])
        except RefusedError as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.message}
            self._send(json.dumps({"error": error.message}).encode(), error.status, headers)

    def _route(self, parts: list[str]) -> None:
        match parts:
            case ["api", "whoami-v2"]:
                self._json({"type": "user", "name": self._account(), "orgs": []})
            case ["api", "repos", "create"]:
                self._create()
            case ["api", "validate-yaml"]:
                self._validate()
            case ["api", "models", owner, name, *rest]:
                self._api(f"{owner}/{name}", rest)
            case [owner, name, "info", "lfs", "objects", "batch"]:
                self._lfs_batch(f"{owner}/{name.removesuffix('.git')}")
            case ["lfs", oid]:
                self._lfs_put(oid)
            case [owner, name, "resolve", revision, *path]:
                self._resolve(f"{owner}/{name}", revision, "/".join(path))
            case _:
                raise RefusedError(404, "", f"no such route: {self.path}")

    def _account(self) -> str | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        account = ACCOUNTS.get(header.removeprefix("Bearer "))
        if account is None:
            raise RefusedError(401, "", "Invalid credentials in Authorization header")
        return account

    def _repo(self, name: str, *, write: bool = False) -> Repo:
        repo, account = self.hub.repos.get(name), self._account()
        if repo is None or (repo.private and account != name.split("/", maxsplit=1)[0]):
            raise RefusedError(404 if account else 401, "RepoNotFound", "Repository not found")
        if write and account != name.split("/", maxsplit=1)[0]:
            raise RefusedError(403, "", "You don't have the rights to write to this repository")
        return repo

    def _create(self) -> None:
        given, account = json.loads(self.body), self._account()
        owner = given["organization"] or account
        name = f"{owner}/{given['name']}"
        if owner != account:
            raise RefusedError(403, "", "You don't have the rights to create a model under this namespace")
        known = name in self.hub.repos
        if not known:
            self.hub.create(name, {".gitattributes": b"*.safetensors filter=lfs\n"},
                            private=given.get("visibility") == "private")  # fmt: skip
        self._json({"url": f"{self.hub.url}/{name}"}, 409 if known else 200)

    def _validate(self) -> None:
        content = json.loads(self.body)["content"]
        errors = []
        try:
            found = yaml.safe_load(content.split("---\n")[1])
            for result in [result for model in found.get("model-index", []) for result in model["results"]]:
                errors += [f"{key} is required" for key in ("type", "name") if not result["dataset"].get(key)]
                errors += [] if result["task"].get("type") else ["task.type is required"]
        except (yaml.YAMLError, KeyError, IndexError) as error:
            errors = [str(error)]
        self._json({"errors": [{"message": text} for text in errors], "warnings": []}, 400 if errors else 200)

    def _api(self, name: str, rest: list[str]) -> None:
        match rest:
            case [] | ["revision", _]:
                repo = self._repo(name)
                commit = self._commit_of(repo, rest[1] if rest else "main")
                siblings = [{"rfilename": path} for path in repo.commits[commit]]
                self._json(
                    {
                        "id": name,
                        "modelId": name,
                        "sha": commit,
                        "private": repo.private,
                        "siblings": siblings,
                        "tags": [],
                    }
                )
            case ["tree", revision, *_]:
                repo = self._repo(name)
                self._json([self._entry(*item) for item in repo.commits[self._commit_of(repo, revision)].items()])
            case ["preupload", revision]:
                repo = self._repo(name, write=True)
                files = repo.commits[self._commit_of(repo, revision)]
                self._json({"files": [{
                    "path": path, "uploadMode": "lfs" if is_large(path) else "regular", "shouldIgnore": False,
                    "oid": blob_id(path, files[path]) if path in files else None,
                } for path in (entry["path"] for entry in json.loads(self.body)["files"])]})  # fmt: skip
            case ["branch", branch]:
                repo = self._repo(name, write=True)
                if branch in repo.branches:
                    raise RefusedError(409, "", "Reference already exists")
                repo.branches[branch] = repo.branches["main"]
                self._json({})
            case ["commit", branch]:
                self._commit(name, branch)
            case _:
                raise RefusedError(404, "", f"no such route: {self.path}")

    def _commit_of(self, repo: Repo, revision: str) -> str:
        found = repo.find(revision)
        if found is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def _entry(self, path: str, data: bytes) -> dict[str, Any]:
        sha = hashlib.sha256(data).hexdigest()
        large = {"lfs": {"oid": sha, "size": len(data), "pointerSize": 134}} if is_large(path) else {}
        return {"type": "file", "path": path, "size": len(data), "oid": blob_id(path, data)[:40], **large}

    def _commit(self, name: str, branch: str) -> None:
        repo = self._repo(name, write=True)
        files = dict(repo.commits[self._commit_of(repo, branch)])
        message = ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise RefusedError(400, "", f"there is no object {value['oid']}")
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        commit = repo.commit(branch, files, message)
        self._json({"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{name}/commit/{commit}"})

    def _lfs_batch(self, name: str) -> None:
        self._repo(name, write=True)
        objects = []
        for one in json.loads(self.body)["objects"]:
            href = f"{self.hub.url}/lfs/{one['oid']}"
            known = one["oid"] in self.hub.objects
            objects.append({**one, **({} if known else {"actions": {"upload": {"href": href}}})})
        self._json({"transfer": "basic", "objects": objects})

    def _lfs_put(self, oid: str) -> None:
        if self.hub.failing_uploads:
            self.hub.failing_uploads -= 1
            raise RefusedError(400, "", "the storage is tired")
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise RefusedError(400, "", "the content has another sha256")
        self.hub.objects[oid] = self.body
        self._send(b"")

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name)
        commit = self._commit_of(repo, revision)
        data = repo.commits[commit].get(path)
        if data is None:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        etag = f'"{blob_id(path, data)}"'
        large = {"X-Linked-Etag": etag, "X-Linked-Size": str(len(data))} if is_large(path) else {}
        if path in self.hub.spoilt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self._send(data, headers={"X-Repo-Commit": commit, "ETag": etag, **large})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def _send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def imitated_hub() -> Iterator[Hub]:
    """A running imitation; its `url` is what HF_ENDPOINT should be."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HandlerOfHub", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
