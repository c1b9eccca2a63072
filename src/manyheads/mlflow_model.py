"""A model folder as an MLflow model: written, logged to a run, and loaded by `mlflow.pyfunc`.

`manyheads.mlflow` is the module for users, and the one that MLflow models name.

Decided here:
- The signature names the keys of a row, and says of itself that `predict` checks its input: so a list of texts is answered as
  well as a DataFrame, which a schema of named columns would not let through.
- manyheads is on no package index, so the requirements name its version only; `pip_requirements` names where it comes from.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from manyheads import __version__
from manyheads.bundle import REPORT, copy_model
from manyheads.data.python_inputs import rows_of_inputs, task_names
from manyheads.inference import LoadedModel, load_model
from manyheads.outputs.min_score import check_min_score, filter_by_score
from manyheads.outputs.passthrough import as_json_row

if TYPE_CHECKING:
    from mlflow.models import Model as MLflowModel
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo

FLAVOR = "manyheads"
LOADER = "manyheads.mlflow"
"""The module with `_load_pyfunc`."""
DATA = "manyheads"
"""The model folder in an MLflow model."""
EXAMPLE, SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"
TEXT = "Metformin 500 mg lowered glucose."
OPTIONAL: Mapping[str, str] = {"question": "What lowered glucose?", "query": "What lowered glucose?", "text_pair": TEXT}
"""Keys of a row beside its text, with an example of each."""


class PyfuncModel:
    """What `mlflow.pyfunc.load_model` runs."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Output rows as JSON, in order, for a DataFrame with a `text` column, texts, or rows.

        `params`: `tasks`, names of the tasks to answer; `min_score`, as in `Model.predict`. Raises UsageError.
        """
        params = params or {}
        names = self._loaded.predictor.check_tasks(task_names(params.get("tasks")))
        least = check_min_score(params.get("min_score"))
        answers = self._loaded.predictor.predict(rows_of_inputs(model_input), names)
        return [as_json_row(filter_by_score(answer, least), {}) for answer in answers]


def save_model(
    path: str | Path,
    folder: str | Path,
    *,
    mlflow_model: MLflowModel | None = None,
    pip_requirements: Sequence[str] | None = None,
    input_example: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write an MLflow model with a copy of a model folder into a new folder `path`.

    `input_example`: texts or rows; by default one row that asks all tasks. Raises BundleError, and UsageError for a folder
    that is not empty.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    target, loaded = Path(path), load_model(folder)
    copy_model(loaded.bundle, target / DATA, extra=[REPORT])
    model = Model() if mlflow_model is None else mlflow_model
    model.signature = signature_of(loaded)
    if metadata is not None:
        model.metadata = dict(metadata)
    rows = [_example_row(loaded)] if input_example is None else input_example
    (target / EXAMPLE).write_text(json.dumps(rows), encoding="utf-8")
    (target / SERVING_EXAMPLE).write_text(json.dumps({"inputs": rows}), encoding="utf-8")
    model.saved_input_example_info = {
        "artifact_path": EXAMPLE, "serving_input_path": SERVING_EXAMPLE, "type": "json_object",
    }  # fmt: skip
    pyfunc.add_to_model(model, loader_module=LOADER, data=DATA, conda_env="conda.yaml", python_env="python_env.yaml")
    model.add_flavor(FLAVOR, manyheads_version=__version__, data=DATA, hash=loaded.bundle.hash)
    _write_environment(target, [f"manyheads=={__version__}"] if pip_requirements is None else list(pip_requirements))
    model.save(str(target / "MLmodel"))


def log_folder(folder: Path, name: str, *, run_id: str | None = None, **options: Any) -> ModelInfo:
    """Log a model folder to a run: `runs:/RUN/NAME`; by default to the active run, or a new one.

    `options`: of `save_model`, and `registered_model_name` and `step` of MLflow.
    """
    from mlflow import MlflowClient
    from mlflow.models import Model

    model_id = None
    if run_id is not None:  # or the model is put into the experiment that is active, whichever the run is of
        client, run = MlflowClient(), MlflowClient().get_run(run_id)
        model_id = client.create_logged_model(run.info.experiment_id, name, run_id, params=run.data.params).model_id
    return Model.log(None, sys.modules[__name__], name=name, run_id=run_id, model_id=model_id, folder=folder, **options)


def signature_of(loaded: LoadedModel) -> ModelSignature:
    """The keys of the rows that the tasks read, the keys of the answers, and the parameters `tasks` and `min_score`."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Map

    extra = [ColSpec(DataType.string, key, required=False) for key in _keys_read(loaded)]
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "text"), *extra]),
        outputs=Schema([ColSpec(DataType.long, "windows", required=False),
                        ColSpec(Map(AnyType()), "tasks", required=False),
                        ColSpec(Map(AnyType()), "error", required=False)]),
        params=ParamSchema([ParamSpec("tasks", DataType.string, list(loaded.tasks), shape=(-1,)),
                            ParamSpec("min_score", DataType.double, 0.0)]),
    )  # fmt: skip
    signature._is_signature_from_type_hint = True  # or a list of texts is refused before `predict` sees it
    return signature


def _keys_read(loaded: LoadedModel) -> list[str]:
    """Keys besides `text` that change what the encoder reads for some task."""
    plain, tasks = {"text": TEXT}, loaded.tasks.values()
    return [key for key, value in OPTIONAL.items()
            if any(task.source_of_row({**plain, key: value}) != task.source_of_row(plain) for task in tasks)]  # fmt: skip


def _example_row(loaded: LoadedModel) -> dict[str, str]:
    """A row that asks all tasks; of two keys for the same thing, the first."""
    keys = [key for key in _keys_read(loaded) if key != "text_pair"]
    return {"text": TEXT, **{key: OPTIONAL[key] for key in keys[:1]}}


def _write_environment(folder: Path, requirements: Sequence[str]) -> None:
    """The three files by which MLflow makes an environment for a model."""
    python = platform.python_version()
    conda = {"name": "mlflow-env", "channels": ["conda-forge"],
             "dependencies": [f"python={python}", "pip", {"pip": list(requirements)}]}  # fmt: skip
    uses_pip = {"python": python, "build_dependencies": ["pip", "setuptools"], "dependencies": ["-r requirements.txt"]}
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False), encoding="utf-8")
    (folder / "python_env.yaml").write_text(yaml.safe_dump(uses_pip, sort_keys=False), encoding="utf-8")
