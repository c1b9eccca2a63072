"""A training run that writes down what every step was trained on. Run by processes.py, and used by order.py.

    python -m durability.recorder FILE train RUN.yaml --output DIR

For each step a line of FILE.RANK: the rows of the tables that the step's plan names, and a hash of every sequence of
tokens that went into the encoder. The first says what should be read, the second what was.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.training.plan import Plan


def record(plan: Plan, path: Path) -> None:
    """Have a plan write down its steps."""
    gradients, batcher = plan.trainer.gradients, plan.trainer.batcher
    real = gradients.of

    def of(step: int, packs: Sequence[Any]) -> dict[str, Any]:
        found = [digest for pack in packs for digest in _digests(pack.pack)]
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "rows": batcher.draw(step).rows, "sequences": found}) + "\n")
        return real(step, packs)

    gradients.of = of  # type: ignore[method-assign]


def _digests(pack: Any) -> list[str]:
    parts = zip(*(x_T.split_with_sizes(list(pack.segments.lengths)) for x_T in (pack.ids_T, pack.type_T)), strict=True)
    return [
        hashlib.sha256(ids_L.numpy().tobytes() + type_L.numpy().tobytes()).hexdigest()[:16] for ids_L, type_L in parts
    ]


def read(path: Path) -> dict[int, list[dict[str, Any]]]:
    """All records of each step: a run that goes on makes some steps twice."""
    found: dict[int, list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.setdefault(row["step"], []).append(row)
    return found


def main(arguments: Sequence[str]) -> int:
    """The command, with a plan that writes down its steps; its exit status."""
    file, *rest = arguments
    import manyheads.training.run as run
    from manyheads.cli import main as command

    real = run.run_plan

    def run_plan(plan: Plan, *others: Any, **named: Any) -> Any:
        record(plan, Path(f"{file}.{os.environ.get('RANK', '0')}"))
        return real(plan, *others, **named)

    run.run_plan = run_plan
    return command(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
