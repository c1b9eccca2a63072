"""One training run from finished parts: train, evaluate, keep the best, save the model folder.

The best model is the one with the highest combined score on validation data; its weights are kept in memory (and in every
checkpoint) until the end, and the model folder is written once, so a run that fails leaves no half model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from manyheads.bundle import Contents, save_bundle
from manyheads.errors import TrainingError, UsageError
from manyheads.evaluate import answers_for, examined, settle, shortcomings, warn
from manyheads.predict import Predictor
from manyheads.report.history import read_history
from manyheads.training.card import model_card
from manyheads.training.checkpoint import Checkpoints, Snapshot
from manyheads.training.course import Course, newest_for, predictor_of
from manyheads.training.head_fit import HeadFit, fit_heads
from manyheads.training.lock import locked
from manyheads.training.log import HISTORY, RunLog, Unlogged
from manyheads.training.progress import Quiet
from manyheads.training.selection import Selection
from manyheads.training.state import check_state
from manyheads.training.stop import Stop
from manyheads.training.teachers import teach

if TYPE_CHECKING:
    from manyheads.bundle.layers import Apart
    from manyheads.evaluate import Answered, Metrics, Scores
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.adapters import Adapters
    from manyheads.training.identity import Identity
    from manyheads.training.loop import Trainer
    from manyheads.training.phases import Phase
    from manyheads.training.progress import Progress

    Tables = Mapping[str, Any]

T = TypeVar("T")

REFIT = "refit"
"""Below the folder of checkpoints: those of the run on all rows."""


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
    fit_heads: bool = False
    """Whether heads are solved on the frozen encoder before the first step."""
    average: float = 0.0
    """Share of the steps, at the end, whose weights are averaged into one more candidate."""
    until: int | None = None
    """The step after which the run ends, wherever its schedule would go on to."""
    refit: Callable[[float], Plan] | None = None
    """Makes the same run on all rows, those set aside for validation too, up to a share of its steps."""
    epochs: float = 0.0
    """Passes over all training tokens."""
    recipe: tuple[str, ...] = ()
    """What the recipe settled, and why."""
    teachers: tuple[str, ...] = ()
    """Who teaches which task, and on how many rows."""
    notes: tuple[str, ...] = ()
    rows: Callable[[], Mapping[str, Mapping[str, Mapping[str, int]]]] = dict
    """Counts of the data, by task and split: read, used, windowed, skipped. They take time: made for the report."""

    @property
    def steps(self) -> int:
        """Of all phases, if none is cut short."""
        steps = sum(phase.steps for phase in self.phases)
        return steps if self.until is None else min(steps, self.until)


@dataclass(frozen=True, slots=True)
class Trained:
    """A run whose steps are made: the model, with its best weights, is in the plan."""

    tasks: Mapping[str, Task[Any]]
    """With what is tuned on validation data settled."""
    validation: Mapping[str, Metrics]
    answered: Mapping[str, Answered]
    """Answers to the validation data, and its examples."""
    predictor: Predictor
    """Its answers may end in StoppedError: all training is saved then."""
    steps: int
    """Those that the weights come from."""
    adapters: Apart | None
    """Weights that are to be kept apart."""
    averaged: bool = False
    """Whether they are the mean of those of the last steps."""
    refitted: bool = False
    """Whether it was trained on the validation rows as well, whose scores are then those of the run without them."""


def run_training(plan: Plan, progress: Progress, *, resume: bool = False, stop: Stop | None = None) -> Scores:
    """Train as planned and leave a model folder in `plan.output`; returns its scores.

    With `resume` the run goes on from its newest whole checkpoint. Raises UsageError for another run in the same folder,
    or one that did not finish and is not to be resumed; StoppedError when `stop` is asked; DivergedError.
    """
    return run_to(plan, progress, save_model, resume=resume, stop=stop) or {}


def save_model(plan: Plan, done: Trained) -> Scores:
    """The model folder of a finished run; its scores, all splits with what was tuned on validation data."""
    tested, of_test = examined(done.predictor, plan.test)
    scores = gathered(done.tasks, {"validation": done.validation, "test": tested}, plan.selection)
    first = read_history(plan.output / HISTORY).headlines if plan.fit_heads else {}
    frozen = {name: by_step[0] for name, by_step in first.items() if 0 in by_step}
    warn(scores, "validation", shortcomings(done.tasks, done.answered, done.validation, frozen))
    warn(scores, "test", of_test)
    card = model_card(done.tasks, scores, plan.encoder_name, done.steps, refitted=done.refitted)
    contents = Contents(
        done.tasks, plan.encoder_name, plan.max_length, scores, plan.run, card, done.adapters, done.refitted
    )
    save_bundle(plan.output, plan.model, plan.tokenizer, contents)
    return scores


def run_to(
    plan: Plan,
    progress: Progress,
    keep: Callable[[Plan, Trained], T],
    *,
    resume: bool = False,
    stop: Stop | None = None,
) -> T | None:
    """Train as planned; what `keep` makes of it, after which the checkpoints go. None in processes that do not lead."""
    stop = stop or Stop()
    checkpoints = Checkpoints(plan.output, plan.keep_checkpoints)
    if not plan.trainer.team.leads:
        _trained(plan, Quiet(), checkpoints, stop, resume)
        if plan.refit is not None:
            _refitted(plan, None, Quiet(), checkpoints, stop)
        return None
    with locked(checkpoints.folder, plan.output):
        if checkpoints.steps() and not resume:
            raise UsageError(f"{plan.output} holds checkpoints of a run that did not finish; add --resume to go on with it, "
                             "give another --output, or delete the folder")  # fmt: skip
        for note in (*plan.recipe, *plan.teachers, *plan.notes):
            progress.say(note)
        done = _trained(plan, progress, checkpoints, stop, resume)
        assert done is not None, "this process leads"
        if plan.refit is not None:
            plan, done = _refitted(plan, done, progress, checkpoints, stop)
            assert done is not None, "this process leads"
        kept = keep(plan, done)
        checkpoints.clear()
    return kept


def _refitted(
    plan: Plan, done: Trained | None, progress: Progress, checkpoints: Checkpoints, stop: Stop
) -> tuple[Plan, Trained | None]:
    """The same run on all rows, as long as was best; everything measured or tuned on validation data stays as it was."""
    team = plan.trainer.team
    assert plan.refit is not None, "asked only where there is one"
    share, averaged = team.told([done.steps / plan.steps, done.averaged] if done else None)
    whole = plan.refit(share)
    first, second = plan.trainer.making.anchor, whole.trainer.making.anchor
    if first is not None and second is not None and first.let_go is not None:
        second.let_go = round(first.let_go * whole.steps / plan.steps)
    whole = whole if averaged else replace(whole, average=0.0)
    progress.say(f"trained again on all rows, validation rows too, for {whole.steps:,} steps")
    again = Checkpoints(checkpoints.folder / REFIT, plan.keep_checkpoints)
    final = _trained(whole, progress, again, stop, resume=bool(again.steps()), written=Unlogged())
    if done is None or final is None:
        return plan, None
    predictor = Predictor(final.predictor.backend, done.tasks, plan.tokenizer, max_length=plan.max_length)
    known = replace(whole, run=plan.run, validation=plan.validation, test=plan.test, rows=plan.rows)
    return known, replace(done, predictor=predictor, steps=final.steps, adapters=final.adapters, refitted=True)


def _trained(
    plan: Plan,
    progress: Progress,
    checkpoints: Checkpoints,
    stop: Stop,
    resume: bool,
    written: Unlogged | None = None,
) -> Trained | None:
    """The steps of a run; None in processes that do not lead, which have nothing to evaluate."""
    team = plan.trainer.team
    _check_start(plan)
    snapshot = _resumed(plan, checkpoints, progress) if resume else None
    taught = teach(plan, progress.say, stop, score=snapshot is None and written is None)
    fits = _fit_heads(plan, progress) if plan.fit_heads and snapshot is None else []
    plan.trainer.divide()
    kept = snapshot.state["history_bytes"] if snapshot else 0
    log: RunLog | Unlogged = written or (
        RunLog(plan.output, step=snapshot.step if snapshot else 0, keep_bytes=kept) if team.leads else Unlogged()
    )
    try:
        course = Course(plan, log, progress, checkpoints, stop)
        course.solved = [fit.task for fit in fits]
        for name, metrics in taught.items():
            headline = plan.tasks[name].headline(metrics)
            progress.say(f"{name}: the teacher scores {headline:.4f} on validation data")
            log.event({"step": 0, "teacher": name, "metrics": metrics, "score": headline})
        for fit in fits:
            log.event({"step": 0, "head": fit.task, "penalty": fit.penalty, "held_out_loss": fit.loss})
        if snapshot is not None:
            course.load(snapshot)
            if not log.whole:
                progress.say(f"warning: {plan.output / HISTORY} is shorter than it was; it begins anew")
        snapshot = None  # or its tensors would stay in memory
        progress.begin(log.losses)
        stop.patient = True
        course.run()
        if plan.trainer.sharded is not None:
            plan.trainer.sharded.put_together()
        if not team.leads:
            return None
        apart = plan.adapters.settle(plan.model) if plan.adapters else None
        predictor = predictor_of(plan, stop)
        answered = {name: answers_for(predictor, plan.tasks[name], table) for name, table in plan.validation.items()}
        settled = settle(plan.tasks, answered)
        predictor = Predictor(predictor.backend, settled.tasks, plan.tokenizer, max_length=plan.max_length)
    finally:
        plan.trainer.close()
        progress.close()
        log.close()
    return Trained(
        settled.tasks, settled.metrics, settled.answered, predictor, course.best_step, apart, course.averaged
    )


def _fit_heads(plan: Plan, progress: Progress) -> list[HeadFit]:
    """Solve the heads on the frozen encoder: the process that leads does, and the others are given what it found."""
    team, model = plan.trainer.team, plan.model
    frozen = {name for name in plan.tasks if all(name in phase.freeze.heads for phase in plan.phases)}
    wanted = {feed.task.name: feed.task for feed in plan.trainer.batcher.feeds if feed.task.name not in frozen}
    region = plan.trainer.making.precision.region
    fits = fit_heads(model, wanted, plan.trainer.batcher, region) if team.leads else []
    for fit in fits:
        progress.say(f"{fit.task}: head solved on the frozen encoder; held-out loss {fit.loss:.2f} of chance")
    if team.size > 1:
        heads = model.heads.state_dict()
        told = team.told({key: value.tolist() for key, value in heads.items()} if team.leads else None)
        model.heads.load_state_dict({key: heads[key].new_tensor(values) for key, values in told.items()})
        fits = [HeadFit(**fit) for fit in team.told([asdict(fit) for fit in fits])]
    return fits


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


def gathered(
    tasks: Mapping[str, Task[Any]], splits: Mapping[str, Mapping[str, Metrics]], selection: Selection
) -> Scores:
    """`{task: {split: metrics}}`; under `_all` the combined score of each split, with a warning where it leaves tasks out."""
    scores: Scores = {}
    for split, metrics in splits.items():
        for name, values in metrics.items():
            scores.setdefault(name, {})[split] = values
        if metrics:
            scores.setdefault("_all", {})[split] = {"combined": selection.score(tasks, metrics)}
            left_out = selection.left_out(tasks, metrics)
            warn(scores, split, {} if left_out is None else {"combined": left_out})
    return scores
