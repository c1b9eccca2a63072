"""Models of manyheads as MLflow models: saved, logged, loaded, served, and answered through pyfunc."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import manyheads as mh
from manyheads.errors import UsageError
from toys import SENTENCES

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ALLOW_FILE_STORE="true", DO_NOT_TRACK="true")
TEXTS = SENTENCES[:3]


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def saved(young_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The young model as an MLflow model."""
    from manyheads.mlflow import save_model

    path = tmp_path_factory.mktemp("saved") / "model"
    save_model(young_model, path)
    return path


def as_json(rows: Any) -> Any:
    """Rows with vectors as lists."""
    return json.loads(json.dumps(list(rows), default=lambda value: value.tolist()))


def test_pyfunc_answers_texts_rows_and_tables_as_the_model_does(young_model: Path, saved: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd

    model, loaded = mh.load(young_model), mlflow.pyfunc.load_model(str(saved))
    expected = as_json(model.predict(TEXTS))
    for given in (TEXTS, [{"text": text} for text in TEXTS], pd.DataFrame({"text": TEXTS}), pd.Series(TEXTS)):
        assert loaded.predict(given) == expected
    asked = pd.DataFrame({"question": ["What lowered fever?", None], "text": TEXTS[:2], "other": [1, 2]})
    rows = loaded.predict(asked)
    assert ["answers" in row["tasks"] for row in rows] == [True, False]
    assert rows == as_json(model.predict(asked))


def test_params_choose_tasks_and_the_least_score(young_model: Path, saved: Path) -> None:
    import mlflow.pyfunc

    loaded = mlflow.pyfunc.load_model(str(saved))
    rows = loaded.predict(TEXTS, params={"tasks": ["section", "similarity"]})
    assert [list(row["tasks"]) for row in rows] == [["section", "similarity"]] * 3
    assert len(rows[0]["tasks"]["similarity"]) == 16
    none = loaded.predict(TEXTS, params={"tasks": ["entities"], "min_score": 1.0})
    assert [row["tasks"]["entities"] for row in none] == [[], [], []]
    with pytest.raises(UsageError, match="sectoin"):
        loaded.predict(TEXTS, params={"tasks": ["sectoin"]})


def test_a_row_that_cannot_be_read_has_an_error_in_its_place(saved: Path) -> None:
    import mlflow.pyfunc

    rows = mlflow.pyfunc.load_model(str(saved)).predict(["Nausea was common.", 7])
    assert "tasks" in rows[0]
    assert "must be a text" in rows[1]["error"]["message"]


def test_the_folder_has_signature_example_requirements_and_both_flavours(saved: Path, young_model: Path) -> None:
    from mlflow.models import Model

    model = Model.load(str(saved))
    assert set(model.flavors) == {"manyheads", "python_function"}
    assert model.flavors["python_function"]["loader_module"] == "manyheads.mlflow"
    assert model.flavors["manyheads"]["hash"] == mh.load(young_model).bundle.hash
    assert model.get_input_schema().input_names() == ["text", "question", "text_pair"]
    assert model.get_input_schema().required_input_names() == ["text"]
    assert {param.name for param in model.get_params_schema().params} == {"tasks", "min_score"}
    assert (saved / "requirements.txt").read_text() == f"manyheads=={mh.__version__}\n"
    assert yaml.safe_load((saved / "python_env.yaml").read_text())["dependencies"] == ["-r requirements.txt"]
    [example] = model.load_input_example(str(saved))
    assert set(example) == {"text", "question"}


def test_the_scoring_server_answers_its_example_and_texts(saved: Path) -> None:
    import mlflow.pyfunc
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    asked = TestClient(init(mlflow.pyfunc.load_model(str(saved))))
    example = json.loads((saved / "serving_input_example.json").read_text())
    for body in (example, {"inputs": TEXTS, "params": {"tasks": ["section"]}}):
        response = asked.post("/invocations", json=body)
        assert response.status_code == 200, response.text
        assert len(response.json()["predictions"]) == len(body["inputs"])
    assert list(response.json()["predictions"][0]["tasks"]) == ["section"]


def test_load_model_returns_the_model_from_a_run_and_from_the_registry(young_model: Path) -> None:
    import mlflow

    import manyheads.mlflow

    model = mh.load(young_model)
    with mlflow.start_run() as run:
        info = manyheads.mlflow.log_model(model, registered_model_name="notes", metadata={"owner": "me"})
    assert info.metadata == {"owner": "me"}
    for address in (info.model_uri, f"runs:/{run.info.run_id}/model", "models:/notes/1"):
        loaded = manyheads.mlflow.load_model(address)
        assert isinstance(loaded, mh.Model)
        assert loaded.bundle.hash == model.bundle.hash
        assert as_json(loaded.predict(TEXTS)) == as_json(model.predict(TEXTS))


def test_a_model_goes_to_the_experiment_of_the_run_that_is_given(young_model: Path) -> None:
    import mlflow

    import manyheads.mlflow

    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("own"))
    info = manyheads.mlflow.log_model(young_model, "heads", run_id=run.info.run_id)
    assert client.get_logged_model(info.model_id).experiment_id == run.info.experiment_id
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert manyheads.mlflow.load_model(f"runs:/{run.info.run_id}/heads").tasks


def test_weights_changed_in_memory_are_saved(young_model: Path, tmp_path: Path) -> None:
    from manyheads.mlflow import load_model, save_model

    model = mh.load(young_model)
    with torch.no_grad():
        next(model.torch_module.parameters()).add_(0.01)
    save_model(model, tmp_path / "saved", pip_requirements=["manyheads @ https://example.org/manyheads.whl"])
    assert (tmp_path / "saved/requirements.txt").read_text() == "manyheads @ https://example.org/manyheads.whl\n"
    loaded = load_model(str(tmp_path / "saved"))
    assert loaded.bundle.hash != mh.load(young_model).bundle.hash


def test_a_folder_that_is_not_empty_is_refused(young_model: Path, saved: Path) -> None:
    from manyheads.mlflow import save_model

    with pytest.raises(UsageError, match="exists already"):
        save_model(young_model, saved)
