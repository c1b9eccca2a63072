"""The examples in docstrings run, and every public name of the package has one.

They run in a folder with a run file, `run.yaml`, and the model that it makes, `runs/demo`.
"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

import manyheads as mh
from manyheads.start import train_run
from manyheads.training.progress import Quiet
from toys import write_project

PACKAGE = Path(mh.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_of(path: Path) -> str:
    return ".".join(("manyheads", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = sorted(module_of(path) for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))
PUBLIC: dict[str, Any] = {
    **{name: getattr(mh, name) for name in mh.__all__ if name != "__version__"},
    **{f"Model.{name}": getattr(mh.Model, name) for name in dir(mh.Model) if not name.startswith("_")},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    run = write_project(folder, toy_encoder)
    train_run(run, folder / "runs/demo", ["training.steps=2", "training.save_every=0"], Quiet())
    return folder


@pytest.mark.parametrize("module", MODULES)
def test_every_example_of_a_module_runs(module: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    done = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert done.attempted
    assert not done.failed


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (PUBLIC[name].__doc__ or ""), f"{name} needs an example in its docstring"
