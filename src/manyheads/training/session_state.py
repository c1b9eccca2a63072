"""Everything that the rest of a run depends on besides its trainer, as a snapshot and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from manyheads.errors import CheckpointError
from manyheads.training.averaging import Average
from manyheads.training.best_weights import BestWeights
from manyheads.training.checkpoint import Snapshot
from manyheads.training.distributed.sharded import gathered
from manyheads.training.plan import Plan
from manyheads.training.selection import Patience
from manyheads.training.state import UNFIT, check_shapes, load_state, load_tensors, state_of, tensors_of, trained


@dataclass(slots=True)
class Position:
    """How far a run has come."""

    step: int = 0
    """Steps done."""
    phase: int = 0
    start: int = 0
    """The step at which the phase began."""
    due: bool = False
    """Whether the evaluation of this step is still to be made."""
    best: int = 0
    """The step of the best evaluation so far."""


@dataclass(slots=True)
class SessionState:
    """Where a run is, its best weights, and how long it has waited for better ones."""

    position: Position
    best: BestWeights
    average: Average
    overall: Patience
    phase_patience: Patience
    task_patience: Mapping[str, Patience]
    solved: Sequence[str] = ()
    """Heads that were solved before the first step, and are still to be shrunk."""
    averaged: bool = False
    """Whether the best weights are the mean of those of the last steps."""

    @staticmethod
    def of(plan: Plan) -> SessionState:
        """At the beginning of a run."""
        parameters = {name: p for name, p in trained(plan.trainer).items() if not name.startswith("balancing.")}
        return SessionState(
            position=Position(due=plan.fit_heads and bool(plan.validation)),  # solved heads alone are a candidate
            best=BestWeights(parameters, plan.trainer.parts, plan.patience),
            average=Average(list(parameters.values()), plan.average, plan.steps),
            overall=Patience(None),
            phase_patience=Patience(plan.phases[0].patience if plan.phases else None),
            task_patience={name: Patience(limit) for name, limit in plan.patience.items()},
        )

    def snapshot(self, plan: Plan, history_bytes: int) -> Snapshot:
        """This and the trainer's state, in process 0. A collective call with divided layers."""
        position = asdict(self.position)
        step = position.pop("step")
        state = {
            "run": plan.identity.to_json(),
            "place": position,
            "solved": list(self.solved),
            "average": {"count": self.average.count, "taken": self.averaged},
            "waiting": self.phase_patience.to_json(),
            "overall": self.overall.to_json(),
            "tasks": {name: patience.to_json() for name, patience in self.task_patience.items()},
            "history_bytes": history_bytes,
            **state_of(plan.trainer),
        }
        tensors = {"best": self.best.tensors(), "average": self.best.joined(self.average.mean)}
        kept = {name: gathered(found, plan.trainer.team.leads) for name, found in tensors.items()}
        return Snapshot(step, state, {**tensors_of(plan.trainer), **kept})

    def load(self, plan: Plan, snapshot: Snapshot) -> None:
        """Continue from a snapshot. Raises CheckpointError if it is of another run."""
        state, best, mean = snapshot.state, snapshot.tensors.get("best", {}), snapshot.tensors.get("average", {})
        self.best.check(best)
        if mean:
            check_shapes("mean of the weights", self.best.parameters, mean)
        load_tensors(plan.trainer, snapshot.tensors)
        load_state(plan.trainer, state)
        try:
            place = state["place"]
            self.position = Position(
                snapshot.step, int(place["phase"]), int(place["start"]), bool(place["due"]), int(place["best"])
            )
            self.solved = [name for name in plan.tasks if name in state["solved"]]
            self.phase_patience = Patience.from_json(state["waiting"])
            self.overall = Patience.from_json(state["overall"])
            self.task_patience = {name: Patience.from_json(state["tasks"][name]) for name in self.task_patience}
            average = state.get("average", {"count": 0, "taken": False})  # earlier versions have none
            self.average.count, self.averaged = int(average["count"]), bool(average["taken"])
            self.average.mean = self.best.divided(mean) if mean else []
            self.best.load(best)
        except UNFIT as error:
            raise CheckpointError(f"the checkpoint's state does not fit this run ({error!r})") from None
