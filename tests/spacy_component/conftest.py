"""A model with heads for every kind of annotation, and pipelines around models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import yaml
from spacy.language import Language

from exporting import exports
from manyheads.cli import main as manyheads
from test_every_head import tasks

__all__ = ["exports"]

Pipeline = Callable[..., Language]


@pytest.fixture(scope="session")
def every_head(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("spacy-every-head")
    some = {name: one for name, one in tasks(folder).items() if name not in ("weights", "vectors", "number", "ranking")}
    run = {"encoder": {"name": str(toy_encoder), "max_length": 48}, "tasks": some,
           "training": {"steps": 6, "tokens_per_step": 512, "evaluate_every": 6, "device": "cpu"}}  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    assert manyheads(["train", str(folder / "run.yaml"), "-o", str(folder / "model")]) == 0
    return folder / "model"


@pytest.fixture
def pipeline() -> Pipeline:
    """A blank English pipeline with the component, last, after others by name."""

    def made(model: Path, *before: str, **config: Any) -> Language:
        nlp = spacy.blank("en")
        for name in before:
            nlp.add_pipe(name)
        nlp.add_pipe("manyheads", config={"model": str(model), **config})
        return nlp

    return made
