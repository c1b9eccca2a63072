"""A toy model, a server of it, and a browser."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serve.servers import Server, serving
from toys import write_project

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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


@pytest.fixture(scope="module")  # while it is open, this thread has a running event loop
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
