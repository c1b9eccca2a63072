"""What a finished run leaves for a comparison: scores, evidence, its learning curve; as files that are there whole or not.

A run is kept under a key, the hash of everything that determines what comes out. So a comparison that is killed, repeated,
or given more seeds trains only what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyheads.durable import replace_bytes, replace_file
from manyheads.errors import UsageError
from manyheads.metrics.evidence import Ranks, Tally, from_arrays, to_arrays

OUTCOME = "outcome.json"
EVIDENCE = "evidence.safetensors"
FORMAT = 1
LATER = ("warnings", "tokens", "rate", "balancing")
"""What runs of earlier versions did not keep."""

Curve = list[dict[str, float]]
"""`{"examples": seen of the task, "score": its headline on validation data}`, in order."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run, by task."""

    scores: Mapping[str, Mapping[str, float]]
    """All metrics on the data that is compared."""
    evidence: Mapping[str, Tally | Ranks]
    curves: Mapping[str, Curve]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    """What gradients say, of runs with several tasks; see `diagnosis.py`."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """Of heads whose answers show no learning."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """Trained on, by task; of evaluations and of solving heads none are counted."""
    rate: float = 0.0
    """The highest learning rate of the encoder; 0 where it is not known."""
    balancing: str = ""
    """The mode of the balancer (`balance/base.py`)."""

    def save(self, folder: Path) -> None:
        """Into a folder, `outcome.json` last."""
        from safetensors.numpy import save

        facts: dict[str, Any] = {}
        arrays: dict[str, Any] = {}
        for task, evidence in self.evidence.items():
            facts[task], found = to_arrays(evidence)
            arrays |= {f"{task}/{name}": array for name, array in found.items()}
        folder.mkdir(parents=True, exist_ok=True)
        replace_bytes(folder / EVIDENCE, save(arrays))
        values = {"format": FORMAT, "scores": self.scores, "evidence": facts, "curves": self.curves,
                  "diagnostics": self.diagnostics, "warnings": self.warnings, "tokens": self.tokens,
                  "rate": self.rate, "balancing": self.balancing}  # fmt: skip
        replace_file(folder / OUTCOME, json.dumps(values, indent=1) + "\n")

    @staticmethod
    def load(folder: Path) -> Outcome | None:
        """From a folder; None when its run did not finish. Raises UsageError for files that cannot be read."""
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
            later = {key: values[key] for key in LATER if key in values}
            return Outcome(values["scores"], evidence, values["curves"], values["diagnostics"], **later)
        except Exception as error:  # safetensors raises its own kind
            raise UsageError(f"{folder} holds a finished run that cannot be read ({error}); delete that folder, and it "
                             "is trained again") from None  # fmt: skip
