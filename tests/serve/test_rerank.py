"""Ranking over HTTP: the shapes that clients of Cohere, Jina and text-embeddings-inference send and read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from serve.test_app import TASKS, ask, made

TEXTS = ["a long text about nothing", "short", "of middle size"]
BEST = [1, 2, 0]


@pytest.fixture(scope="module")
def server() -> Iterator[SimpleNamespace]:
    server = made(tasks={**TASKS, "ranking": {"type": "text-ranking"}})
    server.pool.start()
    yield server
    server.pool.close()


def reranked(server: SimpleNamespace, path: str = "/v1/rerank", **body: Any) -> Any:
    done = ask(server, "POST", path, json={"query": "q", "documents": TEXTS, **body})
    assert done.status_code == 200, done.text
    return done.json()


def test_documents_come_best_first_with_their_places_and_scores(server: SimpleNamespace) -> None:
    found = reranked(server)
    assert set(found) == {"id", "model", "results", "usage", "meta"}
    assert found["model"] == "ranking"
    assert [set(one) for one in found["results"]] == [{"index", "relevance_score"}] * 3
    assert [one["index"] for one in found["results"]] == BEST
    scores = [one["relevance_score"] for one in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert found["usage"]["prompt_tokens"] == found["usage"]["total_tokens"] > 0
    assert reranked(server, top_n=2)["results"] == found["results"][:2]
    assert reranked(server, top_n=9)["results"] == found["results"]


def test_what_each_client_sends_is_answered(server: SimpleNamespace) -> None:
    """Bodies recorded from cohere 5.21 (`Client` and `ClientV2`), langchain-cohere 0.6 and langchain-community 0.4 (Jina)."""
    plain = [(one["index"], one["relevance_score"]) for one in reranked(server)["results"]]
    recorded: list[tuple[str, dict[str, Any]]] = [
        ("/v2/rerank", {"model": "rerank-v3.5", "query": "q", "documents": TEXTS, "top_n": 3}),
        ("/v1/rerank", {"model": "m", "query": "q", "documents": [{"text": text} for text in TEXTS], "top_n": 3,
                        "return_documents": False}),
        ("/v2/rerank", {"model": "m", "query": "q", "documents": TEXTS, "top_n": 3, "max_tokens_per_doc": 512}),
        ("/v1/rerank", {"query": "q", "documents": TEXTS, "model": "jina-reranker-v1-base-en", "top_n": None}),
    ]  # fmt: skip
    for path, body in recorded:
        found = reranked(server, path, **body)
        assert [(one["index"], one["relevance_score"]) for one in found["results"]] == plain
        assert found["model"] == body["model"]
    texts = ask(server, "POST", "/rerank", json={"query": "q", "texts": TEXTS, "raw_scores": False, "truncate": True}).json()
    assert [(one["index"], one["score"]) for one in texts] == plain
    with_texts = ask(server, "POST", "/rerank", json={"query": "q", "texts": TEXTS, "return_text": True}).json()
    assert [one["text"] for one in with_texts] == [TEXTS[i] for i in BEST]


def test_texts_are_returned_where_they_are_asked_for(server: SimpleNamespace) -> None:
    found = reranked(server, return_documents=True, documents=["a text", {"text": "one", "title": "?"}])
    assert [one["document"] for one in found["results"]] == [{"text": "one"}, {"text": "a text"}]


@pytest.mark.parametrize(("body", "complaint"), [
    ({"documents": []}, "documents is empty"), ({"query": " "}, "query is empty"), ({"documents": ["a"] * 1001}, "1,001 rows"),
    ({"documents": ["a" * 3_000_000]}, "document 0: 'text' has"), ({"documents": [3]}, "documents.0"), ({"top_n": 0}, "top_n"),
    ({"query": None}, "query"),
])  # fmt: skip
def test_what_cannot_be_ranked_says_why(server: SimpleNamespace, body: dict[str, Any], complaint: str) -> None:
    done = ask(server, "POST", "/v1/rerank", json={"query": "q", "documents": TEXTS, **body})
    assert done.status_code == 422
    assert complaint in done.json()["error"]["message"]


def test_a_model_without_a_ranking_task_says_so_and_one_with_several_needs_a_name() -> None:
    kind = {"type": "text-ranking"}
    for tasks, complaint in ((TASKS, "the model has no ranking task"),
                             ({"ranking": kind, "other": kind}, "several ranking tasks; set model to one of ranking, other")):  # fmt: skip
        server = made(tasks=tasks)
        done = ask(server, "POST", "/v1/rerank", json={"query": "q", "documents": TEXTS})
        assert (done.status_code, complaint in done.text) == (422, True)


@pytest.fixture
def url(server: SimpleNamespace) -> Iterator[str]:
    """The server on a port."""
    running = uvicorn.Server(uvicorn.Config(server.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(running.serve()))
    thread.start()
    while not running.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join()


def by_cohere(url: str) -> list[int]:
    cohere = pytest.importorskip("cohere")
    found = cohere.ClientV2("key", base_url=url).rerank(model="m", query="q", documents=TEXTS, top_n=2)
    return [one.index for one in found.results]


def by_the_first_cohere_client(url: str) -> list[int]:
    cohere = pytest.importorskip("cohere")
    client = cohere.Client("key", base_url=url)
    found = client.rerank(model="m", query="q", documents=[{"text": text} for text in TEXTS], return_documents=True)
    assert [one.document.text for one in found.results] == [TEXTS[i] for i in BEST]
    return [one.index for one in found.results][:2]


def by_langchain_with_cohere(url: str) -> list[int]:
    rerank = pytest.importorskip("langchain_cohere").CohereRerank(model="m", cohere_api_key="key", base_url=url)
    return [one["index"] for one in rerank.rerank(TEXTS, "q", top_n=2)]


def by_langchain_with_jina(url: str) -> list[int]:
    module = pytest.importorskip("langchain_community.document_compressors.jina_rerank")
    module.JINA_API_URL = f"{url}/v1/rerank"
    return [one["index"] for one in module.JinaRerank(jina_api_key="key").rerank(TEXTS, "q", top_n=2)]


def by_httpx(url: str) -> list[int]:
    body = {"query": "q", "documents": TEXTS, "top_n": 2}
    return [one["index"] for one in httpx.post(f"{url}/v1/rerank", json=body).json()["results"]]


@pytest.mark.parametrize(
    "client", [by_httpx, by_cohere, by_the_first_cohere_client, by_langchain_with_cohere, by_langchain_with_jina]
)
def test_a_client_ranks_against_the_server(url: str, client: Callable[[str], list[int]]) -> None:
    assert client(url) == BEST[:2]
