"""The V2 protocol over HTTP: tritonclient against a real server, errors in its shape, several models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

import manyheads as mh
from manyheads.bundle import manifest_hash, read_manifest
from serve.servers import Server, serving
from serve.test_app import KEY, TASKS, ask, made
from toys import SENTENCES

http = pytest.importorskip("tritonclient.http")
utils = pytest.importorskip("tritonclient.utils")
QUESTION = "What lowered fever?"


def column(name: str, values: list[str], *, binary: bool) -> Any:
    tensor = http.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array(values, np.object_), binary_data=binary)
    return tensor


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    client = http.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()


def test_triton_clients_see_a_server_and_its_model(client: Any, toy_model: Path) -> None:
    name = toy_model.name
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, "1")
    assert not client.is_model_ready("other")
    assert not client.is_model_ready(name, "2")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "model_repository"]
    metadata = client.get_model_metadata(name)
    assert metadata == client.get_model_metadata(name, "1")
    assert [one["name"] for one in metadata["inputs"]] == ["text", "question"]
    assert {one["name"]: one["datatype"] for one in metadata["outputs"]} == {
        "entities": "BYTES", "section": "BYTES", "answers": "BYTES", "similarity": "FP32"}  # fmt: skip
    assert client.get_model_repository_index() == [{"name": name, "version": "1", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_clients_get_what_predict_answers(client: Any, toy_model: Path, binary_in: bool, binary_out: bool) -> None:
    rows = [{"text": text, "question": QUESTION} if i % 2 else {"text": text} for i, text in enumerate(SENTENCES)]
    expected = mh.load(toy_model).predict(rows)
    inputs = [column("text", SENTENCES, binary=binary_in),
              column("question", [row.get("question", "") for row in rows], binary=binary_in)]  # fmt: skip
    outputs = [http.InferRequestedOutput(task, binary_data=binary_out) for task in TASKS]
    found = client.infer(toy_model.name, inputs, outputs=outputs, request_id="r7")
    response = found.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == (toy_model.name, "1", "r7")
    assert response["parameters"]["hash"] == manifest_hash(read_manifest(toy_model))
    assert [one["name"] for one in response["outputs"]] == list(TASKS)
    vectors = [row["tasks"]["similarity"] for row in expected]
    np.testing.assert_allclose(found.as_numpy("similarity"), vectors, atol=2e-5)
    for task in ("entities", "section", "answers"):
        answers = [json.loads(one) for one in found.as_numpy(task)]
        for answer, row in zip(answers, expected, strict=True):
            want = row["tasks"].get(task)
            assert (answer is None) == (want is None)
            if task == "section":
                assert answer["label"] == want["label"]
                assert answer["score"] == pytest.approx(want["score"], abs=2e-5)
            elif want is not None:
                assert [(one["start"], one["end"]) for one in answer] == [(one["start"], one["end"]) for one in want]


def test_triton_clients_choose_tasks_by_a_parameter_and_hear_what_is_wrong(client: Any, toy_model: Path) -> None:
    text = [column("text", ["Aspirin helps."], binary=True)]
    found = client.infer(toy_model.name, text, parameters={"tasks": "section, entities", "min_score": 0.1})
    assert [one["name"] for one in found.get_response()["outputs"]] == ["section", "entities"]
    for name, inputs, options, complaint in (
        ("other", text, {}, f"no model 'other'; available: {toy_model.name}"),
        (toy_model.name, text, {"model_version": "3"}, "has no version '3'; it has 1"),
        (toy_model.name, text, {"parameters": {"tasks": "nothing"}}, "no task 'nothing'; the model's tasks are entities"),
        (toy_model.name, text, {"parameters": {"min_score": 2}}, "min_score must be a number from 0 to 1"),
        (toy_model.name, [column("words", ["a"], binary=True)], {}, "input 'words' is unknown; inputs are text"),
        (toy_model.name, text, {"request_compression_algorithm": "gzip"}, "the body is compressed"),
    ):
        with pytest.raises(utils.InferenceServerException, match=complaint):
            client.infer(name, inputs, **options)
    with pytest.raises(utils.InferenceServerException, match="cannot be unloaded"):
        client.unload_model(toy_model.name)
    client.load_model(toy_model.name)
    assert client.infer(toy_model.name, text).as_numpy("similarity").shape == (1, 16)


@pytest.mark.long
def test_several_models_load_and_unload_by_request(toy_model: Path) -> None:
    with serving(Path(f"a={toy_model}"), f"b={toy_model}", stub="fake") as server:
        client = http.InferenceServerClient(server.url.removeprefix("http://"))

        def states() -> dict[str, str]:
            return {one["name"]: one["state"] for one in client.get_model_repository_index()}

        assert states() == {"a": "READY", "b": "READY"}
        client.unload_model("b")
        assert states() == {"a": "READY", "b": "UNAVAILABLE"}
        assert client.is_model_ready("b"), "it loads with the next request"
        text = [column("text", ["a", "b"], binary=True)]
        assert client.infer("b", text).as_numpy("similarity").shape == (2, 4)
        assert states() == {"a": "READY", "b": "READY"}
        client.unload_model("a")
        client.load_model("a")
        assert states()["a"] == "READY"
        own = http.InferenceServerClient(f"{server.url.removeprefix('http://')}/models/a")
        assert [one["name"] for one in own.get_model_repository_index()] == ["a"]
        assert own.infer("a", text).get_response()["model_name"] == "a"
        for each in (client, own):
            each.close()


@pytest.fixture(scope="module")
def stub() -> Iterator[SimpleNamespace]:
    server = made(keys=[KEY])
    server.pool.start()
    yield server
    server.pool.close()


def inferred(stub: SimpleNamespace, texts: list[Any], headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return ask(stub, "POST", "/v2/models/model/infer", json={"inputs": [tensor], **more},
               headers={"x-api-key": KEY, **(headers or {})})  # fmt: skip


def test_a_bad_row_has_its_error_in_texts_and_fails_a_tensor_of_numbers(stub: SimpleNamespace) -> None:
    found = inferred(stub, ["a", "b" * 20_001], parameters={"tasks": "section"}).json()
    first, second = (json.loads(one) for one in found["outputs"][0]["data"])
    assert first["label"] == "RESULTS"
    assert second["error"]["type"] == "invalid_row"
    failed = inferred(stub, ["a", "b" * 20_001])
    assert failed.status_code == 400
    assert failed.json()["error"].startswith("text 1: 'text' has more than 20,000 characters without white space")


def test_errors_are_one_string_whatever_went_wrong(stub: SimpleNamespace) -> None:
    path = "/v2/models/model/infer"
    key = {"x-api-key": KEY}
    for done, status in (
        (ask(stub, "POST", path, content=b"{"), 401), (ask(stub, "POST", path, content=b"{", headers=key), 400),
        (ask(stub, "GET", path, headers=key), 405), (ask(stub, "GET", "/v2/nothing", headers=key), 404),
        (ask(stub, "GET", "/v2/models/none", headers=key), 404), (ask(stub, "GET", "/v2/models/model/versions/7", headers=key), 404),
        (inferred(stub, ["a"] * 1001), 400), (inferred(stub, ["a " * 400_000] * 10), 413),
    ):  # fmt: skip
        assert done.status_code == status
        assert isinstance(done.json()["error"], str), done.text
    assert isinstance(ask(stub, "POST", "/v2/rerank", json={}, headers=key).json()["error"], dict), "that is Cohere's"


def test_pages_of_other_sites_may_only_send_json(stub: SimpleNamespace) -> None:
    for site, kind, status in (("cross-site", "text/plain", 400), ("same-site", "", 400), ("cross-site", "application/json", 200),
                               ("same-origin", "text/plain", 200), ("none", "text/plain", 200)):  # fmt: skip
        headers = {"sec-fetch-site": site, "content-type": kind}
        assert inferred(stub, ["a"], headers).status_code == status, (site, kind)


def test_metrics_count_requests_by_route(stub: SimpleNamespace) -> None:
    inferred(stub, ["a"])
    text = ask(stub, "GET", "/metrics", headers={"x-api-key": KEY}).text
    assert 'route="/v2/models/{name}/infer",status="200"' in text
