"""What a comparison keeps of a finished run: scores, evidence and learning curves, in files written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from manyheads.durable import replace_bytes, replace_file
from manyheads.errors import UsageError
from manyheads.metrics.evidence import Ranks, Tally, from_arrays, to_arrays

OUTCOME = "outcome.json"
EVIDENCE = "evidence.safetensors"
FORMAT = 1

Curve = list[dict[str, float]]
"""`{"examples": seen of the task, "score": its headline on validation data}`, in order."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run, by task."""

    scores: Mapping[str, Mapping[str, float]]
    """All metrics on the compared splits."""
    evidence: Mapping[str, Tally | Ranks]
    curves: Mapping[str, Curve]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    """How the gradients of the tasks relate (`training/gradient_diagnostics.py`); empty for one task."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """Heads whose answers show no learning. This and what follows is missing from the files of earlier versions."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """Tokens trained on, without evaluations and the solving of heads."""
    rate: float = 0.0
    """The highest learning rate of the encoder; 0 if unknown."""
    balancing: str = ""
    """The mode of the balancer (`balance/base.py`)."""

    def save(self, folder: Path) -> None:
        """Write into a folder, `outcome.json` last."""
        from safetensors.numpy import save

        facts: dict[str, Any] = {}
        arrays: dict[str, Any] = {}
        for task, evidence in self.evidence.items():
            facts[task], found = to_arrays(evidence)
            arrays |= {f"{task}/{name}": array for name, array in found.items()}
        folder.mkdir(parents=True, exist_ok=True)
        replace_bytes(folder / EVIDENCE, save(arrays))
        values = {"format": FORMAT, **{key.name: getattr(self, key.name) for key in fields(self)}, "evidence": facts}
        replace_file(folder / OUTCOME, json.dumps(values, indent=1) + "\n")

    @staticmethod
    def load(folder: Path) -> Outcome | None:
        """Read from a folder; None if its run is not finished. Raises UsageError if the files are damaged."""
        if not (folder / OUTCOME).exists():
            return None
        from safetensors.numpy import load_file

        try:
            values = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
            arrays = load_file(folder / EVIDENCE)
            evidence = {
                task: from_arrays(facts, {name.partition("/")[2]: array for name, array in arrays.items()
                                          if name.partition("/")[0] == task})
                for task, facts in values["evidence"].items()
            }  # fmt: skip
            known = {key.name: values[key.name] for key in fields(Outcome) if key.name in values}
            return Outcome(**{**known, "evidence": evidence})
        except Exception as error:  # safetensors has exceptions of its own
            raise UsageError(f"{folder} holds a finished run that cannot be read ({error}); delete that folder to train it "
                             "again") from None  # fmt: skip
