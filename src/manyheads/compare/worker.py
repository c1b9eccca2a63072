"""One run of a comparison in a process of its own: `python -m manyheads.compare.worker JSON`, started by `command.py`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(text: str) -> int:
    """Train the job that the JSON says; the exit status."""
    task: dict[str, Any] = json.loads(text)
    if task["device"] is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(task["device"])  # before torch looks
    import torch

    torch.set_num_threads(task["threads"])
    from manyheads.compare.command import Asked, open_shop
    from manyheads.compare.jobs import Job, run_job
    from manyheads.errors import ManyheadsError
    from manyheads.training.progress import Quiet
    from manyheads.training.stop import StopSignals

    try:
        with StopSignals() as stop:
            shop = open_shop(Asked(Path(task["run"]), Path(task["output"]), overrides=tuple(task["overrides"])))
            run_job(shop, Job.from_json(task["job"]), Quiet(), stop)
    except ManyheadsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
