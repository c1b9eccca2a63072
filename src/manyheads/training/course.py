"""The course of a run through its phases: steps, evaluations, checkpoints, and the best weights so far.

What it does next depends on nothing but its state, so a run that goes on from a checkpoint takes the same course. Whatever
interrupts it, a checkpoint is made between steps only; an evaluation that is broken off is still due when the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from manyheads.errors import CheckpointError, DivergedError, StoppedError
from manyheads.evaluate import calibrate
from manyheads.predict import Predictor, TorchBackend
from manyheads.training.averaging import Average
from manyheads.training.checkpoint import Snapshot
from manyheads.training.head_fit import shrink_heads
from manyheads.training.selection import Waiting, doubt
from manyheads.training.sharded import divided_as, gathered, joined, local
from manyheads.training.state import (
    UNFIT,
    check_shapes,
    copies,
    load_state,
    load_tensors,
    put_back,
    state_of,
    tensors_of,
    trained,
)

if TYPE_CHECKING:
    import torch

    from manyheads.evaluate import Metrics
    from manyheads.predict import Backend
    from manyheads.tasks.base import Array
    from manyheads.text.pack import Encoding
    from manyheads.training.checkpoint import Checkpoints
    from manyheads.training.log import RunLog, Unlogged
    from manyheads.training.loop import StepRecord
    from manyheads.training.phases import Phase
    from manyheads.training.progress import Progress
    from manyheads.training.run import Plan
    from manyheads.training.stop import Stop
    from manyheads.training.team import Team


@dataclass(slots=True)
class Place:
    """Where a run is."""

    step: int = 0
    """Steps that are done."""
    phase: int = 0
    start: int = 0
    """The step at which the phase began."""
    due: bool = False
    """Whether the evaluation of this step is still to come."""
    best: int = 0
    """The step of the best evaluation so far."""


class Course:
    """Runs a plan, from its beginning or from a snapshot."""

    def __init__(
        self,
        plan: Plan,
        log: RunLog | Unlogged,
        progress: Progress,
        checkpoints: Checkpoints | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Nothing happens yet. Without `checkpoints` none are made."""
        from manyheads.training.stop import Stop

        self.plan = plan
        self.log = log
        self.progress = progress
        self.checkpoints = checkpoints
        self.stop = stop or Stop()
        self.team = plan.trainer.team
        self.solved: Sequence[str] = ()
        """Heads that were solved before the first step, and not brought nearer to 0 yet."""
        self._halting = False
        self.at = Place(due=plan.fit_heads and bool(plan.validation))  # what the heads alone can do is a candidate
        self.waiting = Waiting(plan.phases[0].patience if plan.phases else None)
        self.overall = Waiting(None)
        self.best: list[torch.Tensor] | None = None
        self.tasks = {name: Waiting(patience) for name, patience in plan.patience.items()}
        self.best_heads: dict[str, list[torch.Tensor]] = {}
        names = trained(plan.trainer)
        self._trained = {name: p for name, p in names.items() if not name.startswith("balancing.")}
        self.averaged = False
        """Whether the best weights are the mean of the last steps'."""
        self.average = Average(list(self._trained.values()), plan.average, plan.steps)
        plan.trainer.average = self.average if plan.average else None

    @property
    def best_step(self) -> int:
        """The steps that the weights the model ends with were trained for."""
        return self.at.best if self.plan.validation else self.at.step

    @property
    def step(self) -> int:
        """Steps that are done."""
        return self.at.step

    def run(self) -> None:
        """All phases; the model ends with the weights of the best evaluation, or the last without validation data.

        Raises StoppedError when asked to stop, and DivergedError when a guard ends the run; both leave a checkpoint.
        """
        phases = self.plan.phases
        while self.at.phase < len(phases):
            phase = phases[self.at.phase]
            if len(phases) > 1 and self.at.step == self.at.start:
                self.progress.say(f"phase '{phase.name}': {phase.steps:,} steps")
            try:
                self._phase(phase)
            except _TooManyBadError as error:
                self._turn_back(error.record)
                continue
            patience = phases[self.at.phase + 1].patience if self.at.phase + 1 < len(phases) else None
            self.at = Place(self.at.step, self.at.phase + 1, self.at.step, best=self.at.best)
            self.waiting = Waiting(patience)
        if self.average.count:
            self._try_average()
        self._save()
        if self.best is not None:
            put_back(list(self._trained.values()), self.best)

    def _try_average(self) -> None:
        """Hold the mean of the last weights against the best of the run; without validation data it is what remains."""
        weights, mean = list(self._trained.values()), self.average.mean
        last = copies(weights)
        put_back(weights, mean)
        if self.plan.validation:
            scores = self.team.told(self._scores())
            if scores is None:
                put_back(weights, last)
                self._stopped()
            taken, score = self._is_best(scores["score"], scores["headlines"]), scores["score"]
            self.progress.say(f"mean of the last weights: validation combined {score:.4f}{'  (best)' if taken else ''}")
            self.log.event({"step": self.at.step, "averaged": self.average.count, "average": scores["headlines"],
                            "combined_of_average": score, "taken": taken})  # fmt: skip
        else:
            taken = True
        if taken:
            self.best, self.at.best, self.averaged = copies(weights), self.at.step, True
        put_back(weights, last)
        self.average.clear()  # or a run that goes on from here would try it again

    def _phase(self, phase: Phase) -> None:
        end, at = self.at.start + phase.steps, self.at
        if self.plan.until is not None:
            end = min(end, self.plan.until)
        while True:
            if at.due and self._evaluated():
                return
            if self.solved and at.step < end:
                shrink_heads(self.plan.model, self.solved)
                self.solved = ()
            if self.plan.save_every and at.step % self.plan.save_every == 0:
                self._save()
            if at.step >= end:
                return
            self._steps(phase, self._until(end))
            at.due = bool(self.plan.validation) and (at.step == end or at.step % self.plan.evaluate_every == 0)
            if self._halting:
                self._stopped()

    def _until(self, end: int) -> int:
        """Where there is something to do next."""
        every = [self.plan.evaluate_every, *([self.plan.save_every] if self.plan.save_every else [])]
        return min(end, *((self.at.step // some + 1) * some for some in every))

    def _steps(self, phase: Phase, until: int) -> None:
        trainer = self.plan.trainer
        records = trainer.run(phase, self.at.step, until, self.at.start, halted=self._halted)
        for record in records:
            self.log.step(record)
            self.progress.step(record, self.plan.steps)
            self.at.step = record.step + 1
            if record.skip is not None:
                trainer.notes.append(record.skip.line())
            self._tell()
            if record.skip is not None and trainer.guard.refuse(record.step):
                records.close()  # type: ignore[attr-defined]
                raise _TooManyBadError(record)

    def _halted(self) -> bool:
        """Whether any process has been asked to stop: all of them learn of it after the same step."""
        self._halting = self.team.any(self.stop.asked is not None)
        return self._halting

    def _tell(self) -> None:
        while self.plan.trainer.notes:
            self.progress.say(self.plan.trainer.notes.pop(0))

    def _evaluated(self) -> bool:
        """Evaluate on validation data; whether the phase is over by it."""
        scores = self.team.told(self._scores())
        if scores is None:
            self._stopped()
        self.waiting.better(self._note(**scores))
        self.at.due = False
        if self.waiting.over:
            phase = self.plan.phases[self.at.phase]
            self.progress.say(
                f"step {self.at.step}: phase '{phase.name}' ends, {self.waiting.since} evaluations without a better one"
            )
            if self.best is not None:
                put_back(list(self._trained.values()), self.best)
        return self.waiting.over

    def _scores(self) -> dict[str, Any] | None:
        """What validation data says, in the process that leads; None when a signal broke it off."""
        plan = self.plan
        with plan.trainer.whole():
            if not self.team.leads:
                return None
            try:
                tasks, metrics = calibrate(predictor_of(plan, self.stop), plan.validation)
            except StoppedError:
                return None
        plan.selection.check(metrics)
        headlines = {name: tasks[name].headline(values) for name, values in metrics.items()}
        return {"metrics": metrics, "headlines": headlines, "score": plan.selection.score(tasks, metrics)}

    def _note(self, metrics: Mapping[str, Metrics], headlines: Mapping[str, float], score: float) -> float:
        """Take scores into account; the combined one."""
        step = self.at.step
        self.log.scores(step, metrics, headlines, score)
        best = self._is_best(score, headlines)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in headlines.items())
        left_out = self.plan.selection.left_out(self.plan.tasks, metrics)
        of = f" ({left_out.partition(';')[0].removeprefix('is ')})" if left_out else ""
        self.progress.say(f"step {step}: validation  {shown}  combined {score:.4f}{of}{'  (best)' if best else ''}")
        if best:  # before any head is put back: what is kept is what was scored
            self.best, self.at.best = copies(list(self._trained.values())), step
        self._stop_tasks(headlines)
        self.plan.trainer.batcher.sampler.tell(headlines, step)
        anchor = self.plan.trainer.making.anchor
        if anchor is not None and anchor.tell(headlines, step):
            self.progress.say(f"step {step}: {', '.join(anchor.known)} passed the untrained encoder by far; its anchor ends")
        return score

    def _is_best(self, score: float, headlines: Mapping[str, float]) -> bool:
        """Note a score; whether what it is of is to be kept."""
        return self.overall.better(score) or score >= self.overall.best - self._doubt(headlines)

    def _doubt(self, headlines: Mapping[str, float]) -> float:
        """How much worse a later score may be and still be taken: the later model has learned more."""
        return doubt(headlines, {name: len(self.plan.validation[name]) for name in headlines})

    def _stop_tasks(self, headlines: Mapping[str, float]) -> None:
        """Tasks whose own patience has run out train no more, and their heads go back to their best weights."""
        sampler = self.plan.trainer.batcher.sampler
        for name, waiting in self.tasks.items():
            if name not in headlines or name not in sampler.active(self.at.step):
                continue
            own = list(self._own(name).values())
            if waiting.better(headlines[name]):
                self.best_heads[name] = copies(own)
            elif waiting.over and name in self.best_heads and len(sampler.active(self.at.step)) > 1:
                sampler.stop_task(name, self.at.step)
                put_back(own, self.best_heads[name])
                self.progress.say(
                    f"step {self.at.step}: {name} trains no more, {waiting.since} evaluations without a better one"
                )

    def _own(self, task: str) -> dict[str, torch.nn.Parameter]:
        """What belongs to one task alone."""
        own = {id(p) for part in self.plan.trainer.parts if part.tasks == (task,) for p in part.parameters}
        return {name: p for name, p in self._trained.items() if id(p) in own}

    # Interruptions

    def _stopped(self) -> NoReturn:
        """Save, and raise StoppedError."""
        self._save()
        after = f"stopped by {self.stop.asked or 'a signal'} after step {self.at.step} of {self.plan.steps}"
        if self.checkpoints is None:
            raise StoppedError(f"{after}; nothing is saved")
        raise StoppedError(f"{after}; it is saved: go on with --resume")

    def _turn_back(self, record: StepRecord) -> None:
        """Go back to the last checkpoint and leave out the steps that were bad. Raises DivergedError the second time."""
        assert record.skip is not None, "only a bad step turns a run back"
        guard = self.plan.trainer.guard
        many = f"step {record.step}: {record.skip.reason}; {len(guard.bad)} of the last steps were bad"
        rate = f"lower `training.learning_rate` (now {record.rate:.2g}), or look at the rows named above"
        if guard.turned_back:
            raise DivergedError(f"{many}, after the run had gone back to a checkpoint once; {rate}")
        snapshot = newest_for(self.team, self.checkpoints, self.progress.say) if self.checkpoints else None
        if snapshot is None:
            raise DivergedError(f"{many}, and there is no checkpoint to go back to; {rate}")
        bad = guard.bad
        self.load(snapshot)
        guard.turn_back(bad)
        steps = ", ".join(map(str, bad))
        self.log.event({"step": record.step, "turned_back_to": snapshot.step, "left_out": bad})
        self.progress.say(
            f"{many}: back to the checkpoint of step {snapshot.step}, without the batches of steps {steps}"
        )

    # State

    def _save(self) -> None:
        self.plan.trainer.flush()
        if self.checkpoints is None or not (self.team.leads or self.plan.trainer.sharded):
            return
        self.log.sync()
        snapshot = self.snapshot()
        if self.team.leads:
            self.checkpoints.save(snapshot)

    def snapshot(self) -> Snapshot:
        """Everything the rest of the course depends on, in the process that leads; with divided layers all must ask."""
        plan = self.plan
        state = {
            "run": plan.identity.to_json(),
            "place": {"phase": self.at.phase, "start": self.at.start, "due": self.at.due, "best": self.at.best},
            "solved": list(self.solved),
            "average": {"count": self.average.count, "taken": self.averaged},
            "waiting": self.waiting.to_json(),
            "overall": self.overall.to_json(),
            "tasks": {name: waiting.to_json() for name, waiting in self.tasks.items()},
            "history_bytes": self.log.size,
            **state_of(plan.trainer),
        }
        best = dict(zip(self._trained, self.best, strict=True)) if self.best is not None else {}
        for task, values in self.best_heads.items():
            best |= {f"{task}/{name}": value for name, value in zip(self._own(task), values, strict=True)}
        best = {
            name: joined(self._trained[name], value) if name in self._trained else value for name, value in best.items()
        }
        mean = {
            name: joined(self._trained[name], value)
            for name, value in zip(self._trained, self.average.mean, strict=False)  # there is none before it begins
        }
        kept = {"best": gathered(best, self.team.leads), "average": gathered(mean, self.team.leads)}
        return Snapshot(self.at.step, state, {**tensors_of(plan.trainer), **kept})

    def load(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot. Raises CheckpointError if it is of another run."""
        state, saved = snapshot.state, snapshot.tensors.get("best", {})
        kept = {name: value for name, value in saved.items() if "/" not in name}
        if kept:
            check_shapes("best weights", self._trained, kept)
        mean = snapshot.tensors.get("average", {})
        if mean:
            check_shapes("mean of the weights", self._trained, mean)
        heads = {
            task: {name: saved[f"{task}/{name}"] for name in self._own(task) if f"{task}/{name}" in saved}
            for task in self.tasks
            if any(name.startswith(f"{task}/") for name in saved)
        }
        for task, found in heads.items():
            check_shapes(f"best weights of {task}", self._own(task), found)
        load_tensors(self.plan.trainer, snapshot.tensors)
        load_state(self.plan.trainer, state)
        try:
            place = state["place"]
            self.at = Place(
                snapshot.step, int(place["phase"]), int(place["start"]), bool(place["due"]), int(place["best"])
            )
            self.solved = [name for name in self.plan.tasks if name in state["solved"]]
            self.waiting = Waiting.from_json(state["waiting"])
            self.overall = Waiting.from_json(state["overall"])
            self.tasks = {name: Waiting.from_json(state["tasks"][name]) for name in self.tasks}
            self.best = [local(divided_as(p, kept[name])).cpu() for name, p in self._trained.items()] if kept else None
            said = state.get("average", {"count": 0, "taken": False})  # earlier versions have none
            self.average.count, self.averaged = int(said["count"]), bool(said["taken"])
            self.average.mean = [local(divided_as(p, mean[name])) for name, p in self._trained.items()] if mean else []
            self.best_heads = {task: [found[name] for name in self._own(task)] for task, found in heads.items()}
        except UNFIT as error:
            raise CheckpointError(f"the checkpoint's state does not fit this run ({error!r})") from None


def newest_for(team: Team, checkpoints: Checkpoints, say: Callable[[str], None]) -> Snapshot | None:
    """The newest whole checkpoint, which the process that leads looks for and all read. Raises CheckpointError."""
    snapshot = checkpoints.newest(say) if team.leads else None
    step = team.told(snapshot.step if snapshot else None)
    return snapshot if team.leads or step is None else checkpoints.read(step)


class _TooManyBadError(Exception):
    """Thrown by the steps to the phases."""

    def __init__(self, record: StepRecord) -> None:
        super().__init__()
        self.record = record


@dataclass(frozen=True, slots=True)
class _Breakable:
    """A backend that a signal breaks off between two passes."""

    backend: Backend
    stop: Stop

    @property
    def one_trunk(self) -> bool:
        return self.backend.one_trunk

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, Array]]:
        self.stop.check()
        return self.backend.run(encodings, names)


def predictor_of(plan: Plan, stop: Stop) -> Predictor:
    """A predictor on the model in training. Its answers may end in StoppedError."""
    backend = TorchBackend(plan.model, next(plan.model.parameters()).device)
    return Predictor(_Breakable(backend, stop), plan.tasks, plan.tokenizer, max_length=plan.max_length)
