"""The OpenAPI schema documents every route: summaries, examples, errors, API keys."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from manyheads.serve.schema import EmbeddingsRequest, PredictRequest
from serve.test_app import KEY, TASKS, ask, made


@pytest.fixture(scope="module", params=["open", "locked"])
def server(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """Without keys at the root, and with a key below the path of a proxy that strips it."""
    locked = request.param == "locked"
    server = made(keys=[KEY] if locked else [], root_path="/models/demo" if locked else "")
    server.locked = locked
    server.pool.start()
    yield server
    server.pool.close()


def schema(server: SimpleNamespace) -> dict[str, Any]:
    return dict(ask(server, "GET", "/openapi.json", headers={"x-api-key": KEY}).json())


def operations(server: SimpleNamespace) -> dict[str, dict[str, Any]]:
    return {path: one for path, methods in schema(server)["paths"].items() for one in methods.values()}


def test_every_route_has_a_summary_a_description_and_examples_of_requests_and_responses(server: SimpleNamespace) -> None:
    for path, route in operations(server).items():
        assert {"summary", "description", "tags"} <= set(route), path
        [good] = route["responses"]["200"]["content"].values()
        assert "example" in good, path
        if "requestBody" in route:
            assert len(route["requestBody"]["content"]["application/json"]["examples"]) > 1, path
        for status, response in route["responses"].items():
            if status not in ("200", "422") or "requestBody" in route:
                assert response["content"]["application/json" if status != "200" else next(iter(response["content"]))], path


def test_errors_have_one_shape_with_their_type_in_the_example(server: SimpleNamespace) -> None:
    responses = operations(server)["/v1/predict"]["responses"]
    assert set(responses) == {"200", "401", "408", "413", "415", "422", "429", "500", "503"}
    for status, response in responses.items():
        if status != "200":
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
            assert set(content["example"]["error"]) == {"type", "message"}
    assert responses["429"]["content"]["application/json"]["example"]["error"]["type"] == "queue_full"


def test_the_examples_of_requests_are_answered_as_their_responses_look(server: SimpleNamespace) -> None:
    kinds = {"/v1/predict": PredictRequest, "/v1/embeddings": EmbeddingsRequest}
    for path, kind in kinds.items():
        route = operations(server)[path]
        for example in route["requestBody"]["content"]["application/json"]["examples"].values():
            kind.model_validate(example["value"])
            done = ask(server, "POST", path, json=example["value"], headers={"x-api-key": KEY})
            assert done.status_code == 200
            assert set(done.json()) == set(route["responses"]["200"]["content"]["application/json"]["example"])
    example = operations(server)["/v1/predict"]["responses"]["200"]["content"]["application/json"]["example"]
    assert set(example["outputs"][0]["tasks"]) == set(TASKS)


def test_routes_that_need_a_key_say_so_and_only_where_there_are_keys(server: SimpleNamespace) -> None:
    schemes = schema(server)["components"].get("securitySchemes", {})
    assert {(one["type"], one.get("scheme"), one.get("name")) for one in schemes.values()} == (
        {("http", "bearer", None), ("apiKey", None, "X-API-Key")} if server.locked else set()
    )
    for path, route in operations(server).items():
        needed = server.locked and not path.startswith("/health")
        assert route.get("security", []) == ([{"Bearer": []}, {"X-API-Key": []}] if needed else []), path
