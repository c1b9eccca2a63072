"""The Python examples of docs/trackers.md run, in order, against a run in a store of the test's own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tracked import tracked

PAGE = Path(__file__).parents[3] / "docs" / "trackers.md"


def test_the_examples_of_the_page_run(project: Path, young_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    store = (project.parent / "mlruns").as_uri()
    mlflow.set_tracking_uri(store)
    tracked(project, "mlflow", "training.steps=1")
    [run] = mlflow.MlflowClient(store).search_runs(
        [mlflow.MlflowClient(store).get_experiment_by_name("manyheads").experiment_id]
    )
    monkeypatch.chdir(project.parent)
    shutil.copytree(young_model, "runs/demo")
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for block in blocks:
        exec(compile(block.replace("RUN_ID", run.info.run_id), "docs/trackers.md", "exec"), names)
    mlflow.end_run()
    mlflow.set_tracking_uri(None)
    assert len(blocks) == 2
    assert Path("notes-as-mlflow-model/MLmodel").is_file()
