"""`manyheads serve` as a user has it: real processes, real connections, a toy model, and all that can happen to them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

import manyheads as mh
from manyheads.cli import main
from manyheads.serve.server import Address, listen
from serve.servers import Server, raw, serving
from toys import SENTENCES

KEY = "k" * 20
QUESTION = "What lowered fever?"


@pytest.fixture(scope="module")
def model(toy_model: Path) -> mh.Model:
    import torch

    torch.set_num_threads(1)
    return mh.load(toy_model)


def post(server: Server, rows: list[Any], *, tasks: list[str] | None = None) -> list[Any]:
    body = {"inputs": rows} | ({"tasks": tasks} if tasks else {})
    done = httpx.post(f"{server.url}/v1/predict", json=body, timeout=120)
    assert done.status_code == 200, done.text
    return list(done.json()["outputs"])


def same(one: Any, two: Any) -> None:
    """Labels, spans and texts equal; scores and vectors within what the order of additions makes of float32."""
    if isinstance(one, dict):
        assert isinstance(two, dict)
        assert list(one) == list(two)
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, list):
        assert len(one) == len(two)
        for left, right in zip(one, two, strict=True):
            same(left, right)
    elif isinstance(one, float):
        assert one == pytest.approx(two, abs=2e-5)
    else:
        assert one == two


def some_rows(count: int) -> list[dict[str, Any]]:
    draw = random.Random(5)
    words = " ".join(SENTENCES).split()
    rows: list[dict[str, Any]] = []
    for i in range(count):
        row: dict[str, Any] = {"id": i, "text": " ".join(draw.choices(words, k=draw.choice([1, 3, 10, 40, 150])))}
        rows.append(row | ({"question": QUESTION} if draw.random() < 0.4 else {}))
    return [*rows, {"id": "none"}, {"id": "kind", "text": 5}, {"id": "words", "tokens": ["Aspirin", "lowered", "fever"]},
            {"id": "empty", "text": ""}, {"id": "question", "text": "a", "question": ""}]  # fmt: skip


def test_every_route_answers(server: Server, toy_model: Path) -> None:
    with httpx.Client(base_url=server.url) as client:
        tasks = client.get("/v1/tasks").json()
        assert set(tasks["tasks"]) == {"entities", "section", "answers", "similarity"}
        assert tasks["model"] == toy_model.name
        assert tasks["tasks"]["section"]["type"] == "text-classification"
        assert client.get("/health/live").json() == {"status": "live"}
        assert client.get("/health/ready").json() == {"status": "ready"}
        assert "manyheads_pass_seconds_bucket" in client.get("/metrics").text
        for path in ("/", "/docs"):
            assert client.get(path).headers["content-type"].startswith("text/html")
        assert client.get("/openapi.json").json()["info"]["title"] == "manyheads"
        assert client.get("/nothing").status_code == 404


@pytest.mark.long
def test_answers_equal_those_of_predict_alone_and_in_company(server: Server, model: mh.Model) -> None:
    rows = some_rows(60)
    expected = json.loads(json.dumps(model.predict(rows)))
    together = post(server, rows)
    same(together, expected)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        alone = [client.post("/v1/predict", json={"inputs": [row]}).json()["outputs"][0] for row in rows]
    same(alone, expected)

    async def company() -> list[Any]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:

            async def one(row: Any, tasks: list[str] | None) -> Any:
                body = {"inputs": [row]} | ({"tasks": tasks} if tasks else {})
                while (done := await client.post("/v1/predict", json=body)).status_code == 429:  # a busy machine
                    await asyncio.sleep(1)
                return done.json()["outputs"][0]

            draw = random.Random(3)
            others = [one({"text": " ".join(draw.choices(SENTENCES, k=3))}, ["section"]) for _ in rows]
            mixed = await asyncio.gather(*[asked for pair in zip([one(row, None) for row in rows], others, strict=True)
                                           for asked in pair])  # fmt: skip
            return list(mixed[::2])

    same(asyncio.run(company()), expected)


@pytest.mark.long
def test_a_server_in_bf16_answers_as_a_model_in_bf16(toy_model: Path, model: mh.Model) -> None:
    rows = [{"text": text} for text in SENTENCES]
    expected = mh.load(toy_model, precision="bf16").predict(rows, ["similarity"])
    with serving(toy_model, "--workers", "1", "--precision", "bf16") as bf16:
        same(post(bf16, rows, tasks=["similarity"]), json.loads(json.dumps(expected)))
    float32 = model.predict(rows, ["similarity"])
    assert expected != float32
    for one, two in zip(expected, float32, strict=True):
        cosine = sum(a * b for a, b in zip(one["tasks"]["similarity"], two["tasks"]["similarity"], strict=True))
        assert cosine > 0.999


def test_the_openai_client_works_unchanged(server: Server, model: mh.Model) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any")
    expected = model.embed(SENTENCES)
    plain = client.embeddings.create(input=SENTENCES, model="similarity")  # base64 on the wire
    floats = client.embeddings.create(input=SENTENCES, model="similarity", encoding_format="float")
    short = client.embeddings.create(input=SENTENCES[0], model="similarity", dimensions=4)
    for done in (plain, floats):
        np.testing.assert_allclose([entry.embedding for entry in done.data], expected, atol=2e-5)
        assert [entry.index for entry in done.data] == list(range(len(SENTENCES)))
    cut = expected[0][:4] / np.linalg.norm(expected[0][:4])
    np.testing.assert_allclose(short.data[0].embedding, cut, atol=2e-5)
    assert plain.usage.total_tokens > 0
    with pytest.raises(openai.UnprocessableEntityError, match="input is empty"):
        client.embeddings.create(input=[], model="similarity")
    raw = httpx.post(f"{server.url}/v1/embeddings", json={"input": "a", "encoding_format": "base64"}).json()
    assert len(base64.b64decode(raw["data"][0]["embedding"])) == 4 * expected.shape[1]


def test_the_openai_client_lists_models_and_is_told_what_is_wrong(server: Server, toy_model: Path) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
    listed = client.models.list().data
    assert [model.id for model in listed] == [toy_model.name, "similarity"]
    assert client.models.retrieve("similarity") == listed[1]
    assert abs(listed[0].created - time.time()) < 86_400
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'"):
        client.models.retrieve("gpt-4")
    nothing = dict.fromkeys(["encoding_format", "dimensions", "user", "model"])
    done = client.embeddings.create(input="a", model="similarity", extra_body=nothing)
    assert done.data[0].embedding == client.embeddings.create(input=["a"], model="similarity").data[0].embedding
    for ids in ([1, 2, 3], [[1, 2, 3], [4]]):
        with pytest.raises(openai.UnprocessableEntityError, match="check_embedding_ctx_length=False"):
            client.embeddings.create(input=ids, model="similarity")
    packed = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", default_headers={"Content-Encoding": "gzip"})
    with pytest.raises(openai.APIStatusError, match="Content-Encoding: 'gzip'") as refused:
        packed.embeddings.create(input="a", model="similarity")
    assert refused.value.status_code == 415


def test_a_head_has_no_body_on_the_wire(server: Server) -> None:
    for path in ("/health/live", "/v1/tasks", "/v1/models"):
        answer = raw(server.url, f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"content-length: " in head.lower()
        assert body == b""
    assert httpx.head(f"{server.url}/health/ready", timeout=30).status_code == 200


@pytest.mark.long
def test_a_large_request_is_refused_at_once_or_answered_and_small_ones_beside_it_are(toy_model: Path) -> None:
    with serving(toy_model, "--workers", "1", "--deadline", "10") as server:
        started = time.monotonic()
        done = httpx.post(f"{server.url}/v1/predict", json={"inputs": ["word " * 1_800] * 1_000}, timeout=60)
        assert (done.status_code, done.json()["error"]["type"]) == (413, "too_large"), "three million tokens"
        assert time.monotonic() - started < 5
        fits = int(re.findall(r"at most ([\d,]+) tokens per request", done.json()["error"]["message"])[0].replace(",", ""))
        rows = max(2, fits // 700)
        statuses: dict[str, list[int]] = {"large": [], "small": []}

        def ask(kind: str, body: dict[str, Any], times: int) -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                for _ in range(times):
                    statuses[kind].append(client.post("/v1/predict", json=body).status_code)

        large = threading.Thread(target=ask, args=("large", {"inputs": ["word " * 200] * min(rows, 1_000)}, 1))
        small = [threading.Thread(target=ask, args=("small", {"inputs": [SENTENCES[i % 6]], "tasks": ["section"]}, 20))
                 for i in range(8)]  # fmt: skip
        for thread in (large, *small):
            thread.start()
        for thread in (large, *small):
            thread.join()
        assert statuses["large"] == [200]
        assert statuses["small"] == [200] * 160


@pytest.mark.long
def test_browsers_of_a_named_origin_and_a_proxy_below_a_path(toy_model: Path) -> None:
    page = "http://localhost:3000"
    options = ["--allow-origin", page, "--allow-origin", "https://app.example", "--root-path", "/nlp/"]
    with serving(toy_model, "--workers", "1", *options, stub="fake") as server:
        may = {"origin": page, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
        assert httpx.options(f"{server.url}/nlp/v1/predict", headers=may).headers["access-control-allow-origin"] == page
        client = openai.OpenAI(base_url=f"{server.url}/nlp/v1", api_key="any", default_headers={"origin": page})
        answer = client.embeddings.with_raw_response.create(input="a", model="x")
        assert answer.headers["access-control-allow-origin"] == page
        assert httpx.get(f"{server.url}/nlp/health/live").status_code == 200


def test_poison_rows_fail_alone(server: Server) -> None:
    rows = [{"id": i, "text": "!raise it" if i % 10 == 3 else SENTENCES[i % 6]} for i in range(50)]
    outputs = post(server, rows)
    assert [row["id"] for row in outputs if "error" in row] == [3, 13, 23, 33, 43]
    assert {row["error"]["type"] for row in outputs if "error" in row} == {"internal_error"}
    failed = server.wait_for("row_failed")
    assert failed["type"] == "RuntimeError"
    assert not [line for line in server.log if "!raise it" in json.dumps(line)], "no text in the log"


@pytest.mark.long
def test_entities_planted_in_a_long_text_are_found_in_their_windows(server: Server, model: mh.Model) -> None:
    planted = SENTENCES[1]
    text = " ".join([planted if i % 12 == 7 else SENTENCES[2] for i in range(4_400)])
    output = post(server, [{"text": text}], tasks=["entities"])[0]
    assert output["windows"] > 1_000, "of 48 tokens: some 50,000"
    found = output["tasks"]["entities"]
    assert all(text[span["start"] : span["end"]] == span["text"] for span in found)
    assert text.count(planted) == 367
    assert found, "as far as a toy has learned; benchmarks/serving.py plants names that a real model knows"
    assert [(span["start"], span["end"], span["label"]) for span in found] == [
        (span["start"], span["end"], span["label"]) for span in model.entities(text)[0]]  # fmt: skip


def test_strange_bytes_on_the_wire_are_no_server_errors(server: Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    draw = random.Random(1)
    requests = [
        b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        head + b"Content-Length: abc\r\n\r\n", head + b"Content-Length: -1\r\n\r\n", head + b"Content-Length: 99999999999999999999\r\n\r\n",
        head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        head + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", head + b"Content-Length: 100\r\n\r\n{}",
        head + b"X: " + b"a" * 200_000 + b"\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%00%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n", b"GET //evil.example/.. HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://evil.example/v1/tasks HTTP/1.1\r\nHost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        *[draw.randbytes(60) for _ in range(20)],
    ]  # fmt: skip
    for request in requests:
        answer = raw(server.url, request)
        assert not answer.startswith(b"HTTP/1.1 5"), request[:60]
        assert b"Traceback" not in answer
    with httpx.Client(base_url=server.url, headers={"content-type": "application/json"}) as client:
        for body in (draw.randbytes(draw.randrange(1, 50)) for _ in range(200)):
            assert client.post("/v1/predict", content=body).status_code == 422
    assert server.process.poll() is None
    assert post(server, ["a"])


@pytest.mark.long
def test_the_rows_of_a_client_that_leaves_never_reach_a_worker(toy_model: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    with serving(toy_model, "--workers", "1", stub="fake", STUB_SEEN=str(seen)) as server:
        busy = threading.Thread(target=post, args=(server, ["!sleep 1.5"]))
        busy.start()
        while not seen.exists() or "!sleep" not in seen.read_text():
            time.sleep(0.01)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/predict", json={"inputs": ["left"] * 10}, timeout=0.3)
        post(server, ["stayed"])
        busy.join()
        assert "stayed" in seen.read_text()
        assert "left" not in seen.read_text()


class Load:
    """Clients that ask one after the other, each on a connection of its own, until told to stop; what came of it."""

    def __init__(self, url: str, clients: int, text: str) -> None:
        self.statuses: list[int] = []
        self.lost: list[str] = []
        self.times: list[float] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, text)) for _ in range(clients)]

    def _ask(self, url: str, text: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps({"inputs": [text], "tasks": ["section"]}).encode()
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        while not self._over.is_set():
            try:
                connection = socket.create_connection((host, int(port)), timeout=60)
            except OSError:  # not accepted: nobody listens any more
                return
            started = time.monotonic()
            with connection:
                try:
                    connection.sendall(head.encode() + body)
                    answer = b""
                    while more := connection.recv(65536):
                        answer += more
                    self.statuses.append(int(answer.split(b" ", 2)[1]))
                    assert answer.count(b"{")
                    if answer.startswith(b"HTTP/1.1 200"):
                        assert b"RESULTS" in answer
                except (OSError, IndexError, AssertionError) as error:
                    self.lost.append(repr(error))
            self.times.append(time.monotonic() - started)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.long
def test_kills_of_workers_under_load_leave_no_request_unanswered(toy_model: Path) -> None:
    slowly = {"STUB_LOAD_S": "1"}  # a real model takes longer
    with (
        serving(toy_model, "--workers", "2", stub="fake", **slowly) as server,
        Load(server.url, 4, "!sleep 0.02") as load,
    ):
        for kill in range(3):
            server.wait_until_ready()
            time.sleep(0.1)
            os.kill(random.choice(server.workers()), signal.SIGKILL)
            assert server.wait_until_ready(False, 1.0) < 1
            server.wait_for("worker_restarted", kill + 1)
        server.wait_until_ready()
    assert load.lost == []
    assert set(load.statuses) == {200}
    assert len(load.statuses) > 20


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_drains_and_exits_0(toy_model: Path, number: int) -> None:
    with serving(toy_model, "--workers", "1", stub="fake") as server:
        with Load(server.url, 6, "!sleep 0.05") as load:
            time.sleep(0.7)
            assert server.stop(number, 30) == 0
        assert load.lost == []
        assert set(load.statuses) <= {200}
        assert load.statuses
        assert server.log[-1]["event"] == "stopped"


def test_a_worker_that_kills_itself_over_one_row_answers_the_others(toy_model: Path) -> None:
    with serving(toy_model, "--workers", "1", stub="fake") as server:
        outputs = post(server, [{"id": i, "text": "!kill" if i == 2 else "a"} for i in range(5)])
        assert [row["id"] for row in outputs if "error" in row] == [2]


@pytest.mark.long
def test_overload_is_refused_quickly_and_is_over_soon(toy_model: Path) -> None:
    with serving(toy_model, "--workers", "1", "--queue-tokens", "20", stub="fake") as server:
        with Load(server.url, 16, "!sleep 0.1") as load:
            time.sleep(2)
        assert load.lost == []
        assert set(load.statuses) == {200, 429}
        refused = sorted(took for took, status in zip(load.times, load.statuses, strict=False) if status == 429)
        assert refused[len(refused) // 2] < 0.1
        started = time.monotonic()
        post(server, ["a"])
        assert time.monotonic() - started < 2


@pytest.mark.long
def test_a_passed_deadline_is_503(toy_model: Path) -> None:
    with serving(toy_model, "--workers", "1", "--deadline", "1", stub="fake") as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            busy = threading.Thread(target=post, args=(server, ["!sleep 4"]))
            busy.start()
            time.sleep(0.3)
            started = time.monotonic()
            done = client.post("/v1/predict", json={"inputs": ["late"]})
            took = time.monotonic() - started
            busy.join()
        assert (done.status_code, done.json()["error"]["type"]) == (503, "deadline_passed")
        assert 0.9 < took < 3, "though the only worker is busy"


def test_keys_hold_for_a_server_and_its_clients(toy_model: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    other = "o" * 20
    with serving(toy_model, "--workers", "1", "--api-keys", str(keys), stub="fake", MANYHEADS_API_KEYS=other) as server:
        for path in (
            "/",
            "/docs",
            "/openapi.json",
            "/metrics",
            "/v1/tasks",
            "/v1/models",
            "/v1/models/similarity",
            "/nothing",
            "//v1/tasks",
            "/v1/%2e%2e/v1/tasks",
        ):
            for host in ("x", "localhost/health/live", "/health/live"):
                answer = raw(server.url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                assert answer.startswith(b"HTTP/1.1 401"), path
        target = f"GET http://x/health/live/../../v1/tasks HTTP/1.1\r\nHost: {server.url}\r\nConnection: close\r\n\r\n"
        assert raw(server.url, target.encode()).startswith(b"HTTP/1.1 401")
        for key in (KEY, other):
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key)
            assert client.embeddings.create(input="a", model="x").data
            assert client.models.list().data
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="k" * 21).models.list()
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="k" * 21).embeddings.create(input="a", model="x")
        assert KEY not in json.dumps(server.log)


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(
        [str(Path(__file__).parent / "stub"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    return subprocess.run([sys.executable, "-m", "manyheads", "serve", *arguments], capture_output=True, text=True, check=False,
                          timeout=120, env={**os.environ, "PYTHONPATH": path, **environment})  # fmt: skip


def test_accepted_connections_send_at_once() -> None:
    """Without TCP_NODELAY the second write of an answer waits 40 ms for the first to be acknowledged."""
    listening = listen(Address("127.0.0.1", 0))
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_cannot_be_served_is_one_sentence_and_exit_status_2(
    toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").write_text("short\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, complaint in (
            ([str(toy_model), "--port", port], "cannot listen on 127.0.0.1"),
            ([str(tmp_path / "absent")], "absent"),
            ([str(toy_model), "--api-keys", str(tmp_path / "keys")], "fewer than 16 characters"),
            ([str(toy_model), "--port", "x"], "whole number from 0 to 65535"),
            ([str(toy_model), "--allow-origin", "app.example"], "is not an origin; write https://HOST"),
            ([str(toy_model), "--root-path", "nlp"], "write it as in --root-path /models/demo"),
            ([str(toy_model), "--workers", "0"], "whole number above 0"),
            ([str(toy_model), "--host", "no.such.host.invalid", "--port", "0"], "cannot listen on"),
        ):
            try:
                status = main(["serve", *arguments])
            except SystemExit as error:
                status = int(error.code or 0)
            said = capsys.readouterr()
            assert (status, said.out) == (2, ""), arguments
            assert complaint in said.err
            assert said.err.count("\n") == 1, said.err


def test_a_variable_without_a_key_starts_no_server(toy_model: Path) -> None:
    for value in ("", ","):
        done = command(str(toy_model), "--port", "0", STUB="fake", MANYHEADS_API_KEYS=value)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: MANYHEADS_API_KEYS is set but has no API key")


def test_a_model_that_no_worker_can_load_ends_the_server_with_the_reason(toy_model: Path) -> None:
    done = command(str(toy_model), "--port", "0", "--workers", "1", STUB="fake", STUB_BROKEN="1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: no worker could be started: RuntimeError: no such luck"


@pytest.mark.long
def test_a_model_for_torch_says_so_where_there_is_none(toy_model: Path) -> None:
    done = command(str(toy_model), "--port", "0", "--workers", "1", STUB_WITHOUT_TORCH="1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: no worker could be started: {toy_model} holds a PyTorch model, and torch is not installed; pip install torch, "
        "or convert the model with `manyheads export --to onnx` on a machine that has torch"
    )


def test_the_serving_process_never_imports_torch_nor_what_needs_it() -> None:
    code = ("import sys, manyheads.serve.server, manyheads.cli; "
            "print(sorted({'torch', 'transformers', 'scipy', 'datasets', 'pandas', 'peft'} & set(sys.modules)))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.long
def test_no_process_is_left_when_the_server_is_killed(toy_model: Path) -> None:
    with serving(toy_model, "--workers", "2", stub="fake") as server:
        workers = server.workers()
        assert len(workers) == 2
        server.stop(signal.SIGKILL)
        until = time.monotonic() + 30
        while any(is_running(pid) for pid in workers) and time.monotonic() < until:
            time.sleep(0.02)
        assert not any(is_running(pid) for pid in workers)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
