"""A training run from start to end: train, evaluate, keep the best, and hand the result on.

The best model is the one with the highest combined score on validation data; its weights are kept in memory (and in every
checkpoint) until the end. The model folder is written once, so a run that fails leaves no incomplete model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TypeVar

from manyheads.bundle import METRICS, is_finished
from manyheads.errors import TrainingError, UsageError
from manyheads.evaluate import Scores, answers_for, calibrate_answers, with_stores
from manyheads.training.checkpoint import Checkpoints, Snapshot
from manyheads.training.evaluation import predictor_of
from manyheads.training.final_layer import fit_final_layers
from manyheads.training.head_fit import HeadFit, fit_heads, is_solvable
from manyheads.training.lock import locked
from manyheads.training.log import HISTORY, RunLog, Unlogged
from manyheads.training.plan import Plan, Trained
from manyheads.training.progress import Progress, Quiet, WithCallbacks
from manyheads.training.session import TrainingSession
from manyheads.training.state import check_state
from manyheads.training.stop import Stop
from manyheads.training.teaching import teach
from manyheads.training.trackers.base import Result
from manyheads.training.trackers.facts import facts_of
from manyheads.training.trackers.scalars import final_scalars
from manyheads.training.trackers.several import KEYS, Trackers, finishing

T = TypeVar("T")

REFIT = "refit"
"""Subfolder of the folder of checkpoints, for the run on all rows."""
FIRST = "first"
"""The same for the training of the first tasks alone."""


def run_plan(
    plan: Plan,
    progress: Progress,
    keep: Callable[[Plan, Trained], T],
    *,
    resume: bool = False,
    stop: Stop | None = None,
) -> T | None:
    """Train as planned; returns what `keep` makes of the result, after which the checkpoints are removed.

    None in processes other than the first. With `resume` the run continues from its newest whole checkpoint. Raises
    UsageError for another run in the same folder, or an unfinished one without `resume`; StoppedError when `stop` is asked;
    DivergedError.
    """
    stop = stop or Stop()
    checkpoints = Checkpoints(plan.output, plan.keep_checkpoints)
    if not plan.trainer.team.leads:
        _train(plan, Quiet(), checkpoints, stop, resume)
        if plan.refit is not None:
            _refit(plan, None, Quiet(), checkpoints, stop)
        return None
    with locked(checkpoints.folder, plan.output):
        if not resume and (checkpoints.steps() or _of_first(checkpoints).steps()):
            raise UsageError(f"{plan.output} holds checkpoints of a run that did not finish; resume it "
                             "(`manyheads train RUN.yaml --resume`, or resume=True), delete the folder, "
                             "or choose another output folder")  # fmt: skip
        for note in (*plan.recipe, *plan.teachers, *plan.notes):
            progress.say(note)
        trackers = Trackers(plan.tracking.names, facts_of(plan), progress.say, checkpoints.folder / KEYS, resume=resume)
        with finishing(trackers):
            done = _train(plan, progress, checkpoints, stop, resume, trackers=trackers)
            assert done is not None, "this process leads"
            if plan.refit is not None:
                plan, done = _refit(plan, done, progress, checkpoints, stop)
                assert done is not None, "this process leads"
            kept = keep(plan, done)
            checkpoints.clear()  # before a model is sent, which may take long and be cut off
            trackers.result = _result(plan, done)
    return kept


def _result(plan: Plan, done: Trained) -> Result:
    """The final scores for trackers: of the model folder, if one was written, and else on validation data."""
    scores: Scores = {name: {"validation": metrics} for name, metrics in done.validation.items()}
    finished = is_finished(plan.output)
    if finished:
        scores = json.loads((plan.output / METRICS).read_text(encoding="utf-8"))
    model = plan.output if finished and plan.tracking.group is None else None
    return Result(done.steps, final_scalars(scores), model)


def _refit(
    plan: Plan, done: Trained | None, progress: Progress, checkpoints: Checkpoints, stop: Stop
) -> tuple[Plan, Trained | None]:
    """The same run on all rows, for as long as was best; what was measured or tuned on validation data stays."""
    team = plan.trainer.team
    assert plan.refit is not None, "called only where there is one"
    found = [done.steps / plan.steps, done.averaged, dict(done.final_layers)] if done else None
    share, averaged, layers = team.broadcast(found)
    whole = plan.refit(share)
    first, second = plan.trainer.components.anchor, whole.trainer.components.anchor
    if first is not None and second is not None and first.released is not None:
        second.released = round(first.released * whole.steps / plan.steps)
    whole = replace(whole, average=whole.average if averaged else 0.0, final_layers=layers)
    again = f"training again for {whole.steps:,} steps" if whole.steps else "solving the heads again"
    progress.say(f"{again} on all rows, validation rows included")
    own = Checkpoints(checkpoints.folder / REFIT, plan.keep_checkpoints)
    final = _train(whole, progress, own, stop, resume=bool(own.steps()), first=False)
    if done is None or final is None:
        return plan, None
    predictor = with_stores(final.predictor.with_tasks(done.tasks))
    kept = replace(whole, run=plan.run, validation=plan.validation, test=plan.test, rows=plan.rows)
    final = replace(done, tasks=predictor.tasks, predictor=predictor, steps=final.steps, adapters=final.adapters)
    return kept, replace(final, refitted=True)


def _train(
    plan: Plan,
    progress: Progress,
    checkpoints: Checkpoints,
    stop: Stop,
    resume: bool,
    trackers: Trackers | None = None,
    first: bool = True,
) -> Trained | None:
    """The steps of a run, and its final evaluation in process 0; None in the others. Only the `first` time is logged."""
    leads = plan.trainer.team.leads
    _check_processes_agree(plan)
    snapshot = _newest(plan, checkpoints, progress) if resume else None
    teachers = teach(plan, progress.say, stop, score=snapshot is None and first)
    fits = _fit_heads(plan, progress) if plan.fit_heads and snapshot is None else []
    if snapshot is not None and plan.trainer.components.anchor is not None:  # the rest is in the snapshot
        _follow_first(plan, Quiet(), checkpoints, stop)
    plan.trainer.divide()
    log = _opened_log(plan, snapshot, trackers) if leads and first else Unlogged()
    try:
        opening = None if snapshot else partial(_open, plan, progress, checkpoints, stop, fits, log)
        session = TrainingSession(plan, log, progress, checkpoints, stop, opening)
        session.state.solved = [fit.task for fit in fits]
        for name, metrics in teachers.items():
            score = plan.tasks[name].main_score(metrics)
            progress.say(f"{name}: the teacher scores {score:.4f} on validation data")
            log.event({"step": 0, "teacher": name, "metrics": metrics, "score": score})
        for fit in fits:
            log.event({"step": 0, "head": fit.task, "penalty": fit.penalty, "held_out_loss": fit.loss})
        if snapshot is not None:
            session.load(snapshot)
            if not log.whole:
                progress.say(f"warning: {plan.output / HISTORY} is shorter than it was; it starts over")
        snapshot = None  # or its tensors would stay in memory
        progress.begin(log.losses)
        stop.patient = True
        session.run()
        if plan.trainer.sharded is not None:
            plan.trainer.sharded.put_together()
        return _finished(plan, session, stop, log) if leads else None
    finally:
        plan.trainer.close()
        progress.close()
        log.close()


def _open(
    plan: Plan, progress: Progress, checkpoints: Checkpoints, stop: Stop, fits: Sequence[HeadFit], log: RunLog | Unlogged
) -> None:
    """What comes before the first step, once the untrained encoder has been scored."""
    found = _follow_first(plan, progress, checkpoints, stop)
    if found is None:
        return
    log.event({"step": 0, "first_tasks": found})
    if plan.fit_heads:
        _fit_heads(plan, Quiet(), fits)
    progress.begin({})


def _follow_first(
    plan: Plan, progress: Progress, checkpoints: Checkpoints, stop: Stop
) -> dict[str, dict[str, float]] | None:
    """Train the first tasks alone, or take what is trained already. The run starts from their encoder and heads.

    The anchor keeps to this encoder.

    Returns their tokens, and their scores on validation data if they have any; None without first tasks.
    """
    if plan.first is None:
        return None
    first = plan.first()
    names = " and ".join(first.tasks)
    progress.say(f"training {names} alone first, for {first.steps:,} steps")
    own = _of_first(checkpoints)
    shown = progress.progress if isinstance(progress, WithCallbacks) else progress  # callbacks count the steps of the run
    done = _train(first, shown, own, stop, resume=bool(own.steps()), first=False)
    plan.model.encoder.load_state_dict(first.model.encoder.state_dict())
    for name in first.tasks:
        for parts, trained in ((plan.model.heads, first.model.heads), (plan.model.mixes, first.model.mixes)):
            if name in parts:
                parts[name].load_state_dict(trained[name].state_dict())
    if plan.trainer.components.anchor is not None:
        plan.trainer.components.anchor.follow(plan.model.encoder)
    progress.say(f"all tasks continue with the encoder that {names} trained")
    scores = done.validation if done else {}
    return {
        name: {"tokens": first.trainer.batcher.sampler.quota(name, first.steps)}
        | ({"score": task.main_score(scores[name])} if name in scores else {})
        for name, task in first.tasks.items()
    }


def _of_first(checkpoints: Checkpoints) -> Checkpoints:
    """The checkpoints of the first tasks' training."""
    return Checkpoints(checkpoints.folder / FIRST, checkpoints.keep)


def _opened_log(plan: Plan, snapshot: Snapshot | None, trackers: Trackers | None) -> RunLog:
    if snapshot is None:
        return RunLog(plan.output, trackers)
    return RunLog(plan.output, trackers, step=snapshot.step, keep_bytes=snapshot.state["history_bytes"])


def _finished(plan: Plan, session: TrainingSession, stop: Stop, log: RunLog | Unlogged) -> Trained:
    """The result of a session whose steps are done: adapters merged, thresholds and the like tuned on validation data."""
    apart = plan.adapters.settle(plan.model) if plan.adapters else None
    predictor, layers = fit_final_layers(plan, predictor_of(plan, stop))
    for layer in layers:
        if layer.before is not None and layer.after is not None:
            log.event({"step": session.position.step, "linear_layer": layer.task, "penalty": layer.penalty,
                       "score_before": layer.before, "score": layer.after})  # fmt: skip
            session.progress.say(f"{layer.task}: linear layer fitted to the trained encoder; validation {layer.after:.4f} "
                                 f"(without it {layer.before:.4f})")  # fmt: skip
    predictor = with_stores(predictor)
    answered = {name: answers_for(predictor, predictor.tasks[name], table) for name, table in plan.validation.items()}
    calibrated = calibrate_answers(predictor.tasks, answered)
    predictor = predictor.with_tasks(calibrated.tasks)
    return Trained(calibrated.tasks, calibrated.metrics, calibrated.answered, predictor, session.best_step, apart,
                   session.state.averaged, final_layers={layer.task: layer.penalty for layer in layers})  # fmt: skip


def _fit_heads(plan: Plan, progress: Progress, known: Sequence[HeadFit] = ()) -> list[HeadFit]:
    """Solve the heads on the frozen encoder, in process 0; the others receive its solutions.

    `known`: what was found on an encoder before.
    """
    team, model = plan.trainer.team, plan.model
    frozen = {name for name in plan.tasks if all(name in phase.freeze.heads for phase in plan.phases)}
    tasks = {feed.task.name: feed.task for feed in plan.trainer.batcher.feeds}
    wanted = {name: task for name, task in tasks.items()
              if name not in frozen and name not in plan.continued and is_solvable(model, task)}  # fmt: skip
    region = plan.trainer.components.precision.region
    if wanted:
        progress.say("solving the heads on the frozen encoder")
    fits = fit_heads(model, wanted, plan.trainer.batcher, region, known) if team.leads else []
    for fit in fits:
        progress.say(f"{fit.task}: head solved on the frozen encoder; held-out loss {fit.loss:.2f} of chance")
    if team.size > 1:
        heads = model.heads.state_dict()
        solved = team.broadcast({key: value.tolist() for key, value in heads.items()} if team.leads else None)
        model.heads.load_state_dict({key: heads[key].new_tensor(values) for key, values in solved.items()})
        fits = [HeadFit(**fit) for fit in team.broadcast([asdict(fit) for fit in fits])]
    return fits


def _check_processes_agree(plan: Plan) -> None:
    """Raise TrainingError unless all processes begin with the same data and weights."""
    team = plan.trainer.team
    weights = sum(float(parameter.detach().double().sum()) for parameter in plan.model.parameters())
    mine = [plan.identity.run, dict(plan.identity.data), plan.identity.base, weights]
    differs = team.broadcast(mine) != mine
    if team.any(differs):  # all end, or process 0 would train on and find the others gone
        who = f"process {team.rank}" if differs else "another process"
        raise TrainingError(f"{who} has another run file, data, encoder or first weights than process 0; "
                            "give all machines the same files and versions")  # fmt: skip


def _newest(plan: Plan, checkpoints: Checkpoints, progress: Progress) -> Snapshot | None:
    """The snapshot to resume from, checked to be of this run. Raises CheckpointError."""
    snapshot = checkpoints.newest_for(plan.trainer.team, progress.say)
    if snapshot is None:
        progress.say(f"{plan.output} has no checkpoint yet: the run starts from the beginning")
        return None
    check_state(snapshot.state, step=snapshot.step, phases=len(plan.phases))
    for note in plan.identity.check(snapshot.state.get("run")):
        progress.say(f"warning: {note}")
    progress.say(f"resuming after step {snapshot.step:,} of {plan.steps:,}")
    return snapshot
