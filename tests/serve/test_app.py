"""The routes in this process, with threads as workers: what is answered, what is refused, what stays secret."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyheads.serve.app import build_app
from manyheads.serve.keys import Keys
from manyheads.serve.limits import Limits
from manyheads.serve.queue import INITIAL_RATE
from manyheads.serve.routes import MAX_LEVELS
from manyheads.serve.served_model import ServedModel, with_answer_forms
from manyheads.serve.service import Service
from manyheads.serve.worker import WorkerSettings, answer_rows
from serve.stub_worker import ANSWERS, fake_answers

T = TypeVar("T")
TASKS = {"entities": {"type": "token-classification"}, "section": {"type": "text-classification"},
         "answers": {"type": "question-answering"}, "similarity": {"type": "sentence-embedding"}}  # fmt: skip
KEY = "k" * 20
ROUTES = [("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/metrics"), ("GET", "/v1/tasks"),
          ("GET", "/v1/models"), ("GET", "/v1/models/similarity"),
          ("POST", "/v1/predict"), ("POST", "/v1/embeddings"), ("GET", "/static/style.css"), ("GET", "/none")]  # fmt: skip


class Threads:
    """Stands in for the pool: a thread that answers what is in the queue."""

    def __init__(self, service: Service) -> None:
        self.queue = service.queue
        self.ready = True
        self.last_pass = -float("inf")
        self.startup_error = None
        self.seen: list[Any] = []
        self._gate = threading.Event()
        self._gate.set()
        self._held = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self.queue.record_trial(INITIAL_RATE)
        self._thread.start()

    def hold(self) -> None:
        """Take nothing more until told to go on."""
        self._held.clear()
        self._gate.clear()
        assert self._held.wait(10)

    def go_on(self) -> None:
        self._gate.set()

    def close(self) -> None:
        self._over.set()
        self._gate.set()
        self.queue.close()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            if not self._gate.is_set():
                self._held.set()
                self._gate.wait()
            self.queue.expire()
            units = self.queue.take(0.02)
            self.seen.extend(unit.row for unit in units)
            for unit, answer in zip(units, answer_rows(fake_answers, [(u.row, u.tasks, u.labels) for u in units]), strict=True):
                unit.started = time.monotonic()
                unit.finish(answer)


def made(
    limits: Limits | None = None, keys: Sequence[str] = (), tasks: dict[str, Any] = TASKS, **options: Any
) -> SimpleNamespace:
    service = Service(ServedModel("model", "h" * 64, with_answer_forms(tasks)), WorkerSettings("", "", 1, 1, 1024), limits or Limits())
    pool = Threads(service)
    service.pool = pool  # type: ignore[assignment]
    return SimpleNamespace(app=build_app(service, Keys(keys), **options), service=service, pool=pool)


def talk(server: SimpleNamespace, what: Callable[[httpx.AsyncClient], Awaitable[T]]) -> T:
    async def talking() -> T:
        transport = httpx.ASGITransport(server.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            return await what(client)

    return asyncio.run(talking())


def ask(server: SimpleNamespace, method: str, path: str, **how: Any) -> httpx.Response:
    return talk(server, lambda client: client.request(method, path, **how))


@pytest.fixture(scope="module")
def server() -> Iterator[SimpleNamespace]:
    server = made()
    server.pool.start()
    yield server
    server.pool.close()


@pytest.fixture
def make() -> Iterator[Callable[..., SimpleNamespace]]:
    servers: list[SimpleNamespace] = []

    def start(*what: Any, **how: Any) -> SimpleNamespace:
        servers.append(made(*what, **how))
        servers[-1].pool.start()
        return servers[-1]

    yield start
    for server in servers:
        server.pool.close()


def test_predict_answers_in_order_with_the_models_hash_and_timings(server: SimpleNamespace) -> None:
    done = ask(server, "POST", "/v1/predict", json={"inputs": [{"id": 1, "text": "a"}, "b", {"text": "c", "id": "x"}]})
    assert done.status_code == 200
    answer = done.json()
    assert (answer["model"], answer["hash"]) == ("model", "h" * 64)
    assert [row.get("id") for row in answer["outputs"]] == [1, None, "x"]
    assert "id" not in answer["outputs"][1]
    assert all(set(row["tasks"]) == set(TASKS) for row in answer["outputs"])
    assert done.headers["x-model-hash"] == "h" * 64
    assert re.fullmatch(r"queue;dur=\d+\.\d, total;dur=\d+\.\d", done.headers["server-timing"])


@pytest.mark.parametrize(("rows", "windows"), [
    (["a", "a " * 1600, 5, "a " * 700], "4"), (["a"], "1"), ([5, None], None),
])  # fmt: skip
def test_a_header_says_how_many_windows_the_longest_row_took(
    server: SimpleNamespace, rows: list[Any], windows: str | None
) -> None:
    done = ask(server, "POST", "/v1/predict", json={"inputs": rows})
    assert done.headers.get("x-windows") == windows
    if windows is not None:
        texts = [row for row in rows if isinstance(row, str)]
        assert ask(server, "POST", "/v1/embeddings", json={"input": texts}).headers["x-windows"] == windows


def test_refusals_have_no_windows(server: SimpleNamespace) -> None:
    for path, body in (("/v1/predict", {"inputs": []}), ("/v1/embeddings", {"input": ["a", 5]})):
        done = ask(server, "POST", path, json=body)
        assert (done.status_code, "x-windows" in done.headers) == (422, False)


def test_only_the_tasks_that_are_asked_for_answer(server: SimpleNamespace) -> None:
    done = ask(server, "POST", "/v1/predict", json={"inputs": ["a"], "tasks": ["section", "entities", "section"]})
    assert set(done.json()["outputs"][0]["tasks"]) == {"section", "entities"}
    done = ask(server, "POST", "/v1/predict", json={"inputs": ["a"], "tasks": ["sections"]})
    assert done.status_code == 422
    assert "no task 'sections'; the model's tasks are entities, section" in done.json()["error"]["message"]


@pytest.mark.parametrize(
    "name", [None, True, 0, -1.5, "x", "", "é\n", [], [1, [2, {"a": None}]], {}, {"b": [1e300]}, 10**400]
)
def test_an_id_of_any_json_kind_comes_back(server: SimpleNamespace, name: Any) -> None:
    rows = [{"id": name, "text": "a"}, {"id": name, "text": "\ud800"}, {"id": name, "text": "b" * 20_001}]
    body = json.dumps({"inputs": rows})
    outputs = ask(server, "POST", "/v1/predict", content=body, headers={"content-type": "application/json"}).json()[
        "outputs"
    ]
    assert [row["id"] for row in outputs] == [name] * 3
    assert ["error" in row for row in outputs] == [False, True, True]


def test_a_bad_row_has_an_error_in_its_place_and_its_neighbours_are_answered(server: SimpleNamespace) -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    rows: list[Any] = ["a", 5, None, [], {"text": "a\ud800"}, {"id": deep, "text": "a"}, {"text": "a " * 600_000}, "b"]
    done = ask(server, "POST", "/v1/predict", content=json.dumps({"inputs": rows}),
               headers={"content-type": "application/json"})  # fmt: skip
    assert done.status_code == 200
    assert ["error" in row for row in done.json()["outputs"]] == [False, True, True, True, True, True, True, False]
    assert {row["error"]["type"] for row in done.json()["outputs"] if "error" in row} == {"invalid_row"}


def test_embeddings_have_the_shape_of_openais(server: SimpleNamespace) -> None:
    done = ask(server, "POST", "/v1/embeddings", json={"input": ["a", "b"], "model": "m", "user": "u", "new": 1}).json()
    assert done["object"] == "list"
    assert done["model"] == "m"
    assert [(entry["object"], entry["index"]) for entry in done["data"]] == [("embedding", 0), ("embedding", 1)]
    assert done["data"][0]["embedding"] == pytest.approx([0.6, 0.0, 0.8, 0.0])
    assert done["usage"]["prompt_tokens"] == done["usage"]["total_tokens"] > 0
    cut = ask(server, "POST", "/v1/embeddings", json={"input": "a", "dimensions": 1}).json()
    assert cut["data"][0]["embedding"] == [1.0]


@pytest.mark.parametrize(("body", "complaint"), [
    ({"input": []}, "input is empty"), ({"input": "a", "dimensions": 5}, "vectors have 4"), ({"input": [[1, 2]]}, "input"),
    ({"input": ["a", "\ud800"]}, "input 1: 'text' holds half"), ({"input": ["a"] * 1001}, "1,001 rows"),
])  # fmt: skip
def test_embeddings_that_cannot_be_had_say_why(server: SimpleNamespace, body: Any, complaint: str) -> None:
    done = ask(server, "POST", "/v1/embeddings", content=json.dumps(body), headers={"content-type": "application/json"})
    assert done.status_code == 422
    assert complaint in done.json()["error"]["message"]


def test_the_model_name_chooses_among_several_embedding_tasks_and_is_free_with_one(make: Callable[..., Any]) -> None:
    kind = {"type": "sentence-embedding"}
    two, none = (
        make(tasks={"similarity": kind, "other": kind}),
        make(tasks={"section": {"type": "text-classification"}}),
    )
    assert ask(two, "POST", "/v1/embeddings", json={"input": "a", "model": "similarity"}).status_code == 200
    assert "similarity, other" in ask(two, "POST", "/v1/embeddings", json={"input": "a", "model": "gpt"}).text
    assert "no embedding task" in ask(none, "POST", "/v1/embeddings", json={"input": "a"}).text


BODIES = [b"", b"{", b"null", b"[]", b'"a"', b'{"inputs": NaN}', b'{"inputs": ["a"], "x": 1}', b"\xff\xfe", b"[" * 5000, b"{}",
          b'{"inputs": [], "input": []}', b'{"inputs": ["a"], "tasks": ["\\ud800"]}', b'{"input": 1e999}', b"9" * 5000,
          b'{"inputs": "a", "input": {"a": 1}}', b'{"inputs": [1], "tasks": [1], "input": null}']  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/embeddings"])
def test_bodies_that_are_no_requests_are_422_and_say_where(server: SimpleNamespace, path: str) -> None:
    async def all_of_them(client: httpx.AsyncClient) -> None:
        for body in BODIES:
            for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense", ""):
                done = await client.post(path, content=body, headers={"content-type": kind})
                assert done.status_code == 422, body[:40]
                assert set(done.json()["error"]) == {"type", "message"}
                assert "Traceback" not in done.text

    talk(server, all_of_them)


def test_a_body_of_any_depth_is_answered_or_refused_in_our_own_words(server: SimpleNamespace) -> None:
    async def deeper_and_deeper(client: httpx.AsyncClient) -> None:
        for levels in (50, 51, 400, 496, 497, 498, *range(900, 1000), 5000):  # about 950 are as many as Python reads
            body = b'{"inputs": ["a", {"text": "b", "id": ' + b"[" * levels + b"]" * levels + b"}]}"
            done = await client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
            if levels + 3 <= MAX_LEVELS:
                assert ["error" in row for row in done.json()["outputs"]] == [False, levels >= 50], levels
            else:
                message = "the body has lists or objects nested in more than 500 levels; leave the inner ones out"
                assert (done.status_code, done.json()["error"]["message"]) == (422, message), levels

    talk(server, deeper_and_deeper)


def test_a_number_of_too_many_digits_is_told_of_in_our_own_words(server: SimpleNamespace) -> None:
    body = b'{"inputs": [{"text": "a", "id": ' + b"9" * 5000 + b"}]}"
    done = ask(server, "POST", "/v1/predict", content=body, headers={"content-type": "application/json"})
    message = "the body is not valid JSON: a number has 5,000 digits, too many; send it as a string"
    assert (done.status_code, done.json()["error"]["message"]) == (422, message)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/embeddings"])
@pytest.mark.parametrize(("kind", "seen"), [
    ("application/x-www-form-urlencoded", "is 'application/x-www-form-urlencoded'"), ("text/plain", "is 'text/plain'"),
    ("a" * 5000, f"is '{'a' * 80}'"), ("", "is ''"), (None, "is missing"),
])  # fmt: skip
def test_a_body_that_does_not_say_it_is_json_is_told_which_header_to_send(
    server: SimpleNamespace, path: str, kind: str | None, seen: str
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    done = ask(server, "POST", path, content=b'{"inputs": ["a"], "input": "a"}', headers=headers)
    assert (done.status_code, done.json()["error"]) == (422, {
        "type": "invalid_request", "message": f"the body's Content-Type {seen}; send Content-Type: application/json"})  # fmt: skip


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_named_in_any_of_its_ways(server: SimpleNamespace, kind: str) -> None:
    done = ask(server, "POST", "/v1/predict", content=b'{"inputs": ["a"]}', headers={"content-type": kind})
    assert done.status_code == 200


wild = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8) | st.sampled_from(["text", "inputs", "section", "float", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["text", "question", "id", "tokens", "inputs", "input", "tasks"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.long
@given(st.sampled_from(["/v1/predict", "/v1/embeddings"]), wild | st.fixed_dictionaries(
    {}, optional={"inputs": st.lists(wild, max_size=3), "tasks": wild, "input": wild, "dimensions": wild}), st.integers(0, 200))  # fmt: skip
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_hundreds_of_strange_bodies_are_answered_as_documented(
    server: SimpleNamespace, path: str, body: Any, cut: int
) -> None:
    whole = json.dumps(body).encode()

    async def both(client: httpx.AsyncClient) -> list[httpx.Response]:
        kind = {"content-type": "application/json"}
        return [await client.post(path, content=sent, headers=kind) for sent in (whole, whole[:cut])]

    for done in talk(server, both):
        assert done.status_code in (200, 422)
        assert "Traceback" not in done.text
        assert (done.status_code == 200) == ("error" not in done.json())


def test_too_many_rows_and_too_large_bodies_are_refused(make: Callable[..., Any]) -> None:
    server = make(Limits(rows=2, body_bytes=100))
    assert "3 rows" in ask(server, "POST", "/v1/predict", json={"inputs": ["a"] * 3}).json()["error"]["message"]
    large = ask(server, "POST", "/v1/predict", json={"inputs": ["a" * 100]})
    assert (large.status_code, large.json()["error"]["type"]) == (413, "too_large")

    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 10

    sent = talk(
        server,
        lambda client: client.post("/v1/predict", content=chunks(), headers={"content-type": "application/json"}),
    )
    assert sent.status_code == 413
    assert "content-length" not in sent.request.headers


def test_bodies_that_together_are_too_large_are_429_and_those_that_do_not_arrive_408(make: Callable[..., Any]) -> None:
    server = make(Limits(all_bodies_bytes=150, body_timeout_s=0.1))
    server.pool.hold()

    async def three(client: httpx.AsyncClient) -> list[int]:
        tasks = [asyncio.create_task(client.post("/v1/predict", json={"inputs": ["a" * 40]})) for _ in range(3)]
        await asyncio.sleep(0.3)
        server.pool.go_on()
        return sorted([(await task).status_code for task in tasks])

    assert talk(server, three) == [200, 200, 429]

    async def slow() -> Any:
        yield b"{"
        await asyncio.sleep(0.5)
        yield b"}"

    late = talk(
        server, lambda client: client.post("/v1/predict", content=slow(), headers={"content-type": "application/json"})
    )
    assert (late.status_code, late.headers["connection"]) == (408, "close")
    assert ask(server, "POST", "/v1/predict", json={"inputs": ["a"]}).status_code == 200, (
        "what was counted is given back"
    )


def test_a_full_queue_answers_429_at_once_with_the_time_to_wait(make: Callable[..., Any]) -> None:
    server = make(Limits(queue_tokens=43))
    server.pool.hold()

    async def overload(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = [asyncio.create_task(client.post("/v1/predict", json={"inputs": ["a" * 120]})) for _ in range(2)]
        await asyncio.sleep(0.3)
        started = time.monotonic()
        refused = [await client.post(path, content=b"anything") for path in ("/v1/predict", "/v1/embeddings")]
        assert time.monotonic() - started < 1
        assert (await client.get("/v1/tasks")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503, "nothing moves"
        server.pool.go_on()
        return [*refused, *[await task for task in first]]

    statuses = talk(server, overload)
    assert sorted(done.status_code for done in statuses) == [200, 429, 429, 429]
    refused = [done for done in statuses if done.status_code == 429]
    assert all(int(done.headers["retry-after"]) >= 1 for done in refused)
    assert {done.json()["error"]["type"] for done in refused} == {"queue_full"}


def test_a_passed_deadline_is_503_and_its_rows_cost_no_pass(make: Callable[..., Any]) -> None:
    server = make(Limits(deadline_s=0.1))
    server.pool.hold()

    async def late(client: httpx.AsyncClient) -> httpx.Response:
        task = asyncio.create_task(client.post("/v1/predict", json={"inputs": ["late", "too"]}))
        await asyncio.sleep(0.3)
        server.pool.go_on()
        return await task

    done = talk(server, late)
    assert (done.status_code, done.json()["error"]["type"], done.headers["retry-after"]) == (
        503,
        "deadline_passed",
        "1",
    )
    assert server.pool.seen == []


def test_the_rows_of_a_client_that_leaves_never_reach_a_worker(make: Callable[..., Any]) -> None:
    server = make()
    server.pool.hold()
    sent: list[Any] = []

    async def leaving() -> None:
        body = json.dumps({"inputs": ["gone", "gone too"]}).encode()
        messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            if len(messages) == 1:
                await asyncio.sleep(0.1)
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/predict", "raw_path": b"/v1/predict", "query_string": b"",
                 "headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
                 "server": ("here", 80), "client": ("there", 1), "root_path": ""}  # fmt: skip
        task = asyncio.create_task(server.app(scope, receive, send))
        await asyncio.sleep(0.3)
        server.pool.go_on()
        await asyncio.wait_for(task, 30)

    asyncio.run(leaving())
    assert server.pool.seen == []
    assert 'status="499"' in ask(server, "GET", "/metrics").text


def test_ready_needs_all_workers_and_a_queue_that_moves(make: Callable[..., Any]) -> None:
    server = make()
    assert ask(server, "GET", "/health/ready").json() == {"status": "ready"}
    server.pool.ready = False
    done = ask(server, "GET", "/health/ready")
    assert (done.status_code, done.json()["error"]["type"]) == (503, "not_ready")
    assert ask(server, "GET", "/health/live").status_code == 200
    server.pool.ready = True
    server.pool.hold()
    server.pool.last_pass = time.monotonic()
    assert ask(server, "GET", "/health/ready").status_code == 200, "slow, but others' rows are answered"
    server.pool.last_pass = time.monotonic() - 60
    assert ask(server, "GET", "/health/ready").status_code == 503
    server.pool.go_on()
    assert ask(server, "GET", "/health/ready").status_code == 200
    server.service.draining = True
    done = ask(server, "GET", "/health/ready")
    assert (done.status_code, done.headers["connection"]) == (503, "close")


def test_with_keys_every_route_but_health_needs_one_whatever_the_host_says(make: Callable[..., Any]) -> None:
    server = make(keys=[KEY])

    async def try_all(client: httpx.AsyncClient) -> None:
        for method, path in ROUTES:
            for host in ("here", "localhost", "127.0.0.1:8000", "/health/live", "here/health/live?", "", "é".encode()):
                done = await client.request(method, path, headers={"host": host})
                assert (done.status_code, done.headers["www-authenticate"].split()[0]) == (
                    401,
                    "Basic" if path in ("/", "/docs") else "Bearer",
                ), path
                assert set(done.json()) == {"error"}
            for trick in ("//health/live", "/health/live/", "/health/live/..", "/HEALTH/LIVE", "/health/live%2f..%2f..",
                          "//v1/predict", "/V1/PREDICT", "/v1/%2e%2e/v1/tasks", "/v1/./tasks", "/health/live;/../../v1/tasks", "/%2e/v1/tasks",
                          "/v1/tasks?x=/health/live", "/v1/tasks#/health/live", "/v1/predict%00/health/live"):  # fmt: skip
                assert (await client.request(method, trick)).status_code == 401, trick
            for how in ({"x-forwarded-for": "127.0.0.1"}, {"x-original-url": "/health/live"}, {"x-api-key": KEY[:-1]},
                        {"authorization": f"Basic {KEY}"}, {"authorization": KEY}, {"cookie": f"key={KEY}"},
                        {"x-http-method-override": "GET"}):  # fmt: skip
                assert (await client.request(method, path, headers=how)).status_code == 401
            assert (await client.request(method, f"{path}?api_key={KEY}&key={KEY}")).status_code == 401
            for right in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
                assert (await client.request(method, path, headers=right)).status_code in (200, 404, 422)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "XYZ"):
            assert (await client.request(method, "/v1/tasks")).status_code == 401
        for path in ("/health/live", "/health/ready"):
            assert (await client.get(path)).status_code == 200

    talk(server, try_all)


def test_pages_and_answers_cannot_be_framed_sniffed_or_kept(server: SimpleNamespace) -> None:
    for method, path in ROUTES:
        headers = ask(server, method, path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_paths_and_methods_that_do_not_exist_are_told_in_the_same_shape(server: SimpleNamespace) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/v1/predict", 405), ("POST", "/v1/tasks", 405),
                                 ("POST", "/v1/predict/", 404), ("GET", "/static/../app.py", 404)):  # fmt: skip
        done = ask(server, method, path)
        assert done.status_code == status
        assert set(done.json()["error"]) == {"type", "message"}
    assert ask(server, "GET", "/nothing").json()["error"]["message"] == "there is no '/nothing'; /docs lists all paths"
    near = "there is no '/v1/predcit'; did you mean '/v1/predict'? /docs lists all paths"
    assert ask(server, "POST", "/v1/predcit").json()["error"]["message"] == near
    assert ask(server, "GET", "/v1/predict").json()["error"]["message"] == "/v1/predict does not take GET; use POST"


def test_metrics_are_named_as_prometheus_has_it_and_counted_by_task(make: Callable[..., Any]) -> None:
    server = make()
    ask(server, "POST", "/v1/predict", json={"inputs": ["a", 5], "tasks": ["section"]})
    ask(server, "GET", "/some/made/up/path")
    text = ask(server, "GET", "/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert all(name.startswith("manyheads_") for name in kinds)
    assert all(name.endswith("_total") for name, kind in kinds.items() if kind == "counter")
    assert all(name.endswith(("_seconds", "_tokens")) for name, kind in kinds.items() if kind == "histogram")
    assert "_created" not in text
    assert 'manyheads_rows_total{task="section"} 1.0' in text
    assert 'manyheads_row_errors_total{type="invalid_row"} 1.0' in text
    assert 'manyheads_requests_total{route="/v1/predict",status="200"} 1.0' in text
    assert 'route="other",status="404"' in text
    assert "made" not in text


def test_the_log_has_a_line_for_each_request_and_no_texts(
    make: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    server = make()
    ask(server, "POST", "/v1/predict?secretquery", json={"inputs": ["secrettext", {"id": "secretid", "text": 5}]})
    ask(server, "POST", "/v1/predict", json={"inputs": "secretbody"})
    ask(server, "GET", "/secretpath")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(line["route"], line["status"]) for line in lines if line["event"] == "request"] == [
        ("/v1/predict", 200), ("/v1/predict", 422), ("other", 404)]  # fmt: skip
    assert "secret" not in json.dumps(lines)


def test_what_goes_wrong_inside_is_500_without_its_words(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
                                                         capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    server = make()

    def broken(_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(server.service.queue, "put", broken)
    done = ask(server, "POST", "/v1/predict", json={"inputs": ["a"]})
    assert (done.status_code, done.json()["error"]["type"]) == (500, "internal_error")
    err = capfd.readouterr().err
    assert "secret" not in done.text + err
    assert '"ZeroDivisionError"' in err
    assert "test_app.py" in err


def test_a_vector_that_cannot_be_had_inside_is_an_internal_error(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(requests: Sequence[Any]) -> Any:
        return [1 / 0 for _ in requests]

    monkeypatch.setitem(globals(), "fake_answers", broken)
    done = ask(make(), "POST", "/v1/embeddings", json={"input": "a"})
    assert (done.status_code, done.json()["error"]["type"]) == (500, "internal_error")
    assert "zero" not in done.text


def test_the_schema_documents_every_status_of_every_route(server: SimpleNamespace) -> None:
    paths = ask(server, "GET", "/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/predict", "/v1/embeddings", "/v1/rerank", "/v1/tasks", "/v1/models", "/v1/models/{model}", "/health/live",
                          "/health/ready", "/metrics"}  # fmt: skip
    for path in ("/v1/predict", "/v1/embeddings", "/v1/rerank"):
        assert set(paths[path]["post"]["responses"]) >= {"200", "401", "408", "413", "415", "422", "429", "500", "503"}


def test_what_is_below_min_score_is_left_out_as_the_request_says_or_else_the_server(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = [
        {"start": i, "end": i + 1, "label": "X", "text": "a", "score": score} for i, score in enumerate((0.3, 0.9))
    ]
    monkeypatch.setitem(ANSWERS, "entities", spans)

    def scores(server: SimpleNamespace, **said: Any) -> list[float]:
        done = ask(server, "POST", "/v1/predict", json={"inputs": ["aa"], "tasks": ["entities"], **said})
        return [span["score"] for span in done.json()["outputs"][0]["tasks"]["entities"]]

    open_to_all, strict = make(), make(Limits(min_score=0.5))
    assert scores(open_to_all) == [0.3, 0.9]
    assert scores(open_to_all, min_score=0.4) == scores(strict) == [0.9]
    assert scores(strict, min_score=0) == [0.3, 0.9]
    for bad in (-0.1, 1.5, "0.5", True):
        done = ask(open_to_all, "POST", "/v1/predict", json={"inputs": ["aa"], "min_score": bad})
        assert done.status_code == 422
        assert "min_score" in done.text
