"""A served folder is replaced, by whatever means, under a constant stream of requests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

import manyheads as mh
from manyheads.bundle import manifest_hash, read_manifest
from manyheads.cli import main
from serve.servers import PATIENCE_S, Server, serving
from toys import SENTENCES, write_project


def variant(model: Path, folder: Path, number: int) -> str:
    """A copy of a model with another hash, which is returned."""
    shutil.copytree(model, folder)
    manifest = json.loads((folder / "manyheads.json").read_text())
    (folder / "manyheads.json").write_text(json.dumps({**manifest, "created": f"day {number}"}))
    return hash_of(folder)


def hash_of(folder: Path) -> str:
    return manifest_hash(read_manifest(folder))


class Stream:
    """Clients that ask without a pause; what came back."""

    def __init__(self, url: str, clients: int = 3, text: str = "!sleep 0.01") -> None:
        self.answers: list[tuple[int, str, Any]] = []
        """Status, hash and answer of `section`."""
        self._url = f"{url}/v1/predict"
        self._text = text
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._over.is_set():
                try:
                    done = client.post(self._url, json={"inputs": [self._text, self._text], "tasks": ["section"]})
                    found = done.json()
                    answers = [row["tasks"]["section"] for row in found["outputs"]]
                    assert answers[0] == answers[1]
                    assert found["hash"] == done.headers["x-model-hash"]
                    self.answers.append((done.status_code, found["hash"], answers[0]))
                except Exception as error:  # counted by the test
                    self.answers.append((0, "", repr(error)))

    def wait_for(self, model: str) -> None:
        """Until an answer is of a model."""
        until = time.monotonic() + PATIENCE_S
        while self.answers[-1:] == [] or self.answers[-1][1] != model:
            assert time.monotonic() < until, self.answers[-3:]
            time.sleep(0.05)

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def swap(new: Path, served: Path, number: int) -> None:
    """What `mv served old; mv new served` does."""
    served.rename(served.parent / f"old-{number}")
    new.rename(served)


@pytest.mark.long
def test_no_request_is_lost_or_mixed_while_a_folder_is_replaced_again_and_again(toy_model: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    first = variant(toy_model, served, 0)
    with serving(served, "--workers", "1", stub="hash") as server, Stream(server.url) as stream:
        hashes = [first]
        stream.wait_for(first)
        workers = set(server.workers())
        for number in range(1, 5):
            new = tmp_path / f"new-{number}"
            hashes.append(variant(toy_model, new, number))
            if number % 2:
                swap(new, served, number)
            else:  # as training into the folder ends: by renaming a manifest
                os.replace(new / "manyheads.json", served / "manyheads.json")
            if number == 4:
                server.process.send_signal(signal.SIGHUP)
            stream.wait_for(hashes[-1])
        until = time.monotonic() + PATIENCE_S
        while len(server.workers()) != 1:
            assert time.monotonic() < until, "the workers of former models end"
            time.sleep(0.05)
        assert not workers & set(server.workers())
        assert httpx.get(f"{server.url}/v1/tasks").json()["hash"] == hashes[-1]
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
    assert {status for status, _, _ in stream.answers} == {200}
    assert all(answer == {"label": model} for _, model, answer in stream.answers), "an answer is of the model it names"
    assert list(dict.fromkeys(model for _, model, _ in stream.answers)) == hashes


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A model of the same tasks with other weights."""
    run = write_project(tmp_path_factory.mktemp("another"), toy_encoder)
    assert main(["train", str(run), "--output", str(run.parent / "toy"), "--set", "training.seed=5"]) == 0
    return run.parent / "toy"


@pytest.mark.long
def test_answers_are_of_the_model_whose_hash_they_bear_with_real_models(
    toy_model: Path, another: Path, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    shutil.copytree(toy_model, served)
    [expected], [later] = (mh.load(folder).predict([SENTENCES[0]], ["section"]) for folder in (toy_model, another))
    scores = {hash_of(toy_model): expected["tasks"]["section"]["score"], hash_of(another): later["tasks"]["section"]["score"]}
    assert abs(expected["tasks"]["section"]["score"] - later["tasks"]["section"]["score"]) > 1e-3
    with serving(served, "--workers", "1") as server, Stream(server.url, 2, SENTENCES[0]) as stream:
        stream.wait_for(hash_of(toy_model))
        shutil.copytree(another, tmp_path / "new")
        swap(tmp_path / "new", served, 1)
        stream.wait_for(hash_of(another))
    assert {status for status, _, _ in stream.answers} == {200}
    for _, model, answer in stream.answers:
        assert answer["score"] == pytest.approx(scores[model], abs=2e-5)


def failures(server: Server, count: int) -> dict[str, Any]:
    return server.wait_for("reload_failed", count)


@pytest.mark.long
def test_a_broken_folder_is_reported_and_the_old_model_goes_on_until_it_is_repaired(
    toy_model: Path, another: Path, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    shutil.copytree(toy_model, served)
    with serving(served, "--workers", "1") as server, Stream(server.url, 1, SENTENCES[0]) as stream:
        stream.wait_for(hash_of(toy_model))
        (served / "manyheads.json").write_text("{")
        assert "is not JSON" in failures(server, 1)["reason"]
        shutil.copytree(another, tmp_path / "new")
        heads = tmp_path / "new" / "heads.safetensors"
        whole = heads.read_bytes()
        heads.write_bytes(whole[:-8])
        swap(tmp_path / "new", served, 1)
        assert "heads.safetensors" in failures(server, 2)["reason"], "what the worker said of the weights"
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
        (served / "heads.safetensors").write_bytes(whole)  # the manifest is as before
        server.process.send_signal(signal.SIGHUP)
        stream.wait_for(hash_of(another))
    assert {status for status, _, _ in stream.answers} == {200}
    assert list(dict.fromkeys(model for _, model, _ in stream.answers)) == [hash_of(toy_model), hash_of(another)]


@pytest.mark.long
def test_a_worker_never_answers_from_a_model_that_another_took_the_place_of(toy_model: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    shutil.copytree(toy_model, served)
    with serving(served, "--workers", "1") as server:
        (served / "manyheads.json").write_text("{")
        failures(server, 1)
        os.kill(server.workers()[0], signal.SIGKILL)
        assert "manyheads.json" in server.wait_for("worker_restarted", 2)["reason"]
        assert httpx.get(f"{server.url}/health/ready").status_code == 503
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        shutil.copy(toy_model / "manyheads.json", served)
        server.wait_until_ready()
        assert server.stop() == 0


