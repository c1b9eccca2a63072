"""Two runs never write into one folder; a run that was killed keeps nobody out."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from manyheads.bundle import MANIFEST
from manyheads.cli import main
from manyheads.errors import UsageError
from manyheads.training.lock import LOCK, locked
from manyheads.training.loop import Trainer
from runs import Child, trains, wait_for

SETTINGS = ("--set", "training.steps=4", "--set", "training.evaluate_every=4")


def test_the_folder_is_made_and_goes_again_with_nothing_else_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs/model/checkpoints"
    with locked(folder, tmp_path):
        assert (folder / LOCK).exists()
    assert not folder.exists()


def test_what_else_is_in_the_folder_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "checkpoints", tmp_path):
        (tmp_path / "checkpoints/step-00000001").mkdir()
    assert (tmp_path / "checkpoints/step-00000001").is_dir()


def test_a_second_one_is_refused_until_the_first_is_done_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    with suppress(ZeroDivisionError), locked(folder, tmp_path):
        with pytest.raises(UsageError, match=f"another run is writing into {tmp_path}; wait until it ends") as refused:
            locked(folder, tmp_path).__enter__()
        assert refused.value.exit_status == 2
        raise ZeroDivisionError
    with locked(folder, tmp_path):
        pass


def test_the_file_of_a_lock_that_nobody_holds_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / LOCK).write_text("", encoding="utf-8")
    with locked(tmp_path / "checkpoints", tmp_path):
        pass


def test_a_model_that_was_finished_while_a_process_got_ready_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="already holds a finished model"), locked(tmp_path / "checkpoints", tmp_path):
        raise AssertionError
    assert not (tmp_path / "checkpoints").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("", encoding="utf-8")
    for folder in (tmp_path / "checkpoints", tmp_path / "checkpoints/below"):
        with pytest.raises(UsageError, match="cannot be written to"), locked(folder, tmp_path):
            raise AssertionError


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_goes_with_the_process(tmp_path: Path, number: signal.Signals) -> None:
    folder, marker = tmp_path / "checkpoints", tmp_path / "holds"

    def hold() -> int:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with locked(folder, tmp_path):
            marker.touch()
            time.sleep(60)
        return 0

    child = Child(hold, tmp_path / "said")
    wait_for(marker.exists, "lock")
    with pytest.raises(UsageError, match="another run is writing"), locked(folder, tmp_path):
        raise AssertionError
    os.kill(child.pid, number)
    assert child.status() == -number
    with locked(folder, tmp_path):
        pass


def test_a_second_run_in_the_folder_of_one_that_trains_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = project.parent / "trains"
    prepare = Trainer.prepare

    def prepared(self: Trainer, phase: object) -> None:
        marker.touch()
        time.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "prepare", prepared)
        child = trains(project, *SETTINGS)
    assert Trainer.prepare is prepare
    wait_for(marker.exists, "step")
    for more in ((), ("--resume",)):
        assert main(["train", str(project), *SETTINGS, *more]) == 2
        output = project.parent / "runs/model"
        assert f"error: another run is writing into {output}; wait until it ends" in capsys.readouterr().err
    os.kill(child.pid, signal.SIGKILL)
    assert child.status() == -signal.SIGKILL
    assert main(["train", str(project), *SETTINGS, "--resume"]) == 0
