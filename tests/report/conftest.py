"""A run to report on, and a browser to look at reports with."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from toys import write_project

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A finished run of four tasks, with a report of its own."""
    from manyheads.cli import main

    run = write_project(tmp_path_factory.mktemp("reported"), toy_encoder)
    folder = run.parent / "finished"
    assert main(["train", str(run), "--output", str(folder), "--set", "training.balancing=uncertainty"]) == 0
    return folder


@pytest.fixture(scope="session")
def answered(run_folder: Path) -> tuple[Any, dict[str, Any]]:
    """The run's predictor and its validation examples."""
    from manyheads.api import load
    from manyheads.config.dataset import read_split
    from manyheads.config.files import load_run

    model = load(run_folder)
    file = load_run(run_folder / "run.yaml")
    return model.predictor, {name: read_split(file, task, "validation") for name, task in model.tasks.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("no playwright: install it from PyPI (pip install playwright)")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium: install Debian's package `chromium`, or set CHROMIUM to the path of one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()
