"""An imitation of the Hub, and trained models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.client import hub
from toys import trained_projects

__all__ = ["hub"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Callable[[str], Path]:
    """The folder of a trained model of a kind."""
    kinds = {"hard": [], "private layers": ["sharing={shared_layers: 1, groups: {tokens: [entities, answers]}}"],
             "adapters": ["lora={save: adapter-only, rank: 2}"]}  # fmt: skip
    project = trained_projects(tmp_path_factory, toy_encoder, kinds)
    return lambda kind: project(kind) / "model"
