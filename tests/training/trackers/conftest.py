"""Trackers without a network, in folders of the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.update(  # some are read when the package is imported
    MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ALLOW_FILE_STORE="true", DO_NOT_TRACK="true",
    WANDB_MODE="offline", WANDB_SILENT="true", WANDB_CONSOLE="off", WANDB_ERROR_REPORTING="false",
    WANDB__DISABLE_STATS="true", WANDB_DISABLE_GIT="true", WANDB_DISABLE_CODE="true",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file outside of the test's folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-files"))
