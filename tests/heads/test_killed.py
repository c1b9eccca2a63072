"""Commands that are killed leave the old model as it is, and the same command then finishes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import manyheads as mh
from heads.test_heads import answers, drop, hashes, quiet
from manyheads.cli import main
from runs import Child


def killed(arguments: Sequence[str], after_s: float, said: Path) -> bool:
    """Run a command in a fork and kill it after a while; whether it was still running."""
    child = Child(lambda: main(list(arguments)), said)
    until = time.monotonic() + after_s
    while time.monotonic() < until and not child.ended():
        time.sleep(0.01)
    running = not child.ended()
    if running:
        os.kill(child.pid, signal.SIGKILL)
    child.status()
    return running


def check(model: Path, old: list[str], before: dict[str, str], new: Path, arguments: list[str], added: list[str]) -> None:
    """After a kill: the old model is untouched, and the new one whole or absent; the command finishes it."""
    assert hashes(model) == before
    if not new.exists():
        assert main(arguments) == 0
    assert list(mh.load(new).tasks) == [*old, *added]
    assert answers(new, *old) == answers(model, *old)


@pytest.mark.parametrize("moments", [(0.05, 0.4, 0.9), pytest.param([0.12 * k for k in range(30)], marks=pytest.mark.slow)])
def test_a_killed_add_resumes(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path, moments: Sequence[float]
) -> None:
    model, new = trained("hard"), tmp_path / "new"
    before, old = hashes(model), list(mh.load(model).tasks)
    arguments = ["add", str(model), str(more("hard", topic="section")), "-o", str(new), "--own", "top:1"]
    stopped = [killed(arguments, moment, tmp_path / "said") for moment in moments if not new.exists()]
    assert any(stopped)
    check(model, old, before, new, arguments, ["topic"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more.yaml", "new", "said"]


@pytest.mark.parametrize("moments", [(0.05, 0.2), pytest.param([0.03 * k for k in range(30)], marks=pytest.mark.slow)])
def test_a_killed_merge_leaves_nothing(
    trained: Callable[[str], Path], more: Callable[..., Path], tmp_path: Path, moments: Sequence[float]
) -> None:
    model, new = trained("hard"), tmp_path / "new"
    assert main(["rename", str(model), "section", "part", "-o", str(tmp_path / "renamed")]) == 0
    drop(tmp_path / "renamed", ["entities", "answers", "similarity"], tmp_path / "part", quiet)
    before, old = hashes(model), list(mh.load(model).tasks)
    arguments = ["merge", str(model), str(tmp_path / "part"), "-o", str(new)]
    for moment in moments:
        if not new.exists():
            killed(arguments, moment, tmp_path / "said")
    check(model, old, before, new, arguments, ["part"])
