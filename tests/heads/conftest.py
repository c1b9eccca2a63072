"""Models whose heads come and go: small ones of every way to share an encoder, each trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from toys import trained_projects

KINDS = {
    "hard": [],
    "private layers": ["sharing={shared_layers: 1, groups: {tokens: [entities, answers], texts: [section, similarity]}}"],
    "separate": ["sharing.shared_layers=0"],
    "layer mix": ["sharing.layer_mix=true"],
    "shared adapter": ["lora={save: apart}"],
    "adapters per task": ["lora={save: adapter-only, adapters: per-task, rank: 2}"],
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Callable[[str], Path]:
    """The folder of a trained model of a kind, with its run file and data above it."""
    project = trained_projects(tmp_path_factory, toy_encoder, KINDS)
    return lambda kind: project(kind) / "model"


@pytest.fixture
def more(trained: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A run file with tasks of other names, on the data of a model's project."""

    def write(kind: str, **tasks: str) -> Path:
        project = trained(kind).parent
        values = yaml.safe_load((project / "run.yaml").read_text(encoding="utf-8"))
        sections = {name: values["tasks"][like] for name, like in tasks.items()}
        for section in sections.values():
            section["data"] = {split: str(project / path) for split, path in section["data"].items()}
        values["training"] |= {"steps": 4, "evaluate_every": 2}
        path = tmp_path / "more.yaml"
        rest = {"tasks": sections, "training": values["training"]}
        path.write_text(yaml.safe_dump(rest, sort_keys=False), encoding="utf-8")
        return path

    return write
