"""Worker processes save when they are stopped or their parent is gone, on this machine and on Ray; a queue is run once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyheads.cli import main
from manyheads.jobs.scheduler import run_jobs
from manyheads.jobs.workers import Exit, LocalWorker, RayOptions, Worker, WorkerSpec, open_workers
from manyheads.training.stop import Stop

MODULE = """
import sys, time
from pathlib import Path
from manyheads.jobs.worker_process import run_worker
from manyheads.errors import UsageError

def work(task, stop):
    if task["file"] is None:
        raise UsageError("there is no file; give one")
    stop.patient = True
    Path(task["file"]).write_text("began")
    while stop.asked is None:
        time.sleep(0.01)
    Path(task["file"]).write_text(stop.asked)

raise SystemExit(run_worker(sys.argv[1], work))
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


@pytest.mark.long
@pytest.mark.parametrize("ray", [False, True])
def test_a_stopped_process_ends_and_an_error_is_its_last_line(tmp_path: Path, ray: bool) -> None:
    if ray:
        pytest.importorskip("ray")
    handler = signal.getsignal(signal.SIGTERM)
    with open_workers(WorkerSpec(1, RayOptions() if ray else None)) as (worker,):
        assert signal.getsignal(signal.SIGTERM) is handler, "Ray's own would end the process at once"
        file = tmp_path / "file"
        worker.start("waits", {"file": str(file)})
        wait(file.exists)
        assert worker.poll() is None
        worker.stop()
        assert wait(worker.poll) == Exit(0, "exit status 0")
        assert file.read_text() == "SIGTERM"
        worker.start("waits", {"file": None})
        assert wait(worker.poll) == Exit(2, "there is no file; give one")


@pytest.mark.long
def test_a_process_whose_parent_is_gone_stops(tmp_path: Path) -> None:
    worker, file = LocalWorker(1, None), tmp_path / "file"
    worker.start("waits", {"file": str(file)})
    wait(file.exists)
    assert worker._process is not None
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    wait(lambda: file.read_text() == "SIGTERM")
    assert worker._process.wait(PATIENCE_S) == 0


class Quick:
    """A worker whose jobs end at the second poll."""

    def start(self, module: str, payload: Any) -> None:
        self.polls, self.stopped = 0, False

    def poll(self) -> Exit | None:
        self.polls += 1
        return Exit(75 if self.stopped else 0, "") if self.polls > 1 else None

    def stop(self) -> None:
        self.stopped = True


class Numbers:
    """Five jobs, of which the fourth should stop as soon as it is started."""

    module = "none"

    def __init__(self, stop: Stop) -> None:
        self.left, self.seen, self.stop = [1, 2, 3, 4, 5], dict[int, int](), stop

    def next(self) -> int | None:
        return self.left.pop(0) if self.left else None

    def payload(self, job: int) -> dict[str, int]:
        return {"number": job}

    def should_stop(self, job: int) -> bool:
        return job == 4

    def finished(self, job: int, status: Exit) -> None:
        self.seen[job] = status.status
        if job == 5:
            self.stop.asked = "SIGINT"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_all_jobs_run_once_with_any_number_of_workers(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("manyheads.jobs.scheduler.POLL_S", 0.0)
    numbers = Numbers(Stop())
    workers: list[Worker] = [Quick() for _ in range(count)]
    run_jobs(workers, numbers, numbers.stop)
    assert numbers.seen == {1: 0, 2: 0, 3: 0, 4: 75, 5: 0}


def test_no_job_is_started_once_a_stop_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyheads.jobs.scheduler.POLL_S", 0.0)
    numbers = Numbers(Stop())
    numbers.left = [5, 1, 2]
    run_jobs([Quick()], numbers, numbers.stop)
    assert numbers.seen == {5: 0}
    assert numbers.left == [1, 2]
    assert not numbers.stop.patient, "what follows has no worker to pass a signal on to"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:99999999"])
def test_a_cluster_that_does_not_answer_is_one_sentence_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    given = ["tune", str(tmp_path / "run.yaml"), "-o", str(tmp_path / "a"), "--engine", "ray", "--address", address]
    assert main(given) == 2
    assert f"--address {address}: no Ray cluster answers there" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
