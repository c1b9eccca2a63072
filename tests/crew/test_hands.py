"""Processes of a crew: told to stop they save, and so they do when whoever started them is gone; Ray's are the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyheads.cli import main
from manyheads.crew.attend import attend
from manyheads.crew.hands import Crew, Ended, Hand, LocalHand, hands_of
from manyheads.training.stop import Stop

MODULE = """
import sys, time
from pathlib import Path
from manyheads.crew.worker import worked
from manyheads.errors import UsageError

def work(task, stop):
    if task["file"] is None:
        raise UsageError("there is no file; give one")
    stop.patient = True
    Path(task["file"]).write_text("began")
    while stop.asked is None:
        time.sleep(0.01)
    Path(task["file"]).write_text(stop.asked)

raise SystemExit(worked(sys.argv[1], work))
"""
PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waits.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


def wait(found: Callable[[], Any]) -> Any:
    limit = time.monotonic() + PATIENCE_S
    while (seen := found()) in (None, False):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return seen


@pytest.mark.parametrize("ray", [False, True])
def test_a_process_that_is_told_to_stop_stops_and_a_mistake_is_its_last_line(tmp_path: Path, ray: bool) -> None:
    if ray:
        pytest.importorskip("ray")
    heard = signal.getsignal(signal.SIGTERM)
    with hands_of(Crew(1, ray=ray)) as (hand,):
        assert signal.getsignal(signal.SIGTERM) is heard, "Ray's own would end the process at once"
        file = tmp_path / "file"
        hand.start("waits", {"file": str(file)})
        wait(file.exists)
        assert hand.ended() is None
        hand.stop()
        assert wait(hand.ended) == Ended(0, "exit status 0")
        assert file.read_text() == "SIGTERM"
        hand.start("waits", {"file": None})
        assert wait(hand.ended) == Ended(2, "there is no file; give one")


def test_a_process_whose_crew_is_gone_stops(tmp_path: Path) -> None:
    hand, file = LocalHand(1, None), tmp_path / "file"
    hand.start("waits", {"file": str(file)})
    wait(file.exists)
    assert hand._process is not None
    assert hand._process.stdin is not None
    hand._process.stdin.close()
    wait(lambda: file.read_text() == "SIGTERM")
    assert hand._process.wait(PATIENCE_S) == 0


class Quick:
    """A hand whose tasks end at the second look."""

    def start(self, module: str, task: Any) -> None:
        self.looks, self.stopped = 0, False

    def ended(self) -> Ended | None:
        self.looks += 1
        return Ended(75 if self.stopped else 0, "") if self.looks > 1 else None

    def stop(self) -> None:
        self.stopped = True


class Numbers:
    """Five tasks, of which the fourth is unwanted as soon as it is begun."""

    module = "none"

    def __init__(self, stop: Stop) -> None:
        self.left, self.seen, self.stop = [1, 2, 3, 4, 5], dict[int, int](), stop

    def next(self) -> int | None:
        return self.left.pop(0) if self.left else None

    def task(self, work: int) -> dict[str, int]:
        return {"number": work}

    def unwanted(self, work: int) -> bool:
        return work == 4

    def ended(self, work: int, how: Ended) -> None:
        self.seen[work] = how.status
        if work == 5:
            self.stop.asked = "SIGINT"


@pytest.mark.parametrize("hands", [1, 2, 7])
def test_all_work_is_done_once_whatever_the_number_of_hands(monkeypatch: pytest.MonkeyPatch, hands: int) -> None:
    monkeypatch.setattr("manyheads.crew.attend.LOOK_S", 0.0)
    numbers = Numbers(Stop())
    crew: list[Hand] = [Quick() for _ in range(hands)]
    attend(crew, numbers, numbers.stop)
    assert numbers.seen == {1: 0, 2: 0, 3: 0, 4: 75, 5: 0}


def test_nothing_is_begun_once_a_stop_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyheads.crew.attend.LOOK_S", 0.0)
    numbers = Numbers(Stop())
    numbers.left = [5, 1, 2]
    attend([Quick()], numbers, numbers.stop)
    assert numbers.seen == {5: 0}
    assert numbers.left == [1, 2]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:99999999"])
def test_a_cluster_that_does_not_answer_is_one_sentence_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    given = ["tune", str(tmp_path / "run.yaml"), "-o", str(tmp_path / "a"), "--engine", "ray", "--address", address]
    assert main(given) == 2
    assert f"--address {address}: no Ray cluster answers there" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
