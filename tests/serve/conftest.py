"""A toy model, and a server of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.servers import Server, serving
from toys import write_project


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A model folder of four tasks."""
    from manyheads.cli import main

    run = write_project(tmp_path_factory.mktemp("served"), toy_encoder)
    folder = run.parent / "toy"
    more = [
        "--set",
        "training.steps=40",
        "--set",
        "training.learning_rate=1e-2",
    ]  # enough to find the names of its sentences
    assert main(["train", str(run), "--output", str(folder), *more]) == 0
    return folder


@pytest.fixture(scope="session")
def server(toy_model: Path) -> Iterator[Server]:
    """With the real model, in one worker that does what texts say."""
    with serving(toy_model, "--workers", "1", stub="model") as server:
        yield server
