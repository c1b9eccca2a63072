"""Places where tasks run, one at a time each, in processes of their own: on this machine, or on those of a Ray cluster.

Decided here: a task is a Python module and the JSON that it is run with, wherever that is, so a cluster runs the very same
process. It holds a pipe from whoever started it, and stops when that breaks: nobody trains on after its crew was killed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from manyheads.crew.cluster import cluster, shares


@dataclass(frozen=True, slots=True)
class Crew:
    """How many processes train at a time; with several CUDA devices each process has one."""

    workers: int = 1
    ray: bool = False
    address: str | None = None
    """Of a Ray cluster; None: a Ray of one's own on this machine, on loopback and without a dashboard."""


class Ended(NamedTuple):
    """How a task ended."""

    status: int
    words: str
    """The last line of its complaints."""


class Hand(Protocol):
    """Where a task runs."""

    def start(self, module: str, task: Mapping[str, Any]) -> None:
        """Run `python -m module JSON`."""
        ...

    def ended(self) -> Ended | None:
        """How the task ended; None while it runs."""
        ...

    def stop(self) -> None:
        """Ask it to save and end."""
        ...


class LocalHand:
    """A process of this machine."""

    def __init__(self, threads: int, device: int | None) -> None:
        """`device`: the number of the CUDA device; None: what the process finds."""
        self._own = {"threads": threads, "device": device}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, module: str, task: Mapping[str, Any]) -> None:
        """Run `python -m module JSON`."""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process: a pipe could fill up
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps({**task, **self._own})],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said, start_new_session=True,
        )  # fmt: skip

    def ended(self) -> Ended | None:
        """How the task ended; None while it runs."""
        assert self._process is not None, "started"
        status = self._process.poll()
        if status is None:
            return None
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip().splitlines()
        self._said.close()
        assert self._process.stdin is not None, "a pipe"
        self._process.stdin.close()
        return Ended(status, (words or [f"exit status {status}"])[-1].removeprefix("error: "))

    def stop(self) -> None:
        """Ask it to save and end."""
        assert self._process is not None, "started"
        self._process.terminate()


class RayHand:
    """A process of some machine of a cluster, which an actor there looks after."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def start(self, module: str, task: Mapping[str, Any]) -> None:
        """Run `python -m module JSON` over there."""
        self._asked("start", module, dict(task))

    def ended(self) -> Ended | None:
        """How the task ended; None while it runs."""
        found = self._asked("ended")
        return None if found is None else Ended(*found)

    def stop(self) -> None:
        """Ask it to save and end."""
        self._asked("stop")

    def _asked(self, method: str, *arguments: Any) -> Any:
        return self._ray.get(getattr(self._actor, method).remote(*arguments))


@contextmanager
def hands_of(crew: Crew) -> Iterator[list[Hand]]:
    """The hands of a crew. Raises UsageError without Ray, or for a cluster that cannot be reached."""
    if crew.ray:
        with _ray_hands(crew) as hands:
            yield hands
        return
    import torch

    devices, threads = torch.cuda.device_count(), max(1, torch.get_num_threads())
    yield [LocalHand(threads, number % devices if devices else None) for number in range(crew.workers)]


@contextmanager
def _ray_hands(crew: Crew) -> Iterator[list[Hand]]:
    """Actors, each with its share of the cluster's cores, and a GPU where there is one for each."""
    heard = signal.getsignal(signal.SIGTERM)
    with cluster(crew.address) as ray:
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, heard
            )  # Ray listens itself, and would end the process before anything is saved
        cores, gpus = shares(ray, crew.workers)
        actor = ray.remote(num_cpus=cores, num_gpus=gpus)(LocalHand)
        yield [RayHand(ray, actor.remote(cores, None)) for _ in range(crew.workers)]
