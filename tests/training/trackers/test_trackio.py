"""Trackio, read back from its own database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracked import EVERY_STEP, STEPS, TASKS, tracked

pytest.importorskip("trackio")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its folder is chosen by TRACKIO_DIR when it is imported, so it is imported anew."""
    import sys

    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        del sys.modules[name]


def the_run() -> tuple[Any, list[dict[str, Any]]]:
    """The only run, and its rows."""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    [run] = trackio.Api().runs("manyheads")
    return run, SQLiteStorage.get_logs("manyheads", run.name)


def steps(rows: list[dict[str, Any]], name: str) -> list[int]:
    return [row["step"] for row in rows if name in row]


def test_a_run_has_every_step_the_settings_the_scores_and_the_model(project: Path, tmp_path: Path) -> None:
    tracked(project, "trackio")
    run, rows = the_run()
    for name in EVERY_STEP:
        assert steps(rows, name) == list(range(STEPS)), name
    assert steps(rows, "validation/combined") == [3, 6]
    assert run.name.startswith("model-")
    assert run.config["training.steps"] == STEPS
    folder = project.parent / "runs/model"
    assert run.config["run_file"] == (folder / "run.yaml").read_text()
    scores = json.loads((folder / "metrics.json").read_text())
    [final] = [row for row in rows if "final/test/combined" in row]
    for task in TASKS:
        for metric, value in scores[task]["test"].items():
            assert final[f"final/test/{task}/{metric}"] == pytest.approx(value), metric
    import trackio

    trackio.init(project="manyheads", name="reader", embed=False)
    fetched = Path(trackio.use_artifact("model:latest").download(str(tmp_path / "fetched")))
    trackio.finish()
    assert (fetched / "heads.safetensors").read_bytes() == (folder / "heads.safetensors").read_bytes()
    assert not (fetched / "tensorboard").exists()


def test_a_stopped_run_continues_without_doubled_steps(project: Path) -> None:
    tracked(project, "trackio", after=2)
    tracked(project, "trackio", resume=True)
    _, rows = the_run()
    for name in EVERY_STEP:
        assert steps(rows, name) == list(range(STEPS)), name


def test_what_it_prints_goes_to_stderr_and_the_weights_are_the_same(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracked(project, "none", "output=runs/plain")
    tracked(project, "trackio")
    seen = capsys.readouterr()
    assert "Trackio" in seen.err
    assert seen.out == ""
    for name in ("encoder/model.safetensors", "heads.safetensors", "metrics.json", "history.jsonl"):
        assert (project.parent / "runs/plain" / name).read_bytes() == (project.parent / "runs/model" / name).read_bytes()
