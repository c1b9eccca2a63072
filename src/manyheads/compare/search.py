"""Single models at their own best: the rate is chosen by the runs of the first seed, the other seeds take it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.compare.crew import Maker
from manyheads.compare.outcome import Outcome
from manyheads.compare.singles import (
    FACTORS,
    Part,
    Rate,
    best_of,
    durations,
    validation_score,
    with_rate,
)
from manyheads.crew.alone import Own
from manyheads.crew.workshop import Job, Workshop

if TYPE_CHECKING:
    from manyheads.training.run import Plan


@dataclass(frozen=True, slots=True)
class Single:
    """One task's single models."""

    own: Own
    """What they are trained with."""
    tried: tuple[Rate, ...]
    chosen: Rate
    runs: tuple[Outcome, ...]
    """One for each seed."""
    search_tokens: int
    """Trained on by the runs that were not chosen."""

    def to_json(self) -> dict[str, Any]:
        """For compare.json."""
        return {
            "learning_rate": self.chosen.learning_rate,
            "factor": self.chosen.factor,
            "tried": [
                {"factor": rate.factor, "learning_rate": rate.learning_rate, "validation": rate.score}
                for rate in self.tried
            ],
            "settings": dict(self.own),
        }


def singles(maker: Maker, seeds: Sequence[int]) -> dict[str, Single]:
    """The single models of all tasks, trained where they are not there yet. Raises StoppedError, TrainingError."""
    candidates = _candidates(maker.shop, seeds[0])
    first = maker.outcomes([job for jobs in candidates.values() for _, job in jobs])
    chosen, tried = {}, {}
    for name, jobs in candidates.items():
        tried[name] = [Rate(r.factor, r.learning_rate, validation_score(first[job], name)) for r, job in jobs]
        rate = best_of(tried[name])
        chosen[name] = (rate, next(job for r, job in jobs if r.factor == rate.factor))
    others = {
        name: [Job(seed, job.tasks, own=job.own) for seed in seeds[1:]] for name, (_, job) in chosen.items()
    }
    rest = maker.outcomes([job for jobs in others.values() for job in jobs])
    return {
        name: Single(
            job.own or (), tuple(tried[name]), rate, (first[job], *(rest[other] for other in others[name])),
            sum(sum(first[other].tokens.values()) for _, other in candidates[name] if other != job),
        )
        for name, (rate, job) in chosen.items()
    }  # fmt: skip


def _candidates(shop: Workshop, seed: int) -> dict[str, list[tuple[Rate, Job]]]:
    """For each task the rates to try, with their runs; one alone where no validation data could choose."""
    shared = _plan(shop, Job(seed))
    training = shop.file(Job(seed)).run.training
    sampler, found = shared.trainer.batcher.sampler, {}
    for feed in shared.trainer.batcher.feeds:
        name, steps = feed.task.name, max(1, shared.steps)
        tokens = sampler.quota(name, steps)
        part = Part(tokens / max(1, feed.stream.tokens_per_epoch), tokens / steps)
        own = durations(training, part)
        rates = _plan(shop, Job(seed, (name,), own=tuple(own.items()))).phases[0].rates
        factors = FACTORS if "validation" in shop.dataset[name].splits and not _paced(training.phases) else FACTORS[:1]
        found[name] = [
            (Rate(factor, rates.base * factor, None),
             Job(seed, (name,), own=with_rate(own, rates.base, rates.head, factor)))
            for factor in factors
        ]  # fmt: skip
    return found


def _paced(phases: Any) -> bool:
    """Whether phases have rates of their own, which another rate of the whole would not change."""
    return isinstance(phases, list) and any(phase.learning_rate is not None for phase in phases)


def _plan(shop: Workshop, job: Job) -> Plan:
    from manyheads.config.build import device_of, plan_of

    file = shop.file(job)
    device = device_of(file.run.training.device)
    return plan_of(file, shop.data(job), shop.place(job), device, shop.tokenizer)
