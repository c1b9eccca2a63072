"""Third-party clients: OpenAI's and LangChain's, browsers of other origins, monitors, proxies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyheads.errors import UsageError
from manyheads.serve.cors import parse_origin
from manyheads.serve.limits import Limits
from manyheads.serve.proxy import parse_root_path
from serve.test_app import KEY, TASKS, ask, made

PAGE = "https://pages.example"
PREFLIGHT = {"origin": PAGE, "access-control-request-method": "POST",
             "access-control-request-headers": "authorization,content-type,x-stainless-lang"}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[SimpleNamespace]:
    server = made()
    server.pool.start()
    yield server
    server.pool.close()


@pytest.fixture(scope="module")
def locked() -> Iterator[SimpleNamespace]:
    """With a key, a page of another origin, and a proxy."""
    server = made(keys=[KEY], origins=(PAGE,), root_path="/models/demo")
    server.pool.start()
    yield server
    server.pool.close()


def problem(done: Any) -> str:
    return str(done.json()["error"]["message"])


@given(st.sets(st.sampled_from(["model", "encoding_format", "dimensions", "user", "something_new"])))
def test_null_means_absent(server: SimpleNamespace, keys: set[str]) -> None:
    plain = ask(server, "POST", "/v1/embeddings", json={"input": ["a", "b"]})
    done = ask(server, "POST", "/v1/embeddings", json={"input": ["a", "b"], **dict.fromkeys(keys)})
    assert (done.status_code, done.json()) == (200, plain.json())
    assert done.json()["model"] == "similarity"


def test_tasks_that_are_null_are_all_of_them(server: SimpleNamespace) -> None:
    done = ask(server, "POST", "/v1/predict", json={"inputs": ["a"], "tasks": None})
    assert set(done.json()["outputs"][0]["tasks"]) == set(TASKS)


@pytest.mark.parametrize("given_", [[1, 2], [[1, 2], [3]], [[]], [0], ["a", [5]]])
def test_token_ids_are_one_sentence_with_langchains_setting(server: SimpleNamespace, given_: Any) -> None:
    done = ask(server, "POST", "/v1/embeddings", json={"input": given_, "model": "m"})
    assert done.status_code == 422
    assert problem(done) == ("input: token ids are of another model's tokenizer and cannot be read here; send texts (in LangChain: "
                             "OpenAIEmbeddings(check_embedding_ctx_length=False))")  # fmt: skip


@pytest.mark.parametrize(("given_", "seen"), [
    (5, "it is a number"), (None, "it is null"), ({"a": 1}, "it is an object"), (True, "it is a boolean"),
    (["a", None], "input 1 is null"), ([True], "input 0 is a boolean"), ([1.5], "input 0 is a number"),
    (["a", ["b"]], "input 1 is a list"),
])  # fmt: skip
def test_input_that_is_no_text_is_one_sentence_too(server: SimpleNamespace, given_: Any, seen: str) -> None:
    done = ask(server, "POST", "/v1/embeddings", json={"input": given_})
    assert (done.status_code, problem(done)) == (422, f"input: give a text or a list of texts; {seen}")


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/embeddings"])
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate, gzip", "GZIP"])
def test_a_compressed_body_is_415(server: SimpleNamespace, path: str, coding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": coding}
    done = ask(server, "POST", path, content=b"\x1f\x8b\x08anything", headers=headers)
    assert (done.status_code, done.json()["error"]["type"]) == (415, "compressed")
    assert problem(done) == f"the body is compressed (Content-Encoding: {coding.lower()!r}); send it uncompressed"


@pytest.mark.parametrize("coding", ["identity", ""])
def test_a_body_that_says_it_is_as_it_is_is_read(server: SimpleNamespace, coding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": coding}
    assert ask(server, "POST", "/v1/predict", content=b'{"inputs": ["a"]}', headers=headers).status_code == 200


def test_models_are_listed_as_openai_lists_them_and_can_be_asked_for(server: SimpleNamespace) -> None:
    listed = ask(server, "GET", "/v1/models").json()
    assert listed["object"] == "list"
    assert [card["id"] for card in listed["data"]] == ["model", "similarity"]
    for card in listed["data"]:
        assert card == {"id": card["id"], "object": "model", "created": 0, "owned_by": "manyheads"}
        assert ask(server, "GET", f"/v1/models/{card['id']}").json() == card
        assert ask(server, "POST", "/v1/embeddings", json={"input": "a", "model": card["id"]}).status_code == 200
    done = ask(server, "GET", "/v1/models/gpt-4")
    assert (done.status_code, problem(done)) == (404, "no model 'gpt-4'; available: model, similarity")
    assert 'route="/v1/models/{model}",status="404"' in ask(server, "GET", "/metrics").text


def test_the_head_of_every_page_is_that_of_get_without_a_body(server: SimpleNamespace) -> None:
    for path in (
        "/health/live",
        "/health/ready",
        "/",
        "/docs",
        "/v1/models",
        "/v1/tasks",
        "/metrics",
        "/openapi.json",
        "/no",
    ):
        head, got = ask(server, "HEAD", path), ask(server, "GET", path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
    assert ask(server, "HEAD", "/v1/predict").status_code == 405


def test_a_page_of_an_allowed_origin_may_ask_and_read_what_it_is_told(locked: SimpleNamespace) -> None:
    asked = ask(locked, "OPTIONS", "/v1/embeddings", headers=PREFLIGHT)
    assert asked.status_code == 200, "without a key: browsers send none with this question"
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert {"authorization", "content-type", "x-stainless-lang"} <= set(
        asked.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    )
    for headers, status in (({}, 401), ({"authorization": f"Bearer {KEY}"}, 200)):
        done = ask(locked, "POST", "/v1/embeddings", json={"input": "a"}, headers={"origin": PAGE, **headers})
        assert (done.status_code, done.headers["access-control-allow-origin"]) == (status, PAGE)
        assert "Retry-After" in done.headers["access-control-expose-headers"]


def test_pages_of_other_origins_may_not(locked: SimpleNamespace, server: SimpleNamespace) -> None:
    for other in ("https://pages.example.evil", "http://pages.example", "https://pages.example:8443", "null"):
        assert ask(locked, "OPTIONS", "/v1/predict", headers={**PREFLIGHT, "origin": other}).status_code == 400
        done = ask(locked, "GET", "/health/live", headers={"origin": other})
        assert "access-control-allow-origin" not in done.headers
    for method in ("GET", "OPTIONS"):  # none is allowed where none is named
        assert "access-control-allow-origin" not in ask(server, method, "/v1/tasks", headers=PREFLIGHT).headers
    assert ask(locked, "OPTIONS", "/v1/tasks").status_code == 401, "a question of nobody's browser needs a key"


@pytest.mark.parametrize(("given_", "kept"), [
    ("*", "*"), ("https://a.example", "https://a.example"), ("HTTPS://A.Example/", "https://a.example"),
    ("http://localhost:3000", "http://localhost:3000"), ("https://a.example:443", "https://a.example"),
    ("http://[::1]:80", "http://[::1]"),
])  # fmt: skip
def test_origins_are_kept_as_browsers_send_them(given_: str, kept: str) -> None:
    assert parse_origin(given_) == kept


@pytest.mark.parametrize(
    "given_", ["", "a.example", "https://", "https://a.example/path", "https://*.example", "null", "ftp://a"]
)
def test_what_is_no_origin_is_told(given_: str) -> None:
    with pytest.raises(UsageError, match="is not an origin; write https://HOST"):
        parse_origin(given_)


def test_a_proxy_may_strip_the_root_path_or_leave_it(locked: SimpleNamespace) -> None:
    key = {"x-api-key": KEY}
    for root in ("", "/models/demo"):
        assert ask(locked, "GET", f"{root}/health/live").json() == {"status": "live"}
        assert ask(locked, "GET", f"{root}/v1/tasks").status_code == 401
        assert ask(locked, "GET", f"{root}/v1/tasks", headers=key).json()["model"] == "model"
        assert ask(locked, "GET", f"{root}/docs", headers=key).headers["content-type"].startswith("text/html")
        assert ask(locked, "GET", f"{root}/static/style.css", headers=key).status_code == 200
        assert ask(locked, "POST", f"{root}/v1/predict", json={"inputs": ["a"]}, headers=key).status_code == 200
        assert ask(locked, "GET", f"{root}/", headers=key).status_code == 200
    assert ask(locked, "GET", "/openapi.json", headers=key).json()["servers"] == [{"url": "/models/demo"}]
    text = ask(locked, "GET", "/metrics", headers=key).text
    assert 'route="/v1/predict",status="200"} 2.0' in text
    assert "demo" not in text


def test_a_root_path_opens_nothing(locked: SimpleNamespace) -> None:
    root = "/models/demo"
    for path in (f"{root}/health/live/../../v1/tasks", f"{root}{root}/health/live", f"/health/live{root}", f"{root}//health/live",
                 "/models/health/live", f"{root}x/health/live", f"{root}/v1/models"):  # fmt: skip
        assert ask(locked, "GET", path).status_code == 401, path


@pytest.mark.parametrize(("given_", "kept"), [("", ""), ("/", ""), ("/a", "/a"), ("/a/b-c.d/", "/a/b-c.d")])
def test_root_paths_are_kept_without_a_last_slash(given_: str, kept: str) -> None:
    assert parse_root_path(given_) == kept


@pytest.mark.parametrize("given_", ["a", "/a//b", "/a/../b", "/a?b", "https://a.example/b", "/a b"])
def test_what_is_no_root_path_is_told(given_: str) -> None:
    with pytest.raises(UsageError, match="write it as in --root-path /models/demo"):
        parse_root_path(given_)


def test_what_could_not_be_answered_in_time_is_413_at_once_and_others_are_answered() -> None:
    server = made(Limits(deadline_s=1.0))
    server.pool.start()
    try:
        for path, key in (("/v1/predict", "inputs"), ("/v1/embeddings", "input")):
            done = ask(server, "POST", path, json={key: ["word " * 200] * 100})
            assert (done.status_code, done.json()["error"]["type"]) == (413, "too_large")
            assert "retry-after" not in done.headers, "it would be refused again"
            assert (
                "tokens/s at most 800 tokens per request (about 2 rows like these) can be answered within 1 s"
                in problem(done)
            )
            assert ask(server, "POST", path, json={key: ["word"]}).status_code == 200
        assert server.service.queue.tokens == 0
    finally:
        server.pool.close()


def test_errors_have_the_shape_that_openais_clients_read(server: SimpleNamespace) -> None:
    done = ask(server, "POST", "/v1/embeddings", json={"input": [1]})
    assert set(done.json()) == {"error"}
    assert json.loads(done.content)["error"].keys() == {"type", "message"}
