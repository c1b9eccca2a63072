"""Trackers record a run in the real packages, without a network, and never change it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from manyheads.errors import ConfigError, UsageError
from manyheads.start import train_run
from manyheads.training.progress import Quiet
from manyheads.training.trackers import TRACKERS
from manyheads.training.trackers.base import Tracker
from toys import write_project

STEPS = 3


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb-files"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb-files").mkdir()
    return tmp_path


def trained(folder: Path, encoder: Path, report_to: str, output: str = "out") -> Path:
    run = write_project(folder / "project", encoder)
    made, _ = train_run(run, folder / output, [f"training.steps={STEPS}", f"training.report_to={report_to}"], Quiet())
    return made


def test_tensorboard_has_every_step_and_the_final_scores(offline: Path, toy_encoder: Path) -> None:
    made = trained(offline, toy_encoder, "tensorboard")
    events = EventAccumulator(str(made / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("rate")] == list(range(STEPS))
    assert {"final/validation/section/accuracy", "loss/entities"} <= set(events.Tags()["scalars"])


def test_none_writes_no_events(offline: Path, toy_encoder: Path) -> None:
    assert not (trained(offline, toy_encoder, "none") / "tensorboard").exists()


@pytest.mark.slow  # 10 s of imports and of MLflow's tables
def test_mlflow_has_the_run_and_a_model_that_answers(offline: Path, toy_encoder: Path) -> None:
    pytest.importorskip("sqlalchemy")
    trained(offline, toy_encoder, "mlflow")
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("manyheads")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.steps"] == str(STEPS)
    assert [point.step for point in client.get_metric_history(run.info.run_id, "rate")] == list(range(STEPS))
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    (row,) = model.predict(["Aspirin lowered fever."], params={"tasks": ["section"]})
    assert set(row["tasks"]) == {"section"}
    import manyheads.mlflow

    with mlflow.start_run():
        info = manyheads.mlflow.log_model(offline / "out", name="model")
    assert list(manyheads.mlflow.load_model(info.model_uri).tasks) == ["entities", "section", "answers", "similarity"]


@pytest.mark.slow  # wandb's service takes seconds to start
def test_wandb_offline_has_the_run(offline: Path, toy_encoder: Path) -> None:
    trained(offline, toy_encoder, "wandb")
    (record,) = (offline / "wandb-files").rglob("*.wandb")
    content = record.read_bytes()
    assert b"loss/entities" in content
    assert b"final/validation/section/accuracy" in content


class Failing:
    """A tracker whose server is gone."""

    key = None

    def start(self, facts: object, resumed: object) -> object:
        raise ConnectionError("no route to the server")


def test_a_tracker_that_fails_changes_nothing_and_is_reported_once(
    offline: Path, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    alone = trained(offline, toy_encoder, "none", "alone")

    def failing() -> Tracker:
        return Failing()  # type: ignore[return-value]

    monkeypatch.setattr(
        "manyheads.training.trackers.TRACKERS", {**TRACKERS, "wandb": replace(TRACKERS["wandb"], make=failing)}
    )
    monkeypatch.setattr(
        "manyheads.training.trackers.several.TRACKERS", {**TRACKERS, "wandb": replace(TRACKERS["wandb"], make=failing)}
    )
    said: list[str] = []

    class Heard(Quiet):
        def say(self, line: str) -> None:
            said.append(line)

    run = offline / "project" / "run.yaml"
    made, _ = train_run(run, offline / "failing", [f"training.steps={STEPS}", "training.report_to=wandb"], Heard())
    assert [line for line in said if "Weights & Biases records no more" in line and "no route to the server" in line]
    assert len([line for line in said if "records no more" in line]) == 1
    assert (made / "heads.safetensors").read_bytes() == (alone / "heads.safetensors").read_bytes()


def test_an_unknown_tracker_is_refused_with_the_known_ones(offline: Path, toy_encoder: Path) -> None:
    with pytest.raises(ConfigError, match="report_to"):
        trained(offline, toy_encoder, "wanbd")


def test_a_missing_package_is_refused_before_training(
    offline: Path, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyheads.training.trackers.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'trackio is not installed; pip install "path/to/manyheads\[trackio\]"'):
        trained(offline, toy_encoder, "trackio")


def test_no_tracker_is_imported_unless_it_is_asked_for() -> None:
    code = "import sys; import manyheads.training.trackers, manyheads.training.run; print([m for m in ('mlflow', 'wandb') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
