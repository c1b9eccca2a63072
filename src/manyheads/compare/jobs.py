"""The runs of a comparison: the shared one and single ones, for each seed; trained, or found where they were kept.

A twin is the same run with some of its tasks: same first weights, steps, rates, and examples of those tasks in the same
order, as if the others' had been left out of every step (`config.build.plan_of`). So what differs is the sharing alone. A
single model at its own best (`singles.py`) has a run file of its own instead.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from manyheads.compare.outcome import Curve, Outcome
from manyheads.crew.workshop import Job, Within, Workshop
from manyheads.errors import UsageError
from manyheads.evaluate import answers_for, shortcomings

if TYPE_CHECKING:
    from manyheads.config.dataset import Dataset
    from manyheads.evaluate import Metrics
    from manyheads.training.progress import Progress
    from manyheads.training.run import Plan, Trained
    from manyheads.training.stop import Stop


def compared_split(dataset: Dataset, name: str) -> str:
    """Test data, or else validation data. Raises UsageError for a task without either."""
    for split in ("test", "validation"):
        if split in dataset[name].splits:
            return split
    raise UsageError(f"task '{name}' has neither test nor validation data, so nothing can be compared; give it some")


def run_job(shop: Workshop, job: Job, progress: Progress, stop: Stop | None = None) -> Outcome:
    """The outcome of a job, trained if it is not there yet; a run that was interrupted goes on. Raises StoppedError."""
    folder = shop.place(job)
    kept = kept_of(shop, job)
    if kept is not None:
        return kept
    from manyheads.config.build import device_of, plan_of
    from manyheads.training.run import run_to

    file = shop.file(job)
    device = device_of(file.run.training.device)
    only = job.tasks if job.own is None else ()
    plan = plan_of(file, shop.data(job), folder, device, shop.tokenizer, only=only)
    plan = replace(plan, refit=None)  # what sharing does shows without it, at half the cost

    if job.rung is not None:
        from manyheads.compare.models import load_head

        load_head(plan, shop.start(job))

    def keep(plan: Plan, done: Trained) -> Outcome:
        outcome = outcome_of(shop, plan, done)
        if job.keep:
            from manyheads.compare.models import save_run

            compared: dict[str, dict[str, Metrics]] = {}
            for name, scores in outcome.scores.items():
                compared.setdefault(compared_split(shop.dataset, name), {})[name] = dict(scores)
            save_run(plan, done, compared)
        outcome.save(folder)
        return outcome

    outcome = run_to(plan, Within(progress), keep, resume=True, stop=stop)
    assert outcome is not None, "one process"
    return outcome


def kept_of(shop: Workshop, job: Job) -> Outcome | None:
    """What is there of a job that is done, with its model folder if that is wanted."""
    from manyheads.bundle import is_finished

    folder = shop.place(job)
    kept = Outcome.load(folder)
    return None if job.keep and not is_finished(folder) else kept


def outcome_of(shop: Workshop, plan: Plan, done: Trained) -> Outcome:
    """Scores and evidence of a trained model, on the data that is compared."""
    names = [feed.task.name for feed in plan.trainer.batcher.feeds]
    scores, evidence, warnings = {}, {}, dict[str, str]()
    for name in names:
        table, task = shop.dataset[name].table(compared_split(shop.dataset, name)), done.tasks[name]
        answers, examples = answers_for(done.predictor, task, table)
        scores[name] = task.score(answers, examples)
        evidence[name] = task.evidence(answers, examples, table.clusters())
        warnings |= shortcomings({name: task}, {name: (answers, examples)})
    diagnostics, steps = _probed(plan) if len(names) > 1 else {}, _steps(plan)
    if diagnostics and steps.pulls:  # of the whole run, where the probe has its end
        diagnostics = {**diagnostics, "pull": steps.pulls}
    return Outcome(scores, evidence, curves_of(plan, names), diagnostics, warnings, steps.tokens, steps.rate,
                   plan.trainer.making.balancer.mode)  # fmt: skip


def curves_of(plan: Plan, names: Sequence[str]) -> dict[str, Curve]:
    """Headlines on validation data, by examples seen of the task."""
    from manyheads.training.log import HISTORY

    sampler = plan.trainer.batcher.sampler
    found: dict[str, Curve] = {name: [] for name in names}
    feeds = {feed.task.name: feed for feed in plan.trainer.batcher.feeds}
    for line in (plan.output / HISTORY).read_text(encoding="utf-8").splitlines():
        row: Mapping[str, Any] = json.loads(line)
        for name, score in row.get("headline", {}).items():
            if name in found:
                part = sampler.quota(name, row["step"]) / max(feeds[name].stream.tokens_per_epoch, 1)
                found[name].append({"examples": round(part * len(feeds[name].table)), "score": score})
    return found


@dataclass(frozen=True, slots=True)
class _Steps:
    """What the steps of a run say of themselves."""

    tokens: Mapping[str, int]
    pulls: Mapping[str, float]
    """The root of the mean square over the steps in which it is known; none where no step knows."""
    rate: float


def _steps(plan: Plan) -> _Steps:
    """From the history of a run."""
    from manyheads.training.log import HISTORY

    tokens, squares, rate = defaultdict[str, int](int), defaultdict[str, list[float]](list), 0.0
    for line in (plan.output / HISTORY).read_text(encoding="utf-8").splitlines():
        row: Mapping[str, Any] = json.loads(line)
        rate = max(rate, row.get("rate", 0.0))
        for name, count in row.get("tokens", {}).items():
            tokens[name] += count
        for name, pull in row.get("pull", {}).items():
            squares[name].append(pull**2)
    return _Steps(tokens, {name: (sum(found) / len(found)) ** 0.5 for name, found in squares.items()}, rate)


def _probed(plan: Plan) -> dict[str, Any]:
    """What gradients say at the end of the run, on steps spread over it."""
    from manyheads.training.probe import BATCHES, probe

    if plan.trainer.sharded is not None:
        return {}
    plan.trainer.prepare(plan.phases[-1])
    steps = sorted({step * plan.steps // BATCHES for step in range(BATCHES)})
    return probe(plan.trainer, steps, plan.phases[-1].rates.base)
