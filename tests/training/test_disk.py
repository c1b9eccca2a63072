"""Trouble with the disk: one sentence, and the last good state is kept."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from manyheads.cli import main
from manyheads.errors import StoppedError
from manyheads.training.log import HISTORY
from manyheads.training.stop import Stop
from plans import plan
from runs import Watch, checkpoints, outcome, run_training, trains, wait_for, went

SETTINGS = ("training.steps=6", "training.evaluate_every=3", "training.save_every=2")
FILES = (HISTORY, "encoder/model.safetensors", "heads.safetensors", "metrics.json")


def settings(*more: str) -> list[str]:
    return [word for each in (*SETTINGS, *more) for word in ("--set", each)]


def interrupted(project: Path, after: int = 3) -> Path:
    """The output folder of a run that was stopped after these steps."""
    stop = Stop()
    made = plan(project, *SETTINGS)
    with pytest.raises(StoppedError):
        run_training(made, Watch(stop=stop, after=after), stop=stop)
    return made.output


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says in the end, which is one line."""
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert sum(line.startswith("error: ") for line in shown.splitlines()) == 1, shown
    return shown.splitlines()[-1]


def resumed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once the trouble is over the run goes on and ends where an uninterrupted one ends."""
    assert main(["train", str(project), *settings(), "--resume"]) == 0, capsys.readouterr().err
    made = plan(project, *SETTINGS, "output=runs/whole")
    went(made)
    expected = outcome(made)
    for name in FILES:
        assert (project.parent / "runs/model" / name).read_bytes() == expected[name], name


# The output folder


@pytest.mark.parametrize("place", ["runs", "runs/model", "runs/model/checkpoints"])
def test_a_file_in_place_of_a_folder_is_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    path = project.parent / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    assert main(["train", str(project), *settings()]) == 2
    assert str(project.parent / "runs/model") in sentence(capsys)
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="has no /proc")
def test_a_folder_that_nobody_can_write_to_is_one_sentence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(project), *settings(), "--output", "/proc/model"]) == 2
    assert "/proc/model cannot be written to" in sentence(capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
def test_a_read_only_folder_is_one_sentence_and_keeps_what_it_holds(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = interrupted(project)
    folders = [output, output / "checkpoints"]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert main(["train", str(project), *settings(), "--resume"]) in (1, 2)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    sentence(capsys)
    resumed(project, capsys)


@pytest.mark.parametrize("name", [HISTORY, "tensorboard"])
def test_a_log_that_cannot_be_opened_is_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    output = interrupted(project)
    path = output / name
    shutil.move(path, output / "kept")
    if name == HISTORY:
        path.mkdir()
    else:
        path.write_text("", encoding="utf-8")
    assert main(["train", str(project), *settings(), "--resume"]) == 1
    assert f"{path} could not be written" in sentence(capsys)
    path.rmdir() if path.is_dir() else path.unlink()
    shutil.move(output / "kept", path)
    resumed(project, capsys)


# A full disk: no file grows past so many bytes


def full(most_bytes: int) -> Callable[[], None]:
    """Lets a process write no larger files. Python ignores the signal, so that writing fails with an OSError.

    What it says goes through a process without that limit.
    """

    def limit() -> None:
        out, into = os.pipe()
        if os.fork() == 0:
            os.close(into)
            while said := os.read(out, 1 << 16):
                os.write(1, said)
            os._exit(0)
        os.close(out)
        os.dup2(into, 1)
        os.dup2(into, 2)
        os.close(into)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return limit


@pytest.mark.long
def test_a_disk_that_is_full_when_the_first_checkpoint_is_written(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(project)  # tables of the data are in the cache
    child = trains(project, *settings(), before=full(100_000))
    assert child.status() == 1
    wait_for(lambda: "error: " in child.words(), "error", child)
    line = child.words().splitlines()[-1]
    assert line.startswith("error: the checkpoint of step 0 could not be written to ")
    assert "File too large" in line
    assert line.endswith("there is none before it: fix that, then continue with --resume")
    assert "Traceback" not in child.words()
    assert checkpoints(project.parent / "runs/model") == []
    resumed(project, capsys)


@pytest.mark.long
def test_a_disk_that_fills_up_later_leaves_the_last_good_checkpoint(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = interrupted(project)
    before = checkpoints(output)
    child = trains(project, *settings(), "--resume", before=full(100_000))
    assert child.status() == 1
    wait_for(lambda: "error: " in child.words(), "error", child)
    line = child.words().splitlines()[-1]
    assert line.startswith("error: the checkpoint of step 4 could not be written to ")
    assert "the last good one is of step 3" in line
    assert checkpoints(output) == before
    resumed(project, capsys)


def test_a_disk_that_is_full_for_the_logs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = interrupted(project)
    size = (output / HISTORY).stat().st_size
    child = trains(project, *settings(), "--resume", before=full(size + 10))
    assert child.status() == 1
    wait_for(lambda: "error: " in child.words(), "error", child)
    line = child.words().splitlines()[-1]
    assert line.startswith("error: "), child.words()
    assert str(output / HISTORY) in line, child.words()
    assert "continue with --resume" in line
    assert "Traceback" not in child.words()
    resumed(project, capsys)


@pytest.mark.long
def test_a_disk_that_is_full_when_the_model_is_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = interrupted(project, after=6)
    assert checkpoints(output)[-1] == "step-00000006"
    child = trains(project, *settings(), "--resume", before=full(50_000))
    assert child.status() == 1, child.words()
    wait_for(lambda: "error: " in child.words(), "error", child)
    assert child.words().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in child.words()
    assert not (output / "manyheads.json").exists()
    assert checkpoints(output)[-1] == "step-00000006"
    resumed(project, capsys)


def test_a_damaged_line_of_the_history_costs_no_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = interrupted(project)
    path = output / HISTORY
    kept = bytearray(path.read_bytes())
    kept[:30] = b"\0" * 30
    path.write_bytes(kept)
    went(plan(project, *SETTINGS), resume=True)
    assert path.read_bytes().startswith(bytes(kept)), "it stays as it is"


# Data and encoders that are not there any more


def test_data_that_vanished_after_it_was_validated_is_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(project)]) == 0
    capsys.readouterr()
    (project.parent / "data/sections.csv").unlink()
    assert main(["train", str(project), *settings()]) == 2
    line = sentence(capsys)
    assert "data/sections.csv" in line
    assert "tasks.section.data.test" in line, "each split of it is named, the last of them last"
    assert not (project.parent / "runs").exists()


def test_data_that_vanished_in_an_interruption_is_one_sentence_and_its_return_is_enough(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = interrupted(project)
    before = checkpoints(output)
    path = project.parent / "data/pairs.csv"
    path.rename(path.with_suffix(".aside"))
    assert main(["train", str(project), *settings(), "--resume"]) == 2
    assert "data/pairs.csv" in sentence(capsys)
    assert checkpoints(output) == before
    path.with_suffix(".aside").rename(path)
    resumed(project, capsys)


def test_data_that_vanishes_while_a_run_goes_on_does_not_matter(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan(project, *SETTINGS)
    shutil.move(project.parent / "data", project.parent / "elsewhere")
    went(made)
    assert (made.output / "manyheads.json").exists()


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_gzip_that_is_cut_off_is_one_sentence(project: Path, capsys: pytest.CaptureFixture[str], keep: float) -> None:
    path = project.parent / "data/entities.jsonl"
    packed = path.with_name("entities.jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    project.write_text(project.read_text(encoding="utf-8").replace("entities.jsonl", "entities.jsonl.gz"), "utf-8")
    output = interrupted(project)
    whole = packed.read_bytes()
    packed.write_bytes(whole[: int(keep * len(whole))])
    assert main(["train", str(project), *settings(), "--resume"]) == 2
    assert "data/entities.jsonl.gz" in sentence(capsys)
    assert len(checkpoints(output)) > 0
    packed.write_bytes(whole)
    resumed(project, capsys)


def test_an_encoder_that_vanished_in_an_interruption_is_one_sentence(
    project: Path, tmp_path: Path, toy_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(toy_encoder, encoder)
    project.write_text(project.read_text(encoding="utf-8").replace(str(toy_encoder), str(encoder)), "utf-8")
    output = interrupted(project)
    weights = (encoder / "model.safetensors").read_bytes()
    for broken in (weights[:100], weights[:-100], None):
        if broken is None:
            (encoder / "model.safetensors").unlink()
        else:
            (encoder / "model.safetensors").write_bytes(broken)
        assert main(["train", str(project), *settings(), "--resume"]) in (1, 2)
        assert str(encoder) in sentence(capsys)
    assert len(checkpoints(output)) > 0
    (encoder / "model.safetensors").write_bytes(weights)
    resumed(project, capsys)


def test_a_cache_that_cannot_be_written_is_one_sentence_or_done_without(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = project.parent / "cache"
    cache.write_text("", encoding="utf-8")
    monkeypatch.setenv("MANYHEADS_CACHE", str(cache))
    status = main(["train", str(project), *settings("training.freeze={layers: 1}")])
    assert status in (0, 1, 2)
    if status:
        assert str(cache) in sentence(capsys)
