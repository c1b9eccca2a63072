"""Third-party clients against a real process with a real model: embeddings, ranking, the V2 protocol, labels by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import yaml

import manyheads as mh
from manyheads.cli import main
from serve.servers import Server, serving
from toys import SENTENCES, write_csv, write_jsonl

QUERY = "what lowers fever"
LABELS = {"praise": None, "trial": "how patients were measured", "money_back": "the customer wants money"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A model with an embedding task, a ranking task and one with labels by name."""
    place = tmp_path_factory.mktemp("clients")
    write_csv(place / "labels.csv", ["text", "label"], [[text, "ab"[i % 2] * 3] for i, text in enumerate(SENTENCES)])
    write_csv(place / "pairs.csv", ["text_a", "text_b"], [[text, text.lower()] for text in SENTENCES])
    lists = [{"query": QUERY, "positive": SENTENCES[0], "negatives": [SENTENCES[1]]},
             {"query": "what is common", "positive": SENTENCES[4], "negatives": [SENTENCES[2]]}]  # fmt: skip
    write_jsonl(place / "lists.jsonl", lists)
    files = {"intent": "labels.csv", "similarity": "pairs.csv", "ranking": "lists.jsonl"}
    kinds = {"intent": {"type": "text-classification", "by_name": True}, "similarity": {"type": "sentence-embedding"},
             "ranking": {"type": "text-ranking"}}  # fmt: skip
    tasks = {name: {**kinds[name], "data": dict.fromkeys(("train", "validation", "test"), str(place / file))}
             for name, file in files.items()}  # fmt: skip
    run = {"encoder": {"name": str(toy_encoder), "max_length": 48}, "tasks": tasks,
           "training": {"recipe": "none", "steps": 20, "tokens_per_step": 256, "evaluate_every": 20}}  # fmt: skip
    (place / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    assert main(["train", str(place / "run.yaml"), "--output", str(place / "model")]) == 0
    return place / "model"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, "--workers", "1") as server:
        yield server


@pytest.fixture(scope="module")
def model(folder: Path) -> mh.Model:
    return mh.load(folder)


def test_openai_lists_the_models_and_embeds(server: Server, model: mh.Model) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any")
    assert [one.id for one in client.models.list().data] == ["model", "similarity", "ranking"]
    found = client.embeddings.create(model="similarity", input=SENTENCES)
    np.testing.assert_allclose([one.embedding for one in found.data], model.embed(SENTENCES), atol=2e-5)


def test_cohere_ranks(server: Server, model: mh.Model) -> None:
    cohere = pytest.importorskip("cohere")
    found = cohere.ClientV2("key", base_url=server.url).rerank(model="ranking", query=QUERY, documents=SENTENCES, top_n=4)
    expected = model.rank(QUERY, SENTENCES, top_n=4)
    assert [one.index for one in found.results] == [one["index"] for one in expected]
    np.testing.assert_allclose([one.relevance_score for one in found.results], [one["score"] for one in expected], atol=2e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_ranks_and_embeds(server: Server, model: mh.Model, binary: bool) -> None:
    http = pytest.importorskip("tritonclient.http")
    inputs = []
    for name, values in (("text", SENTENCES), ("query", [QUERY] * len(SENTENCES))):
        inputs.append(http.InferInput(name, [len(values)], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array(values, np.object_), binary_data=binary)
    client = http.InferenceServerClient(server.url.removeprefix("http://"))
    found = client.infer("model", inputs, parameters={"tasks": "ranking,similarity"})
    client.close()
    np.testing.assert_allclose(found.as_numpy("similarity"), model.embed(SENTENCES), atol=2e-5)
    expected = model.predict([{"text": text, "query": QUERY} for text in SENTENCES], ["ranking"])
    scores = [json.loads(one)["score"] for one in found.as_numpy("ranking")]
    np.testing.assert_allclose(scores, [row["tasks"]["ranking"]["score"] for row in expected], atol=2e-5)


def classified(server: Server, labels: Any, **more: Any) -> httpx.Response:
    body = {"inputs": SENTENCES, "tasks": ["intent"], "labels": labels, **more}
    return httpx.post(f"{server.url}/v1/predict", json=body, timeout=60)


@pytest.mark.parametrize("labels", [LABELS, list(LABELS), ["aaa", "other"]])
def test_labels_of_a_request_are_chosen_among(server: Server, model: mh.Model, labels: Any) -> None:
    found = [row["tasks"]["intent"] for row in classified(server, labels).json()["outputs"]]
    for one, expected in zip(found, model.classify(SENTENCES, labels=labels), strict=True):
        assert set(one["scores"]) == set(labels)
        assert one["label"] == expected["label"]
        assert one["score"] == pytest.approx(expected["score"], abs=2e-5)


def test_requests_with_other_labels_or_none_do_not_disturb_one_another(server: Server) -> None:
    other = classified(server, ["x", "y"]).json()
    own = httpx.post(f"{server.url}/v1/predict", json={"inputs": SENTENCES, "tasks": ["intent"]}).json()
    assert set(own["outputs"][0]["tasks"]["intent"]["scores"]) == {"aaa", "bbb"}
    assert classified(server, ["x", "y"]).json() == other
    every = classified(server, ["x", "y"], tasks=None).json()["outputs"][0]["tasks"]
    assert set(every) == {"intent", "similarity"}, "without a query there is no ranking"
    assert set(every["intent"]["scores"]) == {"x", "y"}


@pytest.mark.parametrize(("labels", "more", "complaint"), [
    (["a", "a"], {}, "label 'a' is given twice"), ([""], {}, "a label must be a text that is not empty"), ([], {}, "labels"),
    ({"a": ""}, {}, "the description of 'a' must be a text"), ("a", {}, "labels"), (["a\ud800"], {}, "half of a surrogate pair"),
    (["a", "b"], {"tasks": ["similarity"]}, "task 'similarity' knows only the labels it was trained with"),
])  # fmt: skip
def test_labels_that_do_not_fit_are_refused(server: Server, labels: Any, more: dict[str, Any], complaint: str) -> None:
    body = json.dumps({"inputs": SENTENCES, "tasks": ["intent"], "labels": labels, **more})
    done = httpx.post(f"{server.url}/v1/predict", content=body, headers={"content-type": "application/json"})
    assert done.status_code == 422, done.text
    assert complaint in done.json()["error"]["message"]
