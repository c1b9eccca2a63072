"""Ray, of a cluster or of one's own."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from manyheads.errors import UsageError

CONNECT_S = 5.0


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray's module, connected to the cluster at an address; None: to one of this machine alone, without a dashboard.

    Raises UsageError when Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError(f'--engine ray needs {error.name}; pip install "manyheads[bulk]"') from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {} if address else {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    check_address(address)
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    try:
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str | None) -> None:
    """Raise UsageError where nobody answers: Ray itself tries for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if address is None or address == "auto":
        return
    try:
        if not colon or not port.isdecimal():
            raise ValueError("it is not HOST:PORT")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(f"--address {address}: no Ray cluster answers there ({error}); start one with `ray start --head`, "
                         "or leave --address out") from None  # fmt: skip


def shares(ray: Any, workers: int) -> tuple[int, int]:
    """Cores and GPUs of each worker; a GPU only where there is one for each."""
    resources: dict[str, float] = ray.cluster_resources()
    return max(1, int(resources.get("CPU", 1)) // workers), 1 if resources.get("GPU", 0) >= workers else 0
