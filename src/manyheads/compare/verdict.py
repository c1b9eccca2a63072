"""The verdict on each task: helps, hurts, equivalent, no worse, or inconclusive with the seeds that would settle it.

Decided here:
- Helps and hurts test for a difference, corrected by Holm over all tasks. Equivalent is two one-sided tests within the
  margin, corrected separately: each kind of false statement has its own 5 %.
- No worse is one of these two tests: the difference is above minus the margin (non-inferiority; Piaggio et al. 2012,
  CONSORT), corrected by Holm too. It is the verdict if neither a difference nor equivalence is shown; `no_worse` is set for
  any task that passes, also for one that is hurt by less than the margin. "Every task is no worse" is an intersection-union
  test, which needs no correction (Berger 1982): each task's own 90 % interval begins above minus the margin.
- A task that passes several tests, for example surely better but by less than the margin, has the first verdict; the
  sentence adds the rest.
- Too few seeds or a single cluster never give a verdict, as half of the variance is unknown.
- The number of seeds needed assumes the difference and variances seen, and gives an answer in 80 % of comparisons. Seeds
  do not reduce the variance of the test set, so there may be no such number. The level is what Holm leaves to the task if
  all other undecided tasks stay undecided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from manyheads.compare.bootstrap import Variance
from manyheads.compare.statistics import Difference, Settings, holm

Verdict = Literal["helps", "hurts", "equivalent", "no worse", "inconclusive"]

WORDS = {"helps": "better", "hurts": "worse"}
"""Verdicts in words for two models, where nothing is shared."""
USUAL_SEEDS = 6
"""The smallest number with which a sign-flip test can reach 0.05."""
MOST_SEEDS = 1000
"""Larger numbers of seeds count as unreachable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict on one task, and why."""

    difference: Difference
    verdict: Verdict
    p_holm: float
    p_equivalent_holm: float
    p_worse_holm: float
    no_worse: bool
    """Whether the difference is shown to be above minus the margin, whatever the verdict."""
    seeds_needed: int | None
    """In total; None with a verdict, or if no number of seeds would help (`why` says which)."""
    why: str
    """The reason as a sentence, in points."""

    def to_json(self) -> dict[str, Any]:
        """The statistics of a task in compare.json."""
        found = self.difference
        adjusted = {name: getattr(self, name) for name in ("p_holm", "p_equivalent_holm", "p_worse_holm")}
        return {
            "clusters": found.variance.clusters, "units": found.units,
            "shared": list(found.shared), "single": list(found.single), "difference": found.to_json() | adjusted,
            **{name: getattr(self, name) for name in ("verdict", "no_worse", "seeds_needed", "why")},
        }  # fmt: skip


def judge(differences: Mapping[str, Difference], settings: Settings) -> dict[str, Judgement]:
    """A verdict on each task, with p-values corrected for the number of tasks.

    >>> import numpy as np
    >>> from manyheads.compare.statistics import compare_scores
    >>> from manyheads.metrics.evidence import Tally
    >>> better, worse = ([Tally(np.array([[right, 10.0]] * 40), "mean")] * 6 for right in (8.0, 7.0))
    >>> judge({"entities": compare_scores(better, worse, Settings())}, Settings())["entities"].verdict
    'helps'
    """
    p_holm = holm([difference.p for difference in differences.values()])
    p_same = holm([difference.p_equivalent for difference in differences.values()])
    p_worse = holm([difference.p_worse for difference in differences.values()])
    levels = [settings.alpha / max(sum(p >= settings.alpha for p in some), 1) for some in (p_holm, p_worse)]
    result = {}
    for (name, difference), p, same, worse in zip(differences.items(), p_holm, p_same, p_worse, strict=True):
        no_worse = worse < settings.alpha and _judgeable(difference, settings)
        verdict = _verdict(difference, p, same, no_worse, settings)
        needed = _needed(difference, levels[0], levels[1], settings) if verdict == "inconclusive" else None
        why = _why(difference, verdict, needed, settings)
        result[name] = Judgement(
            difference=difference, verdict=verdict, p_holm=p, p_equivalent_holm=same, p_worse_holm=worse,
            no_worse=no_worse, seeds_needed=needed, why=why,
        )  # fmt: skip
    return result


def every_task_no_worse(found: Mapping[str, Judgement], settings: Settings) -> bool:
    """Whether all tasks are shown to be no worse, each by its own uncorrected test (Berger 1982)."""
    differences = [judgement.difference for judgement in found.values()]
    return all(one.p_worse < settings.alpha and _judgeable(one, settings) for one in differences)


def seeds_to_settle(difference: Difference, *, alpha: float, alpha_worse: float, settings: Settings) -> int | None:
    """The smallest number of seeds that would show a difference or no worse, with the power of `settings`.

    `alpha` is the level of the test for a difference, `alpha_worse` that for no worse, which equivalence includes. None if
    it takes more than 1,000 seeds, or the variance of the test set alone is too large.
    """

    def settled(seeds: int) -> bool:
        power = _power(difference.mean, replace(difference.variance, seeds=seeds), alpha, alpha_worse, settings.margin)
        return power >= settings.power

    below, above = difference.variance.seeds, MOST_SEEDS
    if below >= above or not settled(above):
        return None
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if settled(middle) else (middle, above)
    return above


def _power(mean: float, parts: Variance, alpha: float, alpha_worse: float, margin: float) -> float:
    """Probability of an estimate far enough from 0, or far enough above minus the margin."""
    from scipy.special import ndtr

    error, far = parts.total**0.5, parts.half_width(alpha)
    above = min(far, parts.half_width(2 * alpha_worse) - margin)
    if above <= -far:
        return 1.0
    return float(ndtr((-far - mean) / error) + ndtr((mean - above) / error))


def _judgeable(difference: Difference, settings: Settings) -> bool:
    return difference.variance.seeds >= settings.least_seeds and difference.variance.clusters > 1


def _verdict(difference: Difference, p_holm: float, p_same: float, no_worse: bool, settings: Settings) -> Verdict:
    if not _judgeable(difference, settings):
        return "inconclusive"
    if p_holm < settings.alpha:
        return "helps" if difference.mean > 0 else "hurts"
    if p_same < settings.alpha:
        return "equivalent"
    return "no worse" if no_worse else "inconclusive"


def _needed(difference: Difference, alpha: float, alpha_worse: float, settings: Settings) -> int | None:
    parts = difference.variance
    if parts.clusters < 2 or not parts.total:
        return None
    if parts.seeds < max(settings.least_seeds, 2):
        return max(settings.least_seeds, USUAL_SEEDS)
    return seeds_to_settle(difference, alpha=alpha, alpha_worse=alpha_worse, settings=settings)


def _why(difference: Difference, verdict: Verdict, needed: int | None, settings: Settings) -> str:
    seen = f"{_points(difference.mean, sign=True)} points, {100 * settings.level:g} % interval " + (
        f"{_points(difference.low, sign=True)} to {_points(difference.high, sign=True)}"
    )
    margin = f"{100 * settings.margin:g} point" + ("" if settings.margin == 0.01 else "s")
    if verdict in ("helps", "hurts"):
        within = max(abs(difference.low), abs(difference.high)) < settings.margin
        word = "better" if verdict == "helps" else "worse"
        return f"Shared is {word} than alone: {seen}" + (f"; surely by less than {margin}." if within else ".")
    if verdict == "equivalent":
        return f"Shared and alone differ by less than {margin}: {seen}."
    if verdict == "no worse":
        bound = f"above {_points(difference.low_one_sided, sign=True)} by a one-sided bound"
        return f"Shared is worse than alone by less than {margin}, if at all: {seen}, {bound}."
    return f"The difference is {seen}; {_what_next(difference, needed, settings)}."


def _what_next(difference: Difference, needed: int | None, settings: Settings) -> str:
    parts = difference.variance
    if parts.clusters < 2:
        return "the test set is a single cluster, so its variance is unknown; test on more"
    if parts.seeds < settings.least_seeds:
        number = "one seed does" if parts.seeds == 1 else f"{parts.seeds} seeds do"
        return f"{number} not show how much seeds vary; run {needed} or more"
    if not parts.total:
        return f"all runs agree, but {difference.units} examples are too few; test on more"
    if needed is not None:
        return f"about {needed} seeds would settle it, if difference and variance stay the same"
    largest = replace(parts, seeds=MOST_SEEDS)
    if largest.test_set > largest.each_seed / MOST_SEEDS:
        return "more seeds would not settle it: the test set is too small for a difference of this size"
    return f"more than {MOST_SEEDS:,} seeds would be needed to settle it"


def _points(fraction: float, *, sign: bool = False) -> str:
    """In points, with one decimal, or two below 0.1."""
    points = 100 * fraction
    digits = 1 if abs(points) >= 0.095 else 2
    shown = round(points, digits)
    return f"{shown:{'+' if sign else ''}.{digits}f}".replace("-", "−") if shown else "0.0"
