"""A run through its phases: steps, evaluations, checkpoints, and the best weights.

What a session does next depends on its state only, so a resumed run takes the same steps. Checkpoints are made between
steps only; an evaluation that is interrupted is still due when the run resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import NoReturn

from manyheads.errors import RESUME, DivergedError, StoppedError
from manyheads.training.checkpoint import Checkpoints, Snapshot
from manyheads.training.evaluation import Evaluation, evaluate
from manyheads.training.head_fit import shrink_heads
from manyheads.training.log import RunLog, Unlogged
from manyheads.training.phases import Phase
from manyheads.training.plan import Plan
from manyheads.training.progress import Progress
from manyheads.training.selection import Patience, uncertainty
from manyheads.training.session_state import Position, SessionState
from manyheads.training.state import copies, put_back
from manyheads.training.step_record import EvaluationRecord, StepRecord
from manyheads.training.stop import Stop


class TrainingSession:
    """Runs a plan, from its beginning or from a snapshot."""

    def __init__(
        self,
        plan: Plan,
        log: RunLog | Unlogged,
        progress: Progress,
        checkpoints: Checkpoints | None = None,
        stop: Stop | None = None,
        opening: Callable[[], None] | None = None,
    ) -> None:
        """Without `checkpoints` none are made. `opening` is called once, between the first evaluation and the first step."""
        self.plan = plan
        self.log = log
        self.progress = progress
        self.checkpoints = checkpoints
        self.stop = stop or Stop()
        self.team = plan.trainer.team
        self.state = SessionState.of(plan)
        self._opening = opening
        self._halting = False
        plan.trainer.average = self.state.average if plan.average else None

    @property
    def position(self) -> Position:
        """How far the run has come."""
        return self.state.position

    @property
    def best_step(self) -> int:
        """The step of the weights that the model ends with."""
        return self.position.best if self.plan.validation else self.position.step

    def load(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot. Raises CheckpointError if it is of another run."""
        self.state.load(self.plan, snapshot)

    def run(self) -> None:
        """Run all phases. The model ends with the weights of the best evaluation, or the last without validation data.

        Raises StoppedError when asked to stop, and DivergedError when a guard ends the run; both leave a checkpoint.
        """
        phases = self.plan.phases
        while self.position.phase < len(phases):
            phase = phases[self.position.phase]
            if len(phases) > 1 and self.position.step == self.position.start:
                self.progress.say(f"phase '{phase.name}': {phase.steps:,} steps")
            try:
                self._run_phase(phase)
            except _TooManyBadError as error:
                self._roll_back(error.record)
                continue
            step, following = self.position.step, self.position.phase + 1
            self.state.position = Position(step, following, step, best=self.position.best)
            self.state.phase_patience = Patience(phases[following].patience if following < len(phases) else None)
        if self.state.average.count:
            self._try_average()
        self._save()
        self.state.best.restore()

    # Steps

    def _run_phase(self, phase: Phase) -> None:
        end, position = self.position.start + phase.steps, self.position
        if self.plan.until is not None:
            end = min(end, self.plan.until)
        while True:
            if position.due and self._evaluate_phase(phase):
                return
            if self._opening is not None and position.step < end:
                opening, self._opening = self._opening, None
                opening()
            if self.state.solved and position.step < end:
                shrink_heads(self.plan.model, self.state.solved)
                self.state.solved = ()
            if self.plan.save_every and position.step % self.plan.save_every == 0:
                self._save()
            if position.step >= end:
                return
            self._run_steps(phase, self._next_stop(end))
            evaluates = position.step == end or position.step % self.plan.evaluate_every == 0
            position.due = bool(self.plan.validation) and evaluates
            if self._halting:
                self._end_stopped()

    def _next_stop(self, end: int) -> int:
        """The next step at which to evaluate, save, or end."""
        every = [self.plan.evaluate_every, *([self.plan.save_every] if self.plan.save_every else [])]
        return min(end, *((self.position.step // some + 1) * some for some in every))

    def _run_steps(self, phase: Phase, until: int) -> None:
        trainer = self.plan.trainer
        records = trainer.run(phase, self.position.step, until, self.position.start, halted=self._halted)
        for record in records:
            self.log.step(record)
            self.progress.step(record, self.plan.steps)
            self.position.step = record.step + 1
            if record.skip is not None:
                trainer.notes.append(record.skip.line())
            while trainer.notes:
                self.progress.say(trainer.notes.pop(0))
            if record.skip is not None and trainer.guard.refuse(record.step):
                records.close()  # type: ignore[attr-defined]
                raise _TooManyBadError(record)

    def _halted(self) -> bool:
        """Whether any process has been asked to stop: all of them learn of it after the same step."""
        self._halting = self.team.any(self.stop.asked is not None)
        return self._halting

    # Evaluations

    def _evaluate(self) -> Evaluation | None:
        """Evaluate, in the process that leads; None when a signal interrupts it."""
        with self.plan.trainer.whole():
            return evaluate(self.plan, self.stop) if self.team.leads else None

    def _evaluated(self) -> Evaluation | None:
        """The evaluation of the process that leads, in every process."""
        found = self._evaluate()
        shared = self.team.broadcast(None if found is None else asdict(found))
        return None if shared is None else Evaluation(**shared)

    def _evaluate_phase(self, phase: Phase) -> bool:
        """Evaluate on validation data; whether that ends the phase."""
        found = self._evaluated()
        if found is None:
            self._end_stopped()
        self._take(found)
        patience, step = self.state.phase_patience, self.position.step
        patience.better(found.score)
        self.position.due = False
        if patience.over:
            self.progress.say(
                f"step {step}: phase '{phase.name}' ends: {patience.since} evaluations without improvement"
            )
            self.state.best.restore()
        return patience.over

    def _take(self, found: Evaluation) -> None:
        """Log an evaluation, and pass it on to everything that depends on scores."""
        step, main_scores, score = self.position.step, found.main_scores, found.score
        best = self._is_best(found)
        self.log.scores(step, found.metrics, main_scores, score, kept=best)
        left_out = self.plan.selection.left_out(self.plan.tasks, found.metrics)
        self.progress.evaluated(EvaluationRecord(step, found.metrics, main_scores, score, best, left_out))
        if best:  # before any head is restored: the weights kept are those that were scored
            self.state.best.keep()
            self.position.best = step
        for name in self.state.task_patience:
            if name in main_scores:
                self._stop_task_if_due(name, main_scores[name])
        self.plan.trainer.batcher.sampler.update_scores(main_scores, step)
        anchor = self.plan.trainer.components.anchor
        if anchor is not None and anchor.observe(main_scores, step):
            self.progress.say(
                f"step {step}: {', '.join(anchor.tasks)} far above the untrained encoder; the anchor is released"
            )

    def _is_best(self, found: Evaluation) -> bool:
        """Whether the scored weights are to be kept: later ones have learned more, and may be worse by chance."""
        rows = {name: len(self.plan.validation[name]) for name in found.main_scores}
        better = self.state.overall.better(found.score)
        return better or found.score >= self.state.overall.best - uncertainty(found.main_scores, rows)

    def _stop_task_if_due(self, name: str, main_score: float) -> None:
        """Once its own patience has run out, a task stops training, and its head returns to its best weights."""
        sampler, patience, step = self.plan.trainer.batcher.sampler, self.state.task_patience[name], self.position.step
        active = sampler.active(step)
        if name not in active:
            return
        if patience.better(main_score):
            self.state.best.keep_head(name)
        elif patience.over and name in self.state.best.heads and len(active) > 1:
            sampler.stop_task(name, step)
            self.state.best.restore_head(name)
            self.progress.say(f"step {step}: {name} stops training: {patience.since} evaluations without improvement")

    def _try_average(self) -> None:
        """Compare the mean of the last weights with the best of the run; without validation data the mean is taken."""
        weights, mean = self.state.average.parameters, self.state.average.mean
        last = copies(weights)
        put_back(weights, mean)
        taken = True
        if self.plan.validation:
            found = self._evaluated()
            if found is None:
                put_back(weights, last)
                self._end_stopped()
            taken = self._is_best(found)
            self.progress.say(
                f"mean of the last weights: validation combined {found.score:.4f}{'  (best)' if taken else ''}"
            )
            self.log.event({"step": self.position.step, "averaged": self.state.average.count, "average": found.main_scores,
                            "combined_of_average": found.score, "taken": taken})  # fmt: skip
        if taken:
            self.state.best.keep()
            self.position.best, self.state.averaged = self.position.step, True
        put_back(weights, last)
        self.state.average.clear()  # or a resumed run would try it again

    # Interruptions

    def _end_stopped(self) -> NoReturn:
        """Save, and raise StoppedError."""
        self._save()
        after = f"stopped by {self.stop.asked or 'a signal'} after step {self.position.step} of {self.plan.steps}"
        if self.checkpoints is None:
            raise StoppedError(f"{after}; nothing is saved")
        raise StoppedError(f"{after}; it is saved", hint=RESUME)

    def _roll_back(self, record: StepRecord) -> None:
        """Go back to the last checkpoint and skip the bad steps. Raises DivergedError the second time."""
        assert record.skip is not None, "only a bad step rolls a run back"
        guard = self.plan.trainer.guard
        many = f"step {record.step}: {record.skip.reason}; {len(guard.bad)} of the last steps were bad"
        rate = f"lower `training.learning_rate` (now {record.rate:.2g}), or look at the rows named above"
        if guard.rolled_back:
            raise DivergedError(f"{many}, after the run had gone back to a checkpoint once; {rate}")
        snapshot = self.checkpoints.newest_for(self.team, self.progress.say) if self.checkpoints else None
        if snapshot is None:
            raise DivergedError(f"{many}, and there is no checkpoint to go back to; {rate}")
        bad = guard.bad
        self.load(snapshot)
        guard.roll_back(bad)
        steps = ", ".join(map(str, bad))
        self.log.event({"step": record.step, "turned_back_to": snapshot.step, "left_out": bad})
        self.progress.say(
            f"{many}: back to the checkpoint of step {snapshot.step}, without the batches of steps {steps}"
        )

    def _save(self) -> None:
        self.plan.trainer.flush()
        if self.checkpoints is None or not (self.team.leads or self.plan.trainer.sharded):
            return
        self.log.sync()
        snapshot = self.state.snapshot(self.plan, self.log.size)
        if self.team.leads:
            self.checkpoints.save(snapshot)


class _TooManyBadError(Exception):
    """Ends a phase when the guard has refused too many steps."""

    def __init__(self, record: StepRecord) -> None:
        super().__init__()
        self.record = record
