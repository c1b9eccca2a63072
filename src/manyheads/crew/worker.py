"""What a process of a crew does before and after its own work: `python -m SOME.MODULE JSON`, started by `hands.py`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from manyheads.errors import ManyheadsError

if TYPE_CHECKING:
    from manyheads.training.stop import Stop


def worked(text: str, work: Callable[[Mapping[str, Any], Stop], None]) -> int:
    """Do the task that the JSON says; the exit status. Its device and threads are set first, and signals listened to."""
    task: dict[str, Any] = json.loads(text)
    if task["device"] is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(task["device"])  # before torch looks
    import torch

    torch.set_num_threads(task["threads"])
    from manyheads.training.stop import StopSignals

    try:
        with StopSignals() as stop:
            threading.Thread(target=_end_with_the_crew, daemon=True).start()
            work(task, stop)
    except ManyheadsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


def _end_with_the_crew() -> None:
    """Stop, as by a signal, when the pipe from whoever started this breaks."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
