"""MLflow, read back with its own client and with pyfunc."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from manyheads.training.trackers import mlflow as tracker_module
from manyheads.training.trackers.base import NOTHING
from tracked import EVERY_STEP, STEPS, TASKS, tracked


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    """A client of the test's own store."""
    import mlflow

    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(None)


def the_run(client: Any, experiment: str = "manyheads") -> Any:
    """The only run of an experiment."""
    [run] = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run


def points(client: Any, run: Any, name: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run.info.run_id, name)]


def test_a_run_is_recorded_and_its_model_answers_through_pyfunc(project: Path, client: Any) -> None:
    import mlflow.pyfunc
    import pandas as pd

    from manyheads.api import load
    from manyheads.bundle import manifest_hash, read_manifest

    tracked(project, "mlflow")
    run, folder = the_run(client), project.parent / "runs/model"
    assert (run.info.status, run.info.run_name) == ("FINISHED", "model")
    assert run.data.params["training.steps"] == str(STEPS)
    assert run.data.params["tasks.entities.decoder"] == "crf"
    assert run.data.tags["manyheads.model_hash"] == manifest_hash(read_manifest(folder))
    assert len(run.data.tags["manyheads.data.section.train"]) == 64
    for name in EVERY_STEP:
        assert points(client, run, name) == list(range(STEPS)), name
    assert points(client, run, "validation/combined") == [3, 6]
    scores = json.loads((folder / "metrics.json").read_text())
    for task in TASKS:
        for metric, value in scores[task]["test"].items():
            assert run.data.metrics[f"final/test/{task}/{metric}"] == pytest.approx(value), metric
    [output] = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, str(model.status)) == ("model", "READY")
    assert {f"final/test/{task}/{metric}" for task in TASKS for metric in scores[task]["test"]} <= {
        metric.key for metric in model.metrics
    }
    assert len(points(client, run, "final/test/section/accuracy")) == 1
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"run.yaml", "settings.json"} <= files
    texts = ["Aspirin lowered fever.", "Nausea was common."]
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    expected = [{**row} for row in load(folder).predict(texts, "section")]
    for given in (texts, pd.DataFrame({"text": texts})):
        assert loaded.predict(given, params={"tasks": ["section"]}) == expected


@pytest.mark.long
def test_the_weights_are_the_same_to_the_last_bit_with_and_without_mlflow(project: Path, client: Any) -> None:
    tracked(project, "none", "output=runs/plain")
    tracked(project, "mlflow")
    for name in ("encoder/model.safetensors", "heads.safetensors", "metrics.json", "history.jsonl"):
        assert (project.parent / "runs/plain" / name).read_bytes() == (project.parent / "runs/model" / name).read_bytes()


@pytest.mark.long
def test_a_stopped_run_is_killed_and_continued_without_doubled_steps(project: Path, client: Any) -> None:
    tracked(project, "mlflow", after=2)
    assert the_run(client).info.status == "KILLED"
    tracked(project, "mlflow", resume=True)
    run = the_run(client)
    assert run.info.status == "FINISHED"
    for name in EVERY_STEP:
        assert points(client, run, name) == list(range(STEPS)), name
    assert points(client, run, "validation/combined") == [3, 6]


def test_a_batch_that_never_arrived_is_sent_when_the_run_is_resumed(
    project: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as if killed: nothing after the first batch is sent
        patch.setattr(tracker_module.MLflow, "sync", lambda self: None)
        patch.setattr(tracker_module.MLflow, "finish", lambda self, status, result: None)
        tracked(project, "mlflow", pull=5)
    assert points(client, the_run(client), "rate") == []
    tracked(project, "mlflow", resume=True)
    assert points(client, the_run(client), "rate") == list(range(STEPS))


def test_what_a_run_holds_is_its_newest_point_in_time() -> None:
    class Point:
        def __init__(self, timestamp: int, step: int) -> None:
            self.timestamp, self.step = timestamp, step

    class Client:
        def __init__(self, rates: list[Point], evaluations: list[Point]) -> None:
            self.kept = {"rate": rates, "validation/combined": evaluations}

        def get_metric_history(self, run: str, name: str) -> list[Point]:
            return self.kept[name]

    assert tracker_module.last_recorded(Client([], []), "r") == NOTHING
    assert tracker_module.last_recorded(Client([Point(1, 0), Point(2, 1)], [Point(3, 2)]), "r") == (2, 0)
    turned_back = [Point(1, 7), Point(2, 3)]
    assert tracker_module.last_recorded(Client(turned_back, []), "r") == (3, 1)


def test_experiments_are_named_by_the_environment_or_by_the_active_run(
    project: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "notes")
    tracked(project, "mlflow", "training.steps=1", "output=runs/one")
    assert the_run(client, "notes").info.run_name == "one"
    parent = client.create_run(client.create_experiment("outer"))
    with mlflow.start_run(parent.info.run_id):
        tracked(project, "mlflow", "training.steps=1", "output=runs/two")
        assert mlflow.active_run().info.run_id == parent.info.run_id
    [child] = [run for run in client.search_runs([parent.info.experiment_id]) if run.info.run_name == "two"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_training_waits_for_no_slow_server(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = tracker_module.MLflow()
    facts = type("Facts", (), {"facts": {}, "group": None, "name": "slow", "settings": {}, "run_file": ""})()
    tracker.start(facts, type("Resumed", (), {"key": None})())
    monkeypatch.setattr(tracker_module, "SEND_EVERY_S", 0.0)
    send, sent = tracker._send, []

    def slow(metrics: Any) -> None:
        time.sleep(0.2)
        sent.append(len(metrics))
        send(metrics)

    monkeypatch.setattr(tracker, "_send", slow)
    before = time.monotonic()
    for step in range(50):
        tracker.scalars(step, {"rate": 0.5})
    assert time.monotonic() - before < 0.2
    tracker.finish("finished", None)
    assert (sum(sent), len(sent)) == (50, 2)
    assert points(client, the_run(client), "rate") == list(range(50))


def test_long_settings_and_strange_names_are_recorded(client: Any) -> None:
    tracker = tracker_module.MLflow()
    settings = {f"tasks.a.labels.{i}": "x" * 5000 for i in range(120)} | {"tasks.a.merge.B/(c) é\n": ["x", "y"]}
    facts = type("Facts", (), {"facts": {}, "group": "many", "name": "odd", "settings": settings, "run_file": "é"})()
    tracker.start(facts, type("Resumed", (), {"key": None})())
    tracker.scalars(0, {"validation/a/f1 (micro)": float("nan")})
    tracker.finish("failed", None)
    run = the_run(client)
    assert run.info.status == "FAILED"
    assert len(run.data.params) == 121
    assert run.data.params["tasks.a.merge.B/_c_ é_"] == '["x", "y"]'
    assert run.data.tags["manyheads.group"] == "many"
    assert "validation/a/f1 _micro_" in run.data.metrics


@pytest.mark.slow
def test_a_database_holds_a_run_too(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.chdir(tmp_path)
    tracked(project, "mlflow", after=4)
    tracked(project, "mlflow", resume=True)
    client = mlflow.MlflowClient(address)
    assert points(client, the_run(client), "rate") == list(range(STEPS))
    assert len(mlflow.pyfunc.load_model(f"runs:/{the_run(client).info.run_id}/model").predict(["Aspirin."])) == 1


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that answers everything with this status: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_is_down_costs_seconds_and_is_one_warning_that_says_why(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    mlflow.set_tracking_uri(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setattr(tracker_module, "FIRST_RETRIES", 1)
    before = time.monotonic()
    watch = tracked(project, "mlflow")
    assert time.monotonic() - before < 60, "MLflow's own retries take 246 s"
    assert watch.lines("warning: MLflow") == [
        "warning: MLflow does not record this run (127.0.0.1:9 does not answer: Connection refused; check "
        "MLFLOW_TRACKING_URI); training goes on without it"
    ]
    assert (project.parent / "runs/model/manyheads.json").exists()
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ, "later requests have MLflow's own retries"
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_a_server_that_takes_the_connection_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(tracker_module, "FIRST_RETRIES", 0)
    monkeypatch.setattr(tracker_module, "FIRST_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        before = time.monotonic()
        with pytest.raises(ConnectionError, match=rf"^{address} does not answer: timed out; check MLFLOW_TRACKING_URI$"):
            tracker_module._check_answers(MlflowClient(f"http://{address}"))
        assert time.monotonic() - before < 10


def test_the_first_request_has_few_retries_unless_the_environment_names_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow import MlflowClient
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES as RETRIES
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT as TIMEOUT

    monkeypatch.setattr(tracker_module, "FIRST_RETRIES", 1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    with tracker_module.few_retries():
        assert (RETRIES.get(), TIMEOUT.get()) == (1, 7)
    assert not RETRIES.is_set()
    for number in (None, "0"):
        if number is not None:
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", number)
        with answering(503) as (address, asked), pytest.raises(Exception, match="503"):
            tracker_module._check_answers(MlflowClient(address))
        assert len(asked) == (2 if number is None else 1)


def test_a_refusal_of_the_server_is_told_in_its_own_words() -> None:
    from mlflow import MlflowClient

    with answering(401) as (address, _), pytest.raises(Exception, match="401") as caught:
        tracker_module._check_answers(MlflowClient(address))
    assert not isinstance(caught.value, ConnectionError)


def test_a_server_that_is_gone_during_the_run_is_one_warning(
    project: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Any, metrics: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tracker_module.MLflow, "_send", gone)
    watch = tracked(project, "mlflow")
    assert watch.lines("records no more") == [
        "warning: MLflow records no more of this run (no route to host); training is not affected"
    ]
    assert points(client, the_run(client), "rate") == []
