"""Weights & Biases: a run with its configuration, numbers, and the model as an artifact.

wandb sends in a process of its own, and keeps on disk what it cannot send. Its own steps may only grow, and a run that is
rolled back repeats some, so the step is one more number, by which charts are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyheads.training.trackers.base import NOTHING, PROJECT, Mark, Result, Resumed, RunFacts, Status

STEP = "step"
EXITS = {"finished": 0, "stopped": 75, "failed": 1}


class WandB:
    """A wandb run; environment variables (WANDB_PROJECT, WANDB_MODE and so on) have precedence over what is given here."""

    key: str

    def start(self, facts: RunFacts, resumed: Resumed) -> Mark:
        """Begin or continue a run. An offline run becomes several folders of one run, which `wandb sync` joins."""
        import wandb

        own = wandb.setup().settings
        self._name = facts.name
        self._run = wandb.init(
            project=own.project or PROJECT,
            name=own.run_name or facts.name,
            id=resumed.key,
            resume=None if resumed.key is None else "allow",
            dir=facts.output if Path(own.root_dir) == Path.cwd() else own.root_dir,
            config={**facts.settings, "run_file": facts.run_file, "facts": dict(facts.facts)},
            group=own.run_group or facts.group,
            job_type="train",
            reinit="create_new",  # a run that the calling program has is its own
        )
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)
        self.key = self._run.id
        return NOTHING if resumed.key is None else resumed.given

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers."""
        self._run.log({STEP: step, **values})

    def sync(self) -> None:
        """Nothing: wandb's own process has everything."""

    def finish(self, status: Status, result: Result | None) -> None:
        """Record the final scores and the model folder, and end the run; one that was stopped is marked as such."""
        try:
            if result is not None:
                self.scalars(result.step, result.scores)
            if result is not None and result.model is not None:
                self._run.log_artifact(_artifact(self._name, result.model))
        finally:
            if status == "stopped":
                self._run.mark_preempting()
            self._run.finish(exit_code=EXITS[status])


def _artifact(name: str, folder: Path) -> Any:
    import wandb

    from manyheads.bundle import manifest_hash, read_manifest
    from manyheads.training.trackers.model_files import artifact_name, model_files

    manifest = read_manifest(folder)
    artifact = wandb.Artifact(artifact_name(name), "model", metadata={"hash": manifest_hash(manifest)})
    for file in model_files(folder):
        artifact.add_file(str(folder / file), name=file)
    return artifact
