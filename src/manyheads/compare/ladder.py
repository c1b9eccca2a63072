"""The ladder: what a task that falls behind gets of its own, step by step, until it is no worse than its single model.

On the trained shared model the encoder is frozen and the task's head is trained again; then its top layer is the task's own
as well, then the two top layers, and so on. On the last rung nothing is shared: it is a single model that starts from there.

Decided here:
- Only this task's weights move, so no rung costs another task anything, and tasks climb one after the other.
- A rung is a training of the task alone, at the rate of its single model, on an encoder whose lower layers are frozen; their
  outputs are computed once and kept.
- The first seed's validation data says where to stop: at the first rung within the margin of the single model, or else at
  the best. The other seeds take that rung, and the verdict is by test data as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.compare.singles import validation_score
from manyheads.crew.workshop import Job, Rung
from manyheads.nn.families import PACKED

if TYPE_CHECKING:
    from manyheads.compare.crew import Maker
    from manyheads.compare.outcome import Outcome
    from manyheads.compare.search import Single
    from manyheads.config.files import RunFile


@dataclass(frozen=True, slots=True)
class Tried:
    """One rung."""

    rung: Rung
    score: float
    """On validation data, in the first seed."""

    @property
    def cost(self) -> float:
        """Of answering a text for this task beside the others, in passes of the encoder."""
        return (self.rung.depth + self.rung.own_layers) / self.rung.depth

    def to_json(self) -> dict[str, Any]:
        """For compare.json."""
        return {"own_layers": self.rung.own_layers, "validation": self.score, "passes": self.cost}

    def words(self) -> str:
        """For people."""
        own, depth = self.rung.own_layers, self.rung.depth
        some = "all" if own == depth else f"the top {own} of"
        return f"{f'{some} {depth} layers its own' if own else 'its head trained again'}, {self.cost:.2f} passes"


@dataclass(frozen=True, slots=True)
class Climb:
    """One task's way up."""

    target: float
    """The validation score to reach: the single model's less the margin."""
    tried: tuple[Tried, ...]
    chosen: Tried
    runs: tuple[Outcome, ...]
    """Of the chosen rung, one for each seed."""
    model: Path
    """The folder of the chosen rung in the first seed."""

    def to_json(self) -> dict[str, Any]:
        """For compare.json."""
        return {"target": self.target, "rungs": [rung.to_json() for rung in self.tried],
                "own_layers": self.chosen.rung.own_layers, "reached": self.chosen.score >= self.target}  # fmt: skip


def reason_against(file: RunFile) -> str | None:
    """Why a run's model has no ladder; None if it has."""
    for key, given in (
        ("sharing.shared_layers", file.run.sharing.shared_layers is not None),
        ("sharing.layer_mix", file.run.sharing.layer_mix),
        ("lora", file.run.lora is not None),
    ):
        if given:
            return f"{key} is set, and the ladder starts from a wholly shared encoder"
    return None


def rungs_of(config: Any) -> list[Rung]:
    """The rungs of an encoder, by its configuration; relative positions, which all layers read, allow the ends only."""
    depth = int(config.num_hidden_layers)
    some = range(depth + 1) if config.model_type in PACKED else (0, depth)
    return [Rung(own_layers, depth) for own_layers in some]


def climb(
    maker: Maker, name: str, single: Single, seeds: Sequence[int], *, margin: float, rungs: Sequence[Rung]
) -> Climb | None:
    """Climb with one task; None where no validation data can say how far. Raises StoppedError, TrainingError."""
    best = validation_score(single.runs[0], name)
    if best is None:
        return None
    target, tried = best - margin, list[Tried]()
    outcomes: dict[Rung, Outcome] = {}
    for rung in rungs:
        if not rung.own_layers and not _has_head(maker, name):
            continue
        job = Job(seeds[0], (name,), own=single.own, rung=rung, keep=True)
        outcomes[rung] = maker.outcomes([job])[job]
        score = validation_score(outcomes[rung], name)
        assert score is not None, "the single model had one"
        tried.append(Tried(rung, score))
        maker.progress.say(f"{name}: {tried[-1].words()}: validation {score:.4f}, wanted {target:.4f}")
        if score >= target:
            break
    chosen = tried[-1] if tried[-1].score >= target else max(tried, key=lambda one: one.score)
    first, *others = (Job(seed, (name,), own=single.own, rung=chosen.rung) for seed in seeds)
    rest = maker.outcomes(others)
    runs = (outcomes[chosen.rung], *(rest[job] for job in others))
    return Climb(target, tuple(tried), chosen, runs, maker.shop.place(first))


def climb_all(
    maker: Maker, best: Mapping[str, Single], seeds: Sequence[int], *, margin: float, rungs: Sequence[Rung]
) -> dict[str, Climb]:
    """The ways up of tasks, by their single models; those without validation data are left out."""
    ways = {name: climb(maker, name, one, seeds, margin=margin, rungs=rungs) for name, one in best.items()}
    return {name: way for name, way in ways.items() if way is not None}


def write_model(maker: Maker, seed: int, climbs: Mapping[str, Climb], folder: Path) -> None:
    """The first seed's shared model with what the tasks climbed to, as a model folder that answers all of them."""
    from manyheads.compare.models import save_with_tops

    tops = {name: (way.model, way.chosen.rung.own_layers) for name, way in climbs.items()}
    save_with_tops(maker.shop.place(Job(seed)), tops, folder)


def _has_head(maker: Maker, name: str) -> bool:
    """Whether a task's head has weights, which alone could be trained again."""
    return any(True for _ in maker.shop.dataset[name].task.build_head(8).parameters())
