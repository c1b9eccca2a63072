"""`training.compile`: when layers are compiled and packs are filled up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.config.files import load_run
from manyheads.config.hardware import MIN_COMPILED_STEPS, compiled_layers
from manyheads.errors import UsageError
from plans import plan

CUDA = torch.device("cuda")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine that can compile, where nothing is compiled; encoders whose layers were to be."""
    asked: list[str] = []

    def noted(encoder: Any) -> int:
        asked.append(encoder.config.model_type)
        return int(encoder.depth)

    monkeypatch.setattr("manyheads.nn.cuda.compiled.can_compile", lambda: True)
    monkeypatch.setattr("manyheads.nn.cuda.compiled.compile_layers", noted)
    return asked


def test_on_a_cpu_nothing_is_compiled_and_packs_have_no_tail(project: Path, able: list[str]) -> None:
    made = plan(project, f"training.steps={MIN_COMPILED_STEPS + 1}")
    assert made.trainer.batcher.multiple == 1
    assert not able
    assert not any("compiled" in note for note in made.notes)


def test_auto_compiles_long_runs_on_cuda(project: Path, able: list[str]) -> None:
    made = plan(project, "sharing.shared_layers=1")
    training = load_run(project, []).run.training
    assert compiled_layers(training, made.model, CUDA, MIN_COMPILED_STEPS) == 0
    assert not able
    encoders = 1 + len(made.model.branches)
    assert compiled_layers(training, made.model, CUDA, MIN_COMPILED_STEPS + 1) == encoders * made.model.encoder.depth
    assert len(able) == encoders


@pytest.mark.parametrize(("setting", "steps", "layers"), [("false", 10_000, 0), ("true", 1, 2)])
def test_it_can_be_said_in_the_run_file(project: Path, able: list[str], setting: str, steps: int, layers: int) -> None:
    made = plan(project)
    training = load_run(project, [f"training.compile={setting}"]).run.training
    assert compiled_layers(training, made.model, CUDA, steps) == layers


def test_true_on_a_cpu_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match=r"training.compile is true, which needs a CUDA device; use auto or false"):
        plan(project, "training.compile=true")


def test_a_machine_that_cannot_compile_does_without_unless_it_was_asked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyheads.nn.cuda.compiled.can_compile", lambda: False)
    made = plan(project)
    for setting in ("auto", "true"):
        training = load_run(project, [f"training.compile={setting}"]).run.training
        if setting == "auto":
            assert compiled_layers(training, made.model, CUDA, 10_000) == 0
        else:
            with pytest.raises(UsageError, match=r"Triton or a C compiler \(gcc, clang\) is missing; install them"):
                compiled_layers(training, made.model, CUDA, 10_000)


def test_any_other_word_is_refused(project: Path) -> None:
    with pytest.raises(UsageError, match=r"training.compile"):
        load_run(project, ["training.compile=sometimes"])
