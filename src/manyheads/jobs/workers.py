"""Workers run one job at a time in a process of its own, on this machine or on a Ray cluster.

A job is a Python module and the JSON it is run with, so a cluster runs the very same process. The process holds a pipe from
its parent and stops when the pipe breaks: no training outlives the command that started it.
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

from manyheads.devices import AUTO
from manyheads.jobs.ray_cluster import connect, resources_per_worker


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Where Ray runs."""

    address: str | None = None
    """HOST:PORT of a cluster; None: a private Ray on this machine, on loopback and without a dashboard."""
    device: str = AUTO
    """Of the training: each worker gets a GPU (`cuda`), none (`cpu`), or one if there is one for each (`auto`)."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How many processes train at a time, and where. With several CUDA devices each process gets one."""

    count: int = 1
    ray: RayOptions | None = None
    """None: processes of this machine."""


class Exit(NamedTuple):
    """How a process ended."""

    status: int
    message: str
    """The last line of its stderr."""


class Worker(Protocol):
    """Runs one process at a time."""

    def start(self, module: str, payload: Mapping[str, Any]) -> None:
        """Run `python -m module JSON`."""

    def poll(self) -> Exit | None:
        """How the process ended; None while it runs."""

    def stop(self) -> None:
        """Ask the process to save and end."""


class LocalWorker:
    """Runs processes on this machine."""

    def __init__(self, threads: int, device: int | None) -> None:
        """`device` is the number of a CUDA device; None leaves the choice to the process."""
        self._resources = {"threads": threads, "device": device}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, module: str, payload: Mapping[str, Any]) -> None:
        """Run `python -m module JSON`."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process: a pipe could fill up
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps({**payload, **self._resources})],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._stderr, start_new_session=True,
        )  # fmt: skip

    def poll(self) -> Exit | None:
        """How the process ended; None while it runs."""
        assert self._process is not None, "started"
        status = self._process.poll()
        if status is None:
            return None
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        self._stderr.close()
        assert self._process.stdin is not None, "a pipe"
        self._process.stdin.close()
        return Exit(status, (lines or [f"exit status {status}"])[-1].removeprefix("error: "))

    def stop(self) -> None:
        """Ask the process to save and end."""
        assert self._process is not None, "started"
        self._process.terminate()


class _RayWorker:
    """Runs processes on a machine of a cluster, through an actor there that is a LocalWorker."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def start(self, module: str, payload: Mapping[str, Any]) -> None:
        self._call("start", module, dict(payload))

    def poll(self) -> Exit | None:
        found = self._call("poll")
        return None if found is None else Exit(*found)

    def stop(self) -> None:
        self._call("stop")

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._ray.get(getattr(self._actor, method).remote(*arguments))


@contextmanager
def open_workers(spec: WorkerSpec) -> Iterator[list[Worker]]:
    """The workers of a spec. Raises UsageError if Ray is not installed or the cluster cannot be reached."""
    if spec.ray is not None:
        with _ray_workers(spec.count, spec.ray) as workers:
            yield workers
        return
    import torch

    devices, threads = torch.cuda.device_count(), max(1, torch.get_num_threads())
    yield [LocalWorker(threads, number % devices if devices else None) for number in range(spec.count)]


@contextmanager
def _ray_workers(count: int, options: RayOptions) -> Iterator[list[Worker]]:
    handler = signal.getsignal(signal.SIGTERM)
    with connect(options.address) as ray:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's own handler would end the process before anything is saved
        cores, gpus = resources_per_worker(ray, count, options.device)
        actor = ray.remote(num_cpus=cores, num_gpus=gpus)(LocalWorker)
        yield [_RayWorker(ray, actor.remote(cores, None)) for _ in range(count)]
