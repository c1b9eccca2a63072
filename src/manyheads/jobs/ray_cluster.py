"""Connections to Ray: a cluster, or a private instance on this machine."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from manyheads.devices import AUTO, CUDA
from manyheads.errors import UsageError

CONNECT_S = 5.0


@contextmanager
def connect(address: str | None) -> Iterator[Any]:
    """The `ray` module, connected to a cluster; None starts a private Ray on this machine, without a dashboard.

    Raises UsageError if Ray is not installed or the cluster cannot be reached.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError(f'--engine ray needs {error.name}; pip install "path/to/manyheads[bulk]"') from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    private: dict[str, Any] = {} if address else {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    check_address(address)
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **private)
    try:
        yield ray
    finally:
        ray.shutdown()


def check_address(address: str | None) -> None:
    """Raise UsageError if nothing listens at an address; Ray itself would try for minutes."""
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


def resources_per_worker(ray: Any, workers: int, device: str = AUTO) -> tuple[int, int]:
    """CPU cores and GPUs for each worker; GPUs only if there is at least one for each.

    Raises UsageError if the device is cuda and there are too few.
    """
    resources: dict[str, float] = ray.cluster_resources()
    enough = resources.get("GPU", 0) >= workers
    if device == CUDA and not enough:
        raise UsageError(f"the Ray cluster has no GPU for each of {workers} workers; start fewer, or use the device cpu")
    return max(1, int(resources.get("CPU", 1)) // workers), int(enough and device != "cpu")
