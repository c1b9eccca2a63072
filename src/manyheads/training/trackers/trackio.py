"""Trackio: a run in a local database, or on a Hugging Face Space or server that its environment variables name.

Trackio continues a run by its name, so the name gets a suffix that no other run has.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyheads.training.trackers.base import (
    NOTHING,
    PROJECT,
    Mark,
    Result,
    Resumed,
    RunFacts,
    Status,
    notes_to_stderr,
)


class Trackio:
    """A trackio run with its configuration, numbers, and the model folder as an artifact."""

    key: str

    def start(self, facts: RunFacts, resumed: Resumed) -> Mark:
        """Begin a run, or continue the one of this name."""
        import trackio

        self._name = facts.name
        self.key = resumed.key or f"{facts.name}-{secrets.token_hex(3)}"
        with notes_to_stderr():
            self._run = trackio.init(
                project=PROJECT,
                name=self.key,
                group=facts.group,
                resume="never" if resumed.key is None else "must",
                config={**facts.settings, "run_file": facts.run_file, "facts": dict(facts.facts)},
                embed=False,
            )
        return NOTHING if resumed.key is None else resumed.given

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers."""
        self._run.log(dict(values), step=step)

    def sync(self) -> None:
        """Nothing: trackio writes twice a second."""

    def finish(self, status: Status, result: Result | None) -> None:
        """Record the final scores and the model folder, and end the run. Trackio has no status of runs."""
        import trackio

        with notes_to_stderr():
            try:
                if result is not None:
                    self.scalars(result.step, result.scores)
                if result is not None and result.model is not None:
                    self._run.log_artifact(_artifact(self._name, result.model))
            finally:
                trackio.finish()  # or it ends once more, and says so on standard output, when the process exits


def _artifact(name: str, folder: Path) -> Any:
    import trackio

    from manyheads.training.trackers.model_files import artifact_name, model_files

    artifact = trackio.Artifact(artifact_name(name), "model")
    for file in model_files(folder):
        artifact.add_file(folder / file, name=file)
    return artifact
