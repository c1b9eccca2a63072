"""Ray, of a cluster or of one's own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from manyheads.errors import UsageError


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
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except ConnectionError as error:
        raise UsageError(f"--address {address}: no Ray cluster answers there ({error}); start one with `ray start "
                         "--head`, or leave --address out") from None  # fmt: skip
    try:
        yield ray
    finally:
        ray.shutdown()


def shares(ray: Any, workers: int) -> tuple[int, int]:
    """Cores and GPUs of each worker; a GPU only where there is one for each."""
    resources: dict[str, float] = ray.cluster_resources()
    return max(1, int(resources.get("CPU", 1)) // workers), 1 if resources.get("GPU", 0) >= workers else 0
