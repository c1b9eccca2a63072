"""Several models in one server: their paths and names, and which of them are in memory."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from manyheads.cli import main
from manyheads.errors import UsageError
from manyheads.serve.memory import WORKER_BYTES, estimated_bytes, resident_bytes, usable_bytes
from manyheads.serve.models import check_names, named
from serve.servers import PATIENCE_S, Server, serving
from serve.test_reload import hash_of, swap, variant

KEY = "k" * 20


@pytest.fixture(scope="module")
def folders(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two models by name, in folders of the same name."""
    made = {name: tmp_path_factory.mktemp(name) / "toy" for name in ("letters", "mails")}
    for number, folder in enumerate(made.values()):
        variant(toy_model, folder, number)
    return made


def arguments(folders: dict[str, Path]) -> list[str]:
    return [f"{name}={folder}" for name, folder in folders.items()]


@pytest.fixture(scope="module")
def server(folders: dict[str, Path]) -> Iterator[Server]:
    first, *others = arguments(folders)
    with serving(Path(first), *others, stub="hash") as server:
        yield server


def test_each_model_answers_below_its_own_path(server: Server, folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        url = f"{server.url}/models/{name}"
        found = httpx.post(f"{url}/v1/predict", json={"inputs": ["a"]}, timeout=60).json()
        assert (found["model"], found["hash"]) == (name, hash_of(folder))
        assert found["outputs"][0]["tasks"]["section"] == {"label": found["hash"]}, "its workers answered"
        assert httpx.get(f"{url}/v1/tasks").json()["hash"] == found["hash"]
        assert [card["id"] for card in httpx.get(f"{url}/v1/models").json()["data"]] == [name, "similarity"]
        assert "static/playground.js" in httpx.get(f"{url}/").text
        assert httpx.get(f"{url}/static/playground.js").status_code == 200
        assert httpx.get(f"{url}/health/ready").json() == {"status": "ready"}
        moved = httpx.get(url)
        assert (moved.status_code, moved.headers["location"]) == (308, f"{name}/")
        assert httpx.get(f"{url}/openapi.json").json()["servers"] == [{"url": f"/models/{name}"}]


def test_the_first_page_lists_the_models_for_people_and_for_programs(server: Server, folders: dict[str, Path]) -> None:
    listed = httpx.get(server.url).json()["models"]
    assert [one["name"] for one in listed] == list(folders)
    assert [one["hash"] for one in listed] == [hash_of(folder) for folder in folders.values()]
    page = httpx.get(server.url, headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'<li><a href="([^"]+)">', page.text)
    assert links == [one["url"] for one in listed]
    for link in links:
        assert httpx.get(f"{server.url}/{link}").status_code == 200


def test_the_body_names_the_model_and_the_task_of_an_embedding(server: Server, folders: dict[str, Path]) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
    ids = [model.id for model in client.models.list().data]
    assert ids == ["letters", "letters/similarity", "mails", "mails/similarity"]
    assert client.models.retrieve("mails/similarity").id == "mails/similarity"
    for name in ids:
        raw = client.embeddings.with_raw_response.create(model=name, input=["a", "b"])
        assert len(raw.parse().data) == 2
        assert raw.headers["x-model-hash"] == hash_of(folders[name.partition("/")[0]])
    for name in ("gpt", "mails/section", "similarity", "mails/"):
        if name == "mails/":
            assert client.embeddings.create(model=name, input="a").data, "as without the slash"
            continue
        with pytest.raises(openai.NotFoundError, match=f"no model '{name}'; available: letters, letters/similarity, mails"):
            client.embeddings.create(model=name, input="a")
    none = httpx.post(f"{server.url}/v1/rerank", json={"model": "mails", "query": "q", "documents": ["a"]})
    assert (none.status_code, none.json()["error"]["message"]) == (422, "the model has no ranking task")


def test_what_belongs_to_one_model_says_so_and_other_paths_are_not_there(server: Server) -> None:
    for method, path in (("POST", "/v1/predict"), ("GET", "/v1/tasks")):
        done = httpx.request(method, server.url + path, json={"inputs": ["a"]} if method == "POST" else None)
        assert done.status_code == 404
        assert "put the path of one before this one: /models/letters, /models/mails" in done.json()["error"]["message"]
    for path in ("/models/other/v1/tasks", "/models/", "/models/letters/nothing", "/models/letters/models/letters/nothing"):
        assert httpx.get(server.url + path).status_code == 404, path
    assert "no model 'other'" in httpx.get(f"{server.url}/models/other").json()["error"]["message"]


def test_metrics_and_the_log_name_the_model(server: Server) -> None:
    httpx.post(f"{server.url}/models/mails/v1/predict", json={"inputs": ["a"], "tasks": ["section"]}, timeout=60)
    for path in ("/metrics", "/models/letters/metrics"):
        text = httpx.get(server.url + path).text
        assert re.search(r'manyheads_rows_total\{model="mails",task="section"\} [1-9]', text)
        assert 'manyheads_requests_total{model="mails",route="/v1/predict",status="200"}' in text
        assert 'manyheads_queue_tokens{model="letters"} 0.0' in text
        assert all("{model=" in line or "{le=" in line for line in text.splitlines() if line[0] != "#")
    assert {"model", "route", "status"} <= set(next(line for line in server.log if line.get("route") == "/v1/predict"))


@pytest.mark.long
def test_keys_hold_for_every_path(folders: dict[str, Path], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    first, *others = arguments(folders)
    with serving(Path(first), *others, "--api-keys", str(keys), "--root-path", "/nlp", stub="fake") as server:
        paths = ("/", "/v1/models", "/models/mails", "/models/mails/", "/models/mails/v1/tasks", "/models/other/health/live",
                 "/models/mails/v2", "/v2", "/models/x/", "/metrics")  # fmt: skip
        for root in ("", "/nlp"):
            for path in paths:
                assert httpx.get(server.url + root + path).status_code == 401, path
                given = httpx.get(server.url + root + path, headers={"x-api-key": KEY})
                assert given.status_code in ((404,) if "other" in path or "/x/" in path else (200, 308)), path
            for path in ("/health/live", "/health/ready", "/models/mails/health/live", "/models/mails/health/ready"):
                assert httpx.get(server.url + root + path, timeout=30).status_code == 200
        schema = httpx.get(f"{server.url}/models/mails/openapi.json", headers={"x-api-key": KEY}).json()
        assert schema["servers"] == [{"url": "/nlp/models/mails"}]


def loaded(server: Server) -> list[str]:
    return [one["name"] for one in httpx.get(server.url).json()["models"] if one["loaded"]]


def ask(server: Server, name: str, text: str = "a") -> httpx.Response:
    return httpx.post(f"{server.url}/models/{name}/v1/predict", json={"inputs": [text], "tasks": ["section"]}, timeout=60)


@pytest.mark.long
def test_a_model_loads_at_its_first_request_and_the_one_used_least_recently_makes_room(folders: dict[str, Path]) -> None:
    first, *others = arguments({**folders, "third": folders["mails"]})
    with serving(Path(first), *others, "--memory", "0.305", stub="fake") as server:  # GB: one worker, with what another takes
        assert loaded(server) == ["letters"], "what fits starts with the server"
        assert ask(server, "mails").status_code == 200
        assert loaded(server) == ["mails"]
        assert ask(server, "third").status_code == 200
        assert loaded(server) == ["third"]
        assert ask(server, "letters").json()["hash"] == hash_of(folders["letters"])
        until = time.monotonic() + PATIENCE_S
        while len(server.workers()) != 1:
            assert time.monotonic() < until
            time.sleep(0.05)
        busy = threading.Thread(target=ask, args=(server, "letters", "!sleep 2"))
        busy.start()
        time.sleep(0.5)
        refused = ask(server, "mails")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert "the models in use leave no memory for 'mails'" in refused.json()["error"]["message"]
        busy.join()
        assert ask(server, "mails").status_code == 200
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
        assert server.stop() == 0


@pytest.mark.long
def test_a_model_that_is_not_loaded_is_replaced_too_and_one_that_cannot_be_loaded_fails_alone(
    folders: dict[str, Path], toy_model: Path, tmp_path: Path
) -> None:
    lazy = tmp_path / "lazy"
    shutil.copytree(toy_model, lazy)
    first = f"letters={folders['letters']}"
    with serving(Path(first), f"lazy={lazy}", "--memory", "0.42") as server:  # real workers
        assert ask(server, "lazy").status_code == 429 or loaded(server) == ["lazy"]
        new = variant(toy_model, tmp_path / "new", 7)
        (tmp_path / "new" / "heads.safetensors").write_bytes(b"broken")
        whole = (lazy / "heads.safetensors").read_bytes()
        swap(tmp_path / "new", lazy, 1)
        assert httpx.get(f"{server.url}/v1/models").status_code == 200
        (lazy / "heads.safetensors").write_bytes(whole)
        until = time.monotonic() + PATIENCE_S
        while ask(server, "lazy").json().get("hash") != new:
            assert time.monotonic() < until
            time.sleep(0.2)


@pytest.mark.parametrize(("given", "complaint"), [
    (["{a}/toy", "{b}/toy"], "would both be served as 'toy'; name one of them: NAME={b}/toy"),
    (["x={a}/toy", "x={b}/toy"], "would both be served as 'x'"),
    (["{a}/to y", "{b}/toy"], "cannot be served as 'to y', which is no part of a path; name it: NAME={a}/to y"),
    (["a={a}/toy", "b={b}/toy", "--memory", "0.1"], "takes about 0.3 GB, and --memory allows 0.1 GB"),
    (["a={a}/toy", "b={b}/toy", "--memory", "0"], "must be a number above 0"),
])  # fmt: skip
def test_names_that_clash_and_models_that_never_fit_are_refused(
    given: list[str], complaint: str, toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"a": tmp_path / "a", "b": tmp_path / "b"}
    for place in places.values():
        for name in ("toy", "to y"):
            shutil.copytree(toy_model, place / name)
    try:
        status = main(["serve", "--port", "0", *(one.format(**places) for one in given)])
    except SystemExit as error:
        status = int(error.code or 0)
    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert complaint.format(**places) in said.err
    assert said.err.count("\n") == 1


def test_a_folder_with_an_equals_sign_is_a_folder() -> None:
    assert list(named(["runs/lr=3", "a=runs/lr=3", "=x"])) == [(None, "runs/lr=3"), ("a", "runs/lr=3"), (None, "=x")]
    with pytest.raises(UsageError, match="no part of a path"):
        check_names([("..", "place")])


def test_memory_is_that_of_weights_and_processes(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.safetensors").write_bytes(bytes(1000))
    (tmp_path / "README.md").write_bytes(bytes(5000))
    assert estimated_bytes(tmp_path) == WORKER_BYTES + 1250
    assert estimated_bytes(tmp_path / "none") == WORKER_BYTES
    assert 10**6 < resident_bytes([os.getpid()]) < usable_bytes()
    assert resident_bytes([2**22 + 1]) == 0
