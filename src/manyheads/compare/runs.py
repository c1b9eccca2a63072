"""One run of a comparison: trained and scored, or loaded if it was before.

A paired run is the shared run with some of its tasks: same initial weights, steps and rates, and the same examples of those
tasks in the same order, as if the examples of the others had been dropped from every step. Only the sharing differs. The
best single-task models (`single_models.py`) have settings of their own instead.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from manyheads.compare.outcome import Curve, Outcome
from manyheads.errors import UsageError
from manyheads.evaluate import answers_for, head_warnings

if TYPE_CHECKING:
    from manyheads.config.task_data import Dataset
    from manyheads.evaluate import Metrics
    from manyheads.jobs.experiment import Experiment
    from manyheads.jobs.job import Job
    from manyheads.training.plan import Plan, Trained
    from manyheads.training.progress import Progress
    from manyheads.training.stop import Stop


def compared_split(dataset: Dataset, name: str) -> str:
    """The split that a task is compared on: test, or else validation. Raises UsageError if it has neither."""
    for split in ("test", "validation"):
        if split in dataset[name].splits:
            return split
    raise UsageError(f"task '{name}' has neither test nor validation data, so nothing can be compared; give it some")


def run_job(experiment: Experiment, job: Job, progress: Progress, stop: Stop | None = None) -> Outcome:
    """The outcome of a job, trained if it is missing; an interrupted run is resumed. Raises StoppedError."""
    found = load_outcome(experiment, job)
    if found is not None:
        return found
    from manyheads.training.progress import WarningsOnly
    from manyheads.training.run import run_plan

    plan = replace(experiment.plan(job), refit=None)  # a refit doubles the cost and is not needed to compare
    if job.layer_split is not None:
        from manyheads.compare.model_folders import load_heads

        load_heads(plan, experiment.folder_of(job.shared))

    def keep(plan: Plan, done: Trained) -> Outcome:
        outcome = score_run(experiment, plan, done)
        if job.keep:
            from manyheads.compare.model_folders import save_run

            compared: dict[str, dict[str, Metrics]] = {}
            for name, scores in outcome.scores.items():
                compared.setdefault(compared_split(experiment.dataset, name), {})[name] = dict(scores)
            save_run(plan, done, compared)
        outcome.save(plan.output)
        return outcome

    outcome = run_plan(plan, WarningsOnly(progress), keep, resume=True, stop=stop)
    assert outcome is not None, "one process"
    return outcome


def load_outcome(experiment: Experiment, job: Job) -> Outcome | None:
    """The outcome of a job; None if it is missing, or a model folder is wanted and missing."""
    from manyheads.bundle import is_finished

    folder = experiment.folder_of(job)
    return None if job.keep and not is_finished(folder) else Outcome.load(folder)


def score_run(experiment: Experiment, plan: Plan, done: Trained) -> Outcome:
    """Scores and evidence of a trained model on the compared splits, and what its steps and gradients show."""
    names = [feed.task.name for feed in plan.trainer.batcher.feeds]
    scores, evidence, warnings = {}, {}, dict[str, str]()
    for name in names:
        table, task = experiment.dataset[name].table(compared_split(experiment.dataset, name)), done.tasks[name]
        answers, examples = answers_for(done.predictor, task, table)
        scores[name] = task.score(answers, examples)
        evidence[name] = task.evidence(answers, examples, table.clusters())
        warnings |= head_warnings({name: task}, {name: (answers, examples)})
    diagnostics, (tokens, pulls, rate) = _diagnostics(plan) if len(names) > 1 else {}, _step_totals(plan)
    if diagnostics and pulls:  # over the whole run; the probe only sees its end
        diagnostics = {**diagnostics, "pull": pulls}
    return Outcome(scores, evidence, learning_curves(plan, names), diagnostics, warnings, tokens, rate,
                   plan.trainer.components.balancer.mode)  # fmt: skip


def learning_curves(plan: Plan, names: Sequence[str]) -> dict[str, Curve]:
    """Headline scores on validation data, by examples of the task seen so far."""
    sampler = plan.trainer.batcher.sampler
    feeds = {feed.task.name: feed for feed in plan.trainer.batcher.feeds}
    curves: dict[str, Curve] = {name: [] for name in names}
    for row in _history(plan):
        for name, score in row.get("headline", {}).items():
            if name in curves:
                epochs = sampler.quota(name, row["step"]) / max(feeds[name].stream.tokens_per_epoch, 1)
                curves[name].append({"examples": round(epochs * len(feeds[name].table)), "score": score})
    return curves


def _step_totals(plan: Plan) -> tuple[dict[str, int], dict[str, float], float]:
    """Tokens and root mean square pull of each task over the steps of a run, and the highest rate of the encoder."""
    tokens, squares, rate = defaultdict[str, int](int), defaultdict[str, list[float]](list), 0.0
    for row in _history(plan):
        rate = max(rate, row.get("rate", 0.0))
        for name, count in row.get("tokens", {}).items():
            tokens[name] += count
        for name, alone in row.get("first_tasks", {}).items():
            tokens[name] += int(alone["tokens"])
        for name, pull in row.get("pull", {}).items():
            squares[name].append(pull**2)
    return tokens, {name: (sum(found) / len(found)) ** 0.5 for name, found in squares.items()}, rate


def _history(plan: Plan) -> Iterator[Mapping[str, Any]]:
    from manyheads.training.log import HISTORY

    return map(json.loads, (plan.output / HISTORY).read_text(encoding="utf-8").splitlines())


def _diagnostics(plan: Plan) -> dict[str, Any]:
    """How the gradients of the tasks relate at the end of the run, on steps spread over it."""
    from manyheads.training.gradient_diagnostics import BATCHES, diagnose

    if plan.trainer.sharded is not None:
        return {}
    plan.trainer.prepare(plan.phases[-1])
    steps = sorted({step * plan.steps // BATCHES for step in range(BATCHES)})
    return diagnose(plan.trainer, steps, plan.phases[-1].rates.base)
