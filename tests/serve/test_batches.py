"""Batches of requests in files: OpenAI's client against a real process; what is wrong with a file; who goes first."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import manyheads as mh
from manyheads.errors import ManyheadsError, UsageError
from manyheads.serve import batch_store
from manyheads.serve import batches as module
from manyheads.serve.batch_routes import form_file
from manyheads.serve.batch_store import Batch, Store, open_store
from manyheads.serve.batches import Batches, read_lines
from manyheads.serve.errors import InvalidRequestError, QueueFullError
from serve.servers import Server, serving
from toys import SENTENCES

KEY = "k" * 20


def line(number: int, url: str = "/v1/predict", **body: Any) -> dict[str, Any]:
    return {"custom_id": f"r{number}", "method": "POST", "url": url, "body": body}


def jsonl(*lines: Any) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in lines).encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batches") / "files"


@pytest.fixture(scope="module")
def server(toy_model: Path, place: Path) -> Iterator[Server]:
    with serving(toy_model, "--workers", "1", "--batches", str(place), stub="model", MANYHEADS_API_KEYS=KEY) as server:
        yield server
        assert server.stop() == 0
    assert (place / "batches" / "files").is_dir(), "the files outlive the server"
    assert (place / "batches").stat().st_mode & 0o077 == 0, "texts of users"


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


def ended(client: openai.OpenAI, batch: Any) -> Any:
    until = time.monotonic() + 60
    while batch.status not in module.ENDED:
        assert time.monotonic() < until
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def run(client: openai.OpenAI, content: bytes, endpoint: Any = "/v1/predict") -> Any:
    file = client.files.create(file=("rows.jsonl", content), purpose="batch")
    return ended(client, client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h"))


def rows(client: openai.OpenAI, file: str | None) -> list[Any]:
    return [] if file is None else [json.loads(one) for one in client.files.content(file).text.splitlines()]


def test_a_batch_is_answered_in_order_as_requests_are(client: openai.OpenAI, toy_model: Path) -> None:
    model = mh.load(toy_model)
    texts = [SENTENCES[i % 6] for i in range(30)]
    done = run(client, jsonl(*(line(i, inputs=[text], tasks=["section"]) for i, text in enumerate(texts))))
    assert (done.status, done.object, done.endpoint, done.errors, done.error_file_id) == ("completed", "batch", "/v1/predict", None, None)
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (30, 30, 0)
    assert done.created_at <= done.in_progress_at <= done.completed_at < done.expires_at
    found = rows(client, done.output_file_id)
    assert [one["custom_id"] for one in found] == [f"r{i}" for i in range(30)]
    for one, expected in zip(found, model.predict(texts, ["section"]), strict=True):
        assert (one["response"]["status_code"], one["error"]) == (200, None)
        answer = one["response"]["body"]["outputs"][0]["tasks"]["section"]
        assert answer["label"] == expected["tasks"]["section"]["label"]


def test_embeddings_are_batched_and_bad_lines_have_a_file_of_their_own(client: openai.OpenAI, toy_model: Path) -> None:
    lines = [line(i, "/v1/embeddings", model="similarity", input=text) for i, text in enumerate(SENTENCES)]
    lines[2]["body"] = {"model": "similarity", "input": []}
    done = run(client, jsonl(*lines), "/v1/embeddings")
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 5, 1)
    [failed] = rows(client, done.error_file_id)
    assert (failed["custom_id"], failed["response"]["status_code"]) == ("r2", 422)
    assert "input is empty" in failed["response"]["body"]["error"]["message"]
    vectors = [one["response"]["body"]["data"][0]["embedding"] for one in rows(client, done.output_file_id)]
    expected = mh.load(toy_model).embed(SENTENCES)
    assert vectors[-1] == pytest.approx(expected[-1], abs=2e-5)


def test_files_and_batches_are_listed_and_deleted(client: openai.OpenAI) -> None:
    file = client.files.create(file=("my rows.jsonl", b"{}\n"), purpose="batch")
    assert (file.filename, file.bytes, file.purpose, file.object) == ("my rows.jsonl", 3, "batch", "file")
    assert client.files.retrieve(file.id) == file
    assert file.id in [one.id for one in client.files.list().data]
    assert client.files.content(file.id).content == b"{}\n"
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match="no file"):
        client.files.retrieve(file.id)
    batch = run(client, jsonl(line(0, inputs=["a"])))
    assert client.batches.list().data[0].id == batch.id
    with pytest.raises(openai.NotFoundError, match="no batch 'batch_0'"):
        client.batches.retrieve("batch_0")
    with pytest.raises(openai.UnprocessableEntityError, match="endpoint '/v1/completions' has no batches"):
        client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    with pytest.raises(openai.NotFoundError, match="no file"):
        client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")


def test_a_batch_can_be_cancelled_and_what_was_answered_is_kept(client: openai.OpenAI) -> None:
    content = jsonl(*(line(i, inputs=["!sleep 0.1"], tasks=["section"]) for i in range(60)))
    file = client.files.create(file=("rows.jsonl", content), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/predict", completion_window="24h")  # type: ignore[arg-type]
    while client.batches.retrieve(batch.id).request_counts.completed == 0:
        time.sleep(0.05)
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = ended(client, batch)
    assert done.status == "cancelled"
    assert 0 < len(rows(client, done.output_file_id)) == done.request_counts.completed < 60


def test_other_requests_overtake_a_batch(client: openai.OpenAI, server: Server) -> None:
    content = jsonl(*(line(i, inputs=["!sleep 0.02"], tasks=["section"]) for i in range(200)))
    file = client.files.create(file=("rows.jsonl", content), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/predict", completion_window="24h")  # type: ignore[arg-type]
    times = []
    with httpx.Client(base_url=server.url, headers={"x-api-key": KEY}, timeout=60) as http:
        for _ in range(5):
            started = time.monotonic()
            assert http.post("/v1/predict", json={"inputs": ["a"], "tasks": ["section"]}).status_code == 200
            times.append(time.monotonic() - started)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    assert sorted(times)[2] < 8 * 0.02 * 3, "at most the lines of one step go before it"
    client.batches.cancel(batch.id)
    ended(client, batch)


@pytest.mark.long
def test_keys_hold_and_without_the_option_there_are_no_batches(server: Server, toy_model: Path) -> None:
    for path in ("/v1/files", "/v1/batches", "/v1/files/x/content"):
        assert httpx.get(server.url + path).status_code == 401
    assert httpx.post(f"{server.url}/v1/files", headers={"x-api-key": KEY}, files={"other": ("a", b"b")}).status_code == 422
    cross = {"x-api-key": KEY, "sec-fetch-site": "cross-site"}
    assert httpx.post(f"{server.url}/v1/files", headers=cross, files={"file": ("a", b"b")}).status_code == 422
    with serving(Path(f"a={toy_model}"), f"b={toy_model}", stub="fake") as plain:
        assert httpx.get(f"{plain.url}/v1/batches").status_code == 404


@pytest.mark.long
def test_a_server_of_several_models_batches_by_path_or_by_model(toy_model: Path, tmp_path: Path) -> None:
    with serving(Path(f"a={toy_model}"), f"b={toy_model}", "--batches", str(tmp_path), stub="fake") as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
        url = "/models/b/v1/predict"
        done = run(client, jsonl(line(0, url, inputs=["a"])), url)
        assert rows(client, done.output_file_id)[0]["response"]["body"]["model"] == "b"
        done = run(client, jsonl(line(0, "/v1/embeddings", model="a", input="x"), line(1, "/v1/embeddings", model="c", input="x")),
                   "/v1/embeddings")  # fmt: skip
        assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
        assert rows(client, done.error_file_id)[0]["response"]["status_code"] == 404
        assert httpx.get(f"{server.url}/models/a/v1/batches").status_code == 404


@pytest.mark.parametrize(("content", "problems"), [
    (b"", ["a file has 1 to 50,000 lines, seen 0"]), (b"\n\n", ["a file has 1 to 50,000 lines, seen 0"]),
    (b"{\n[]\n", ["the line is no JSON object"] * 2), (jsonl(line(0), line(0)), ["custom_id must be a string that no other line has"]),
    (jsonl({**line(0), "custom_id": 5}), ["custom_id must be a string that no other line has"]),
    (jsonl({**line(0), "method": "GET"}, line(1, "/v1/embeddings")), ["method must be POST, and url that of the batch, /v1/predict"] * 2),
    (jsonl({**line(0), "body": [1]}), ["body must be an object"]), (b"\xff\xfe\n", ["the line is no JSON object"]),
])  # fmt: skip
def test_a_file_that_is_no_batch_says_why_line_by_line(tmp_path: Path, content: bytes, problems: list[str]) -> None:
    (tmp_path / "rows").write_bytes(content)
    batch = Batch("/v1/predict", "file", None)
    read_lines(tmp_path / "rows", batch)
    assert [one["message"] for one in batch.problems] == problems


def test_a_broken_file_fails_the_batch(client: openai.OpenAI) -> None:
    done = run(client, b"{\n")
    assert done.status == "failed"
    assert (done.errors.data[0].line, done.errors.data[0].message) == (1, "the line is no JSON object")


def test_files_are_bounded_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Batches(Store(tmp_path))
    monkeypatch.setattr(batch_store, "DISK_BYTES", 10)
    first = batches.add_file(b"12345678", "a", "batch")
    with pytest.raises(QueueFullError, match="at most 10 bytes; delete some"):
        batches.add_file(b"123", "b", "batch")
    first.created -= int(batch_store.KEPT_S) + 1
    second = batches.add_file(b"123", "b", "batch")
    assert list(batches.store.files) == [second.id]
    assert [one.read_bytes() for one in (tmp_path / "files").iterdir()] == [b"123"]
    monkeypatch.setattr(module, "MAX_WAITING", 0)
    with pytest.raises(QueueFullError, match="batches wait already"):
        batches.add("/v1/predict", second.id, None)


def test_a_batch_goes_on_where_the_queue_is_never_empty_and_waits_where_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    batches = Batches(Store(tmp_path))
    batches.is_calm = lambda: False
    statuses = [429, 503, 200]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert json.loads((await receive())["body"]) == {"inputs": ["a"]}
        headers = [(b"retry-after", b"0")]
        await send({"type": "http.response.start", "status": statuses.pop(0), "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    batches.app = app

    async def all_of_it() -> Batch:
        file = batches.add_file(jsonl(line(0, inputs=["a"])), "a", "batch")
        batch = batches.add("/v1/predict", file.id, None)
        while batch.status not in module.ENDED:
            await asyncio.sleep(0.01)
        return batch

    batch = asyncio.run(all_of_it())
    assert (batch.status, batch.counts["completed"], statuses) == ("completed", 1, [])


@pytest.mark.parametrize(("kind", "body"), [
    ("application/json", b"{}"), ("multipart/form-data", b""), ("multipart/form-data; boundary=x", b""),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x--"),
    ("multipart/form-data; boundary=x", b"--x\r\n\r\n--x--\r\n"),
])  # fmt: skip
def test_forms_without_a_file_are_refused(kind: str, body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        form_file(kind, body)


def test_a_form_of_httpx_is_read_whatever_the_file_holds() -> None:
    for content in (b"", b"\r\n", b"a\r\n--b\r\n", bytes(range(256)) * 3):
        request = httpx.Request("POST", "http://x", files={"file": ("n.jsonl", content)}, data={"purpose": "batch"})
        assert form_file(request.headers["content-type"], request.read()) == ("n.jsonl", content)


def test_a_folder_that_cannot_be_written_to_starts_no_server(toy_model: Path, tmp_path: Path) -> None:
    from manyheads.serve.keys import Keys
    from manyheads.serve.limits import Limits
    from manyheads.serve.server import Address, Resources, serve

    (tmp_path / "file").write_text("")
    with pytest.raises(ManyheadsError, match="give another folder to --batches"):
        serve([str(toy_model)], Address(port=0, batches=tmp_path / "file"), Keys([]), Limits(), Resources())


class Answering:
    """An application that counts what it is asked, and never answers from a number of requests on."""

    def __init__(self, until: int = 10**9) -> None:
        self.until, self.asked = until, list[str]()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        [text] = json.loads((await receive())["body"])["inputs"]
        if len(self.asked) >= self.until:
            await asyncio.Event().wait()
        self.asked.append(text)
        await send({"type": "http.response.start", "status": 422 if text == "bad" else 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps({"answer": text}).encode()})


def served(folder: Path, app: Answering, until: Callable[[Batches], bool], start: Callable[[Batches], None]) -> Batches:
    """The batches of a server that ends, as if killed, once `until` holds."""
    batches = Batches(Store(folder))
    batches.app = app

    async def life() -> None:
        start(batches)
        while not until(batches):
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(life(), 30))
    return batches


def finished(batches: Batches) -> bool:
    return all(batch.status in batch_store.ENDED for batch in batches.store.batches.values())


def custom_ids(batches: Batches, file: str | None) -> list[str]:
    return [] if file is None else [json.loads(one)["custom_id"] for one in batches.store.file(file).path.read_bytes().splitlines()]


TEXTS = ["bad" if number % 7 == 3 else f"text {number}" for number in range(40)]


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_batch_is_continued_after_a_restart_without_a_line_lost_or_answered_twice(tmp_path: Path, cut_off: bool) -> None:
    def upload(batches: Batches) -> None:
        file = batches.add_file(jsonl(*(line(i, inputs=[text]) for i, text in enumerate(TEXTS))), "rows.jsonl", "batch")
        for _ in range(2):
            batches.add("/v1/predict", file.id, {"owner": "me"})

    before = Answering(until=20)
    halfway = served(tmp_path, before, lambda batches: len(before.asked) == 20 and _written(batches) >= 16, upload)
    first, second = halfway.store.batches.values()
    assert (first.status, second.status) == ("in_progress", "validating")
    written = _written(halfway)
    if cut_off:  # the machine lost power while a line was written
        with (tmp_path / "files" / first.writing["output_file_id"]).open("ab") as file:
            file.write(b'{"id": "batch_req_1", "custom')
    after = Answering()
    ended = served(tmp_path, after, finished, Batches.resume)
    assert list(ended.store.batches) == [first.id, second.id]
    assert after.asked == [*TEXTS[written:], *TEXTS]
    for batch in ended.store.batches.values():
        assert (batch.status, batch.metadata) == ("completed", {"owner": "me"})
        assert batch.counts == {"total": 40, "completed": 34, "failed": 6}
        good = custom_ids(ended, batch.files["output_file_id"])
        bad = custom_ids(ended, batch.files["error_file_id"])
        assert good == [f"r{i}" for i, text in enumerate(TEXTS) if text != "bad"]
        assert bad == [f"r{i}" for i, text in enumerate(TEXTS) if text == "bad"]


def _written(batches: Batches) -> int:
    return sum(path.read_bytes().count(b"custom_id") for path in (batches.store._contents).iterdir()) - 40


def test_finished_batches_and_files_are_read_after_a_restart(tmp_path: Path) -> None:
    def upload(batches: Batches) -> None:
        file = batches.add_file(jsonl(line(0, inputs=["a"])), "rows é.jsonl", "batch")
        batches.add("/v1/predict", file.id, None)

    first = served(tmp_path, Answering(), finished, upload)
    (tmp_path / "files" / "stray").write_text("left by a server that was killed")
    again = Store(tmp_path)
    assert [one.to_json() for one in again.files.values()] == [one.to_json() for one in first.store.files.values()]
    assert [one.to_json() for one in again.batches.values()] == [one.to_json() for one in first.store.batches.values()]
    assert len(again.files) == 2
    assert not (tmp_path / "files" / "stray").exists()
    idle = Answering()
    served(tmp_path, idle, lambda _: True, Batches.resume)
    assert idle.asked == []


def test_a_batch_whose_file_was_deleted_or_that_was_being_cancelled_ends_clearly_after_a_restart(tmp_path: Path) -> None:
    def upload(batches: Batches) -> None:
        files = [batches.add_file(jsonl(*(line(i, inputs=["a"]) for i in range(20))), name, "batch") for name in "ab"]
        first, _ = [batches.add("/v1/predict", file.id, None) for file in files]
        batches.delete_file(files[1].id)
        batches.cancel(first.id)

    served(tmp_path, Answering(until=0), lambda _: True, upload)
    ended = served(tmp_path, Answering(), finished, Batches.resume)
    first, second = ended.store.batches.values()
    assert first.status == "cancelled"
    assert second.status == "failed"
    assert second.problems == [{"code": "internal_error", "message": f"no file {second.input_file!r}"}]


def test_files_that_grew_old_while_no_server_ran_are_deleted_at_the_start(tmp_path: Path) -> None:
    batches = Batches(Store(tmp_path))
    file = batches.add_file(b"{}", "a", "batch")
    file.created -= int(batch_store.KEPT_S) + 1
    batches.store.save()
    assert Store(tmp_path).files == {}
    assert list((tmp_path / "files").iterdir()) == []


@pytest.mark.parametrize("state", ["{", "[]", '{"format": 2}', '{"format": 1, "files": [{"x": 1}], "batches": []}'])
def test_a_state_that_cannot_be_read_is_an_error_that_says_what_to_do(tmp_path: Path, state: str) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(UsageError, match=r"state\.json has no state of batches that this version can read .*; delete "):
        Store(tmp_path)


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match=r"another server keeps its batches in .*; give another folder to --batches")
    with open_store(tmp_path), refused, open_store(tmp_path):
        pass
    with open_store(tmp_path) as store:
        assert store.files == {}


@pytest.mark.long
def test_a_server_that_is_stopped_and_started_again_completes_its_batch(toy_model: Path, tmp_path: Path) -> None:
    arguments = (toy_model, "--workers", "1", "--batches", str(tmp_path))
    content = jsonl(*(line(i, inputs=["!sleep 0.05"], tasks=["section"]) for i in range(60)))
    with serving(*arguments, stub="model") as first:
        client = openai.OpenAI(base_url=f"{first.url}/v1", api_key="any", max_retries=0)
        file = client.files.create(file=("rows.jsonl", content), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/predict", completion_window="24h")  # type: ignore[arg-type]
        while client.batches.retrieve(batch.id).request_counts.completed == 0:
            time.sleep(0.05)
        assert first.stop() == 0
    with serving(*arguments, stub="model") as second:
        client = openai.OpenAI(base_url=f"{second.url}/v1", api_key="any", max_retries=0)
        done = ended(client, client.batches.retrieve(batch.id))
        assert second.wait_for("batches_resumed")["count"] == 1
        assert done.status == "completed"
        assert [one["custom_id"] for one in rows(client, done.output_file_id)] == [f"r{i}" for i in range(60)]
        assert client.files.content(file.id).content == content
