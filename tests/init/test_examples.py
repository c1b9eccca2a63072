"""The example projects."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from manyheads.cli import main
from manyheads.init.examples import PROJECTS

BIG = "biomedical"
"""A minute under load."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n == BIG else []) for n in PROJECTS])
def test_an_example_is_complete_and_validates(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--example", name]) == 0
    run = Path(name) / "run.yaml"
    assert f"run file: {run}" in capsys.readouterr().out
    for section in yaml.safe_load(run.read_text())["tasks"].values():
        assert list(section["data"]) == ["train", "validation", "test"]
    assert main(["validate", str(run)]) == 0
    assert main(["init", "--example", name]) == 2
    assert f"{name} already exists; give a new folder as -o" in capsys.readouterr().err


def test_an_example_trains(tmp_path, toy_encoder):
    assert main(["init", "--example", "support", "-o", str(tmp_path / "mine")]) == 0
    overrides = [f"encoder.name={toy_encoder}", "encoder.max_length=64", "training.steps=2", "training.fit_heads=false"]
    settings = [part for override in overrides for part in ("--set", override)]
    assert main(["train", str(tmp_path / "mine/run.yaml"), *settings]) == 0
    assert (tmp_path / "mine/runs/model/manyheads.json").is_file()


def test_an_example_and_files_exclude_one_another(capsys):
    assert main(["init", "a.csv", "--example", "search"]) == 2
    assert "--example brings its own data" in capsys.readouterr().err
