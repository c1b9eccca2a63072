"""Private layers for a task that falls behind, as few as bring it within the margin of its single-task model.

On the trained shared model the encoder is frozen and the task's head is trained again; then the top layer becomes private
as well, then the top two, and so on. With all layers private nothing is shared: a single-task model that starts from the
shared one. Users know this as the ladder (docs/sharing.md).

Decided here:
- Only the weights of this task change, so it costs the other tasks nothing, and tasks are treated one after the other.
- Each step is a training of the task alone, at the rate of its single-task model, above frozen layers whose outputs are
  computed once and kept.
- Validation data of the first seed decides where to stop: at the first step within the margin, or else at the best. The
  other seeds train only that step, and the verdict is by test data as for any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.compare.single_models import validation_score
from manyheads.jobs.job import Job, LayerSplit
from manyheads.nn.families import PACKED

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome
    from manyheads.compare.runner import Runner
    from manyheads.compare.single_models import SingleModel
    from manyheads.config.files import RunFile


@dataclass(frozen=True, slots=True)
class Step:
    """One number of private layers that was tried."""

    split: LayerSplit
    score: float
    """On validation data, with the first seed."""

    @property
    def cost(self) -> float:
        """Encoder passes to answer a text for this task and the others.

        >>> Step(LayerSplit(2, depth=6), 0.9).cost
        1.3333333333333333
        """
        return (self.split.depth + self.split.private) / self.split.depth

    def __str__(self) -> str:
        private, depth = self.split.private, self.split.depth
        layers = f"{'all' if private == depth else f'the top {private} of'} {depth} layers private"
        return f"{layers if private else 'head retrained'}, {self.cost:.2f} passes"

    def to_json(self) -> dict[str, Any]:
        """An entry of `rungs` in compare.json."""
        return {"own_layers": self.split.private, "validation": self.score, "passes": self.cost}


@dataclass(frozen=True, slots=True)
class Search:
    """The steps tried for one task, and the one chosen."""

    target: float
    """The validation score to reach: the single-task model's less the margin."""
    tried: tuple[Step, ...]
    chosen: Step
    runs: tuple[Outcome, ...]
    """The chosen step with each seed."""
    model: Path
    """Model folder of the chosen step with the first seed."""

    def to_json(self) -> dict[str, Any]:
        """An entry of `climbs` in compare.json."""
        return {"target": self.target, "rungs": [step.to_json() for step in self.tried],
                "own_layers": self.chosen.split.private, "reached": self.chosen.score >= self.target}  # fmt: skip


def is_wholly_shared(file: RunFile) -> bool:
    """Whether all tasks of a run share the whole encoder, which is where the search starts."""
    sharing = file.run.sharing
    return sharing.shared_layers is None and not sharing.layer_mix and file.run.lora is None


def steps_of(config: Any) -> list[LayerSplit]:
    """The numbers of private layers to try for an encoder, by its configuration.

    With relative positions, which all layers read, the layers are shared or private only as a whole.
    """
    depth = int(config.num_hidden_layers)
    counts = range(depth + 1) if config.model_type in PACKED else (0, depth)
    return [LayerSplit(count, depth) for count in counts]


def search(
    runner: Runner, name: str, single: SingleModel, seeds: Sequence[int], *, margin: float, steps: Sequence[LayerSplit]
) -> Search | None:
    """Try private layers for one task; None without validation data. Raises StoppedError, TrainingError."""
    best = validation_score(single.runs[0], name)
    if best is None:
        return None
    target, tried = best - margin, list[Step]()
    outcomes: dict[LayerSplit, Outcome] = {}
    for split in steps:
        if not split.private and not _head_has_weights(runner, name):
            continue
        job = Job(seeds[0], (name,), single=single.settings, layer_split=split, keep=True)
        outcomes[split] = runner.outcomes([job])[job]
        score = validation_score(outcomes[split], name)
        assert score is not None, "the single-task model had one"
        tried.append(Step(split, score))
        runner.progress.say(f"{name}: {tried[-1]}: validation {score:.4f}, target {target:.4f}")
        if score >= target:
            break
    chosen = tried[-1] if tried[-1].score >= target else max(tried, key=lambda step: step.score)
    first, *others = (Job(seed, (name,), single=single.settings, layer_split=chosen.split) for seed in seeds)
    rest = runner.outcomes(others)
    runs = (outcomes[chosen.split], *(rest[job] for job in others))
    return Search(target, tuple(tried), chosen, runs, runner.experiment.folder_of(first))


def _head_has_weights(runner: Runner, name: str) -> bool:
    return any(True for _ in runner.experiment.dataset[name].task.build_head(8).parameters())
