"""The entries of `compare.json`: from outcomes of runs to what is said of each task. Nothing is trained or written here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manyheads.compare.advice import Finding
from manyheads.compare.jobs import compared_split
from manyheads.compare.statistics import Settings, compare_scores
from manyheads.compare.verdict import Judgement, judge
from manyheads.config.recipe import HEAD_RATE
from manyheads.training.optim import shared_rate_factor

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome
    from manyheads.config.files import RunFile
    from manyheads.crew.workshop import Workshop

EQUAL = ("norms", "moments")
"""Modes of balancers by which all tasks move the encoder equally fast."""
ROUNDED = 0.02
"""Rates so near are the same."""


def judged(
    shared: Mapping[str, Sequence[Outcome]], single: Mapping[str, Sequence[Outcome]], settings: Settings
) -> dict[str, Judgement]:
    """A verdict on each task."""
    differences = {
        name: compare_scores([run.evidence[name] for run in shared[name]], [run.evidence[name] for run in single[name]],
                             settings)
        for name in single
    }  # fmt: skip
    return judge(differences, settings)


def task_entry(
    shop: Workshop, name: str, judgement: Judgement, shared: Sequence[Outcome], single: Sequence[Outcome]
) -> dict[str, Any]:
    """All that is said of one task, but for advice."""
    data, split = shop.dataset[name], compared_split(shop.dataset, name)
    metrics = shared[0].scores[name]
    headline = data.task.headline(metrics)
    metric = (
        data.task.main_metric
        if data.task.main_metric in metrics
        else next(k for k in metrics if metrics[k] == headline)
    )
    named = any(data.table(split).clusters())
    kind = data.task.cluster_noun if named else data.task.example_noun
    return {
        "type": data.task.kind, "metric": metric, "split": split, "cluster_kind": kind, **judgement.to_json(),
        "curves": {"shared": _curve([run.curves[name] for run in shared]),
                   "single": _curve([run.curves[name] for run in single])},
    }  # fmt: skip


def twin_entry(name: str, judgement: Judgement, twins: Sequence[Outcome]) -> dict[str, Any]:
    """What is said of a task against its twin, beside the single model at its own best."""
    return {**judgement.to_json(), "curve": _curve([run.curves[name] for run in twins])}


def with_tokens(
    cost: Mapping[str, Mapping[str, float]], shared: Sequence[Outcome], single: Mapping[str, Sequence[Outcome]]
) -> dict[str, dict[str, float]]:
    """The costs, with the tokens that one training took forward and backward: of one shared model, of all single ones."""
    together = sum(sum(run.tokens.values()) for run in shared) / len(shared)
    apart = sum(sum(sum(run.tokens.values()) for run in runs) / len(runs) for runs in single.values())
    if not together or not apart:  # runs of an earlier version
        return {side: dict(values) for side, values in cost.items()}
    return {
        "shared": {**cost["shared"], "training_tokens": round(together)},
        "single": {**cost["single"], "training_tokens": round(apart)},
    }


def _curve(curves: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """The mean over seeds of each evaluation, with lowest and highest."""
    points = []
    for same in zip(*curves, strict=False):
        scores = [point["score"] for point in same]
        points.append({"examples": same[0]["examples"], "score": sum(scores) / len(scores), "low": min(scores),
                       "high": max(scores)})  # fmt: skip
    return points


def mean_diagnostics(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds, with 95 % intervals of Student's t."""
    seen = [values for values in found if values]
    if not seen:
        return {}
    pairs = {
        pair: {
            "cosine": [_interval([run["pairs"][pair]["cosine"][g] for run in seen], -1.0, 1.0)
                       for g in range(len(seen[0]["groups"]))],
            **{key: [_interval([run["pairs"][pair][key][g] for run in seen])["value"] for g in range(len(seen[0]["groups"]))]
               for key in ("conflict_rate", "magnitude_ratio")},
        }
        for pair in seen[0]["pairs"]
    }  # fmt: skip
    affinity = {key: _interval([run["affinity"].get(key) for run in seen]) for key in seen[0]["affinity"]}
    pulls = {name: _interval([run.get("pull", {}).get(name) for run in seen]) for name in seen[0].get("pull", {})}
    return {"groups": seen[0]["groups"], "pairs": pairs, "affinity": affinity, "pull": pulls}


def _interval(
    values: Sequence[float | None], least: float = -math.inf, most: float = math.inf
) -> dict[str, float | None]:
    """Mean and interval of values that lie between `least` and `most`, where the interval ends too."""
    import numpy as np
    from scipy.stats import t

    known = np.array([value for value in values if value is not None], np.float64)
    if not len(known):
        return {"value": None, "low": None, "high": None}
    mean = float(known.mean())
    if len(known) < 2:
        return {"value": mean, "low": None, "high": None}
    reach = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)
    return {"value": mean, "low": max(mean - reach, least), "high": min(mean + reach, most)}


def findings(
    shop: Workshop,
    file: RunFile,
    found: Mapping[str, Judgement],
    shared: Sequence[Outcome],
    single: Mapping[str, Sequence[Outcome]],
) -> dict[str, Finding]:
    """What advice is given by."""
    sharing, lora = file.run.sharing, file.run.lora
    own = sharing.shared_layers is not None or (lora is not None and lora.adapters == "per-task")
    return {
        name: Finding(
            judgement.verdict, judgement.difference.mean, len(shop.dataset[name].table("train")), own,
            _speed(name, shared, single[name]), _faster(file, len(found), shared, single[name]),
            _forgotten([run.curves[name] for run in shared]), _nothing([*shared, *single[name]], name),
        )
        for name, judgement in found.items()
    }  # fmt: skip


def _speed(name: str, shared: Sequence[Outcome], single: Sequence[Outcome]) -> float | None:
    """Its pull on the shared encoder, times how much larger the shared run's steps are."""
    pulls = [run.diagnostics.get("pull", {}).get(name) for run in shared]
    known = [pull for pull in pulls if pull is not None]
    if not known or not shared[0].rate or not single[0].rate:
        return None
    return sum(known) / len(known) * shared[0].rate / single[0].rate


def _faster(file: RunFile, tasks: int, shared: Sequence[Outcome], single: Sequence[Outcome]) -> dict[str, Any]:
    """Changes by which all tasks pull equally, at a rate that makes up for their number; none if the run has them."""
    rate = float(f"{single[0].rate * shared_rate_factor(tasks):.3g}")
    equal = shared[0].balancing in EQUAL
    if equal and rate <= shared[0].rate * (1 + ROUNDED):
        return {}
    changes: dict[str, Any] = {} if equal else {"training.balancing": "equal-norm"}
    if rate > shared[0].rate * (1 + ROUNDED):
        changes["training.learning_rate"] = rate
        if file.run.training.recipe == "auto" and "head_learning_rate" not in file.run.training.model_fields_set:
            changes["training.head_learning_rate"] = HEAD_RATE  # a given rate would be that of heads too
    return changes


def _forgotten(curves: Sequence[Sequence[Mapping[str, float]]]) -> float:
    """How far below the untrained encoder, whose head alone was solved, the shared runs ended; 0 where it is not known."""
    lost = [
        curve[0]["score"] - curve[-1]["score"] for curve in curves if len(curve) > 1 and not curve[0]["examples"]
    ]
    return max(0.0, sum(lost) / len(lost)) if lost else 0.0


def _nothing(runs: Sequence[Outcome], name: str) -> str | None:
    """What is wrong with a head that learned nothing in any run; None where it did in one."""
    said = [run.warnings.get(name) for run in runs]
    return said[0] if all(said) else None


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) and value else {f"{before}{key}": value}
    return found


def lines(result: Mapping[str, Any]) -> list[str]:
    """The answer as a table for a terminal."""
    rows = [("task", "metric", "shared", "single", "difference", "95 % interval", "verdict")]
    for name, task in result["tasks"].items():
        found = task["difference"]
        means = [sum(task[key]) / len(task[key]) for key in ("shared", "single")]
        rows.append((name, task["metric"], *(f"{100 * mean:.1f}" for mean in means), f"{100 * found['mean']:+.1f}",
                     f"{100 * found['low']:+.1f} to {100 * found['high']:+.1f}", task["verdict"]))  # fmt: skip
    rows[0] = (*rows[0][:5], f"{100 * result['level']:g} % interval", "verdict")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    advice = [
        f"{name}: {task['advice']['remedy']} ({task['advice']['reason']})" for name, task in result["tasks"].items()
    ]
    return [*table, "", *_beside(result), *advice]


def _beside(result: Mapping[str, Any]) -> list[str]:
    """What the whole comparison says: whether every task is no worse, and what trainings took."""
    margin = f"{100 * result['margin']:g} point{'' if result['margin'] == 0.01 else 's'}"
    shown = "is shown" if result["every_task_no_worse"] else "is not shown"
    which = "its single model at its own best" if result["single"] == "best" else "its twin"
    said = [f"it {shown} that every task is no worse than {which}, by a margin of {margin}"]
    tokens = [result["cost"][side].get("training_tokens") for side in ("shared", "single")]
    if all(tokens):
        said.append(f"tokens trained on: {tokens[0]:,} by a shared model, {tokens[1]:,} by all single ones")
    return said
