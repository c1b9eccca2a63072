"""One training run from finished parts: train, evaluate, keep the best, save the model folder.

The best model is the one with the highest combined score on validation data; its weights are kept in memory (and in every
checkpoint) until the end, and the model folder is written once, so a run that fails leaves no half model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import Contents, save_bundle
from manyheads.errors import TrainingError, UsageError
from manyheads.evaluate import calibrate, evaluate
from manyheads.predict import Predictor
from manyheads.training.card import model_card
from manyheads.training.checkpoint import Checkpoints, Snapshot
from manyheads.training.course import Course, newest_for, predictor_of
from manyheads.training.lock import locked
from manyheads.training.log import HISTORY, RunLog, Unlogged
from manyheads.training.progress import Quiet
from manyheads.training.selection import Selection
from manyheads.training.state import check_state
from manyheads.training.stop import Stop

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics, Scores
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.adapters import Adapters
    from manyheads.training.identity import Identity
    from manyheads.training.loop import Trainer
    from manyheads.training.phases import Phase
    from manyheads.training.progress import Progress

    Tables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run needs, built and checked."""

    encoder_name: str
    max_length: int
    model: MultiTaskModel
    tokenizer: Tokenizer
    tasks: Mapping[str, Task[Any]]
    trainer: Trainer
    phases: Sequence[Phase]
    validation: Tables
    test: Tables
    evaluate_every: int
    selection: Selection
    patience: Mapping[str, int]
    """Of single tasks."""
    adapters: Adapters | None
    output: Path
    run: str
    """The run file as it will stand in the model folder."""
    identity: Identity
    save_every: int
    """Steps; 0: only when the run is asked to stop, and when all steps are done."""
    keep_checkpoints: int
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Of all phases, if none is cut short."""
        return sum(phase.steps for phase in self.phases)


def run_training(plan: Plan, progress: Progress, *, resume: bool = False, stop: Stop | None = None) -> Scores:
    """Train as planned and leave a model folder in `plan.output`; returns its scores.

    With `resume` the run goes on from its newest whole checkpoint. Raises UsageError for another run in the same folder,
    or one that did not finish and is not to be resumed; StoppedError when `stop` is asked; DivergedError.
    """
    stop = stop or Stop()
    checkpoints = Checkpoints(plan.output, plan.keep_checkpoints)
    if not plan.trainer.team.leads:
        return _trained(plan, Quiet(), checkpoints, stop, resume)
    with locked(checkpoints.folder, plan.output):
        if checkpoints.steps() and not resume:
            raise UsageError(f"{plan.output} holds checkpoints of a run that did not finish; add --resume to go on with it, "
                             "give another --output, or delete the folder")  # fmt: skip
        for note in plan.notes:
            progress.say(note)
        scores = _trained(plan, progress, checkpoints, stop, resume)
        checkpoints.clear()
    return scores


def _trained(plan: Plan, progress: Progress, checkpoints: Checkpoints, stop: Stop, resume: bool) -> Scores:
    """The run itself, up to its model folder, which the process that leads leaves alone: others know no scores."""
    team = plan.trainer.team
    _check_start(plan)
    plan.trainer.divide()
    snapshot = _resumed(plan, checkpoints, progress) if resume else None
    kept = snapshot.state["history_bytes"] if snapshot else 0
    log = RunLog(plan.output, step=snapshot.step if snapshot else 0, keep_bytes=kept) if team.leads else Unlogged()
    finished = False
    try:
        course = Course(plan, log, progress, checkpoints, stop)
        if snapshot is not None:
            course.load(snapshot)
            if not log.whole:
                progress.say(f"warning: {plan.output / HISTORY} is shorter than it was; it begins anew")
        snapshot = None  # or its tensors would stay in memory
        stop.patient = True
        course.run()
        if plan.trainer.sharded is not None:
            plan.trainer.sharded.put_together()
        if not team.leads:
            return {}
        apart = plan.adapters.settle(plan.model) if plan.adapters else None
        tasks, scores = _final_scores(plan, stop)
        card = model_card(tasks, scores, plan.encoder_name, course.step)
        contents = Contents(tasks, plan.encoder_name, plan.max_length, scores, plan.run, card, apart)
        finished = True
    finally:
        plan.trainer.close()
        progress.close()
        log.close(plot=finished)
    save_bundle(plan.output, plan.model, plan.tokenizer, contents)
    return scores


def _check_start(plan: Plan) -> None:
    """Raise TrainingError unless all processes begin with the same data and weights."""
    team = plan.trainer.team
    weights = sum(float(parameter.detach().double().sum()) for parameter in plan.model.parameters())
    mine = [plan.identity.run, dict(plan.identity.data), plan.identity.base, weights]
    differs = team.told(mine) != mine
    if team.any(differs):  # all end, or process 0 would train on and find the others gone
        who = f"process {team.rank}" if differs else "another process"
        raise TrainingError(f"{who} has another run file, data, encoder or first weights than process 0; "
                            "give all machines the same files and versions")  # fmt: skip


def _resumed(plan: Plan, checkpoints: Checkpoints, progress: Progress) -> Snapshot | None:
    """The snapshot to go on from, of this very run. Raises CheckpointError."""
    snapshot = newest_for(plan.trainer.team, checkpoints, progress.say)
    if snapshot is None:
        progress.say(f"{plan.output} has no checkpoint yet: the run starts from the beginning")
        return None
    check_state(snapshot.state, step=snapshot.step, phases=len(plan.phases))
    for note in plan.identity.check(snapshot.state.get("run")):
        progress.say(f"warning: {note}")
    progress.say(f"going on after step {snapshot.step:,} of {plan.steps:,}")
    return snapshot


def _final_scores(plan: Plan, stop: Stop) -> tuple[dict[str, Task[Any]], Scores]:
    """Thresholds tuned on validation, then every split scored with them. Raises StoppedError: all training is saved."""
    predictor = predictor_of(plan, stop)
    tasks, validation = calibrate(predictor, plan.validation)
    predictor = Predictor(predictor.backend, tasks, plan.tokenizer, max_length=plan.max_length)
    return tasks, gathered(tasks, {"validation": validation, "test": evaluate(predictor, plan.test)}, plan.selection)


def gathered(
    tasks: Mapping[str, Task[Any]], splits: Mapping[str, Mapping[str, Metrics]], selection: Selection
) -> Scores:
    """`{task: {split: metrics}}` with the combined score of each split under `_all`."""
    scores: Scores = {}
    for split, metrics in splits.items():
        for name, values in metrics.items():
            scores.setdefault(name, {})[split] = values
        if metrics:
            scores.setdefault("_all", {})[split] = {"combined": selection.score(tasks, metrics)}
    return scores
