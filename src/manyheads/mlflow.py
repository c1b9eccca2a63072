"""The MLflow flavour: models of manyheads as MLflow models. Needs `pip install "path/to/manyheads[mlflow]"`.

    import manyheads.mlflow
    info = manyheads.mlflow.log_model(model, name="model", registered_model_name="notes")
    model = manyheads.mlflow.load_model(info.model_uri)             # a manyheads Model
    rows = mlflow.pyfunc.load_model(info.model_uri).predict(texts)  # or any tool of MLflow

A training run with `training.report_to: mlflow` logs its model by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from manyheads import mlflow_model
from manyheads.api import Model, load

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

__all__ = ["load_model", "log_model", "save_model"]


def save_model(
    model: Model | str | Path,
    path: str | Path,
    *,
    pip_requirements: Sequence[str] | None = None,
    input_example: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model, or a model folder, as an MLflow model into a new folder.

    `pip_requirements`: by default `manyheads==VERSION`; as it is on no package index, name a wheel or a repository for
    environments that MLflow makes. `input_example`: texts or rows. Raises UsageError for a folder that is not empty.
    """
    with TemporaryDirectory() as work:
        mlflow_model.save_model(
            path, _folder(model, work), pip_requirements=pip_requirements, input_example=input_example, metadata=metadata
        )


def log_model(
    model: Model | str | Path,
    name: str = "model",
    *,
    run_id: str | None = None,
    registered_model_name: str | None = None,
    pip_requirements: Sequence[str] | None = None,
    input_example: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """Log a model, or a model folder, to the active run of MLflow or the one given; its address is `model_uri`.

    Options as in `save_model`; `registered_model_name` also makes it a version of a registered model.
    """
    with TemporaryDirectory() as work:
        return mlflow_model.log_folder(
            Path(_folder(model, work)), name, run_id=run_id, registered_model_name=registered_model_name,
            pip_requirements=pip_requirements, input_example=input_example, metadata=metadata,
        )  # fmt: skip


def load_model(model_uri: str, dst_path: str | None = None, device: str | None = None) -> Model:
    """The model at an address of MLflow (`runs:/RUN/model`, `models:/NAME/1`, a folder), as `manyheads.load` returns it.

    `dst_path`: where to download it; by default a temporary folder. Raises UsageError for an unavailable device.
    """
    from mlflow.artifacts import download_artifacts

    path = download_artifacts(artifact_uri=model_uri, dst_path=dst_path)
    return load(Path(path) / mlflow_model.DATA, device=device)


def _load_pyfunc(path: str) -> mlflow_model.PyfuncModel:
    """Called by `mlflow.pyfunc.load_model`. MLFLOW_DEFAULT_PREDICTION_DEVICE names the device, by default the CPU."""
    from mlflow.environment_variables import MLFLOW_DEFAULT_PREDICTION_DEVICE

    from manyheads.inference import load_model as load_folder

    return mlflow_model.PyfuncModel(load_folder(path, device=MLFLOW_DEFAULT_PREDICTION_DEVICE.get()))


def _folder(model: Model | str | Path, work: str) -> str | Path:
    """The folder of a model; weights that were changed in memory are written first."""
    return model.save(Path(work) / "model") if isinstance(model, Model) else model
