"""The entries of `compare.json`, computed from the outcomes of runs; nothing is trained or written here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manyheads.compare.advice import Finding
from manyheads.compare.runs import compared_split
from manyheads.compare.start_model import lines as start_lines
from manyheads.compare.statistics import Settings, compare_scores
from manyheads.compare.verdict import Judgement, judge
from manyheads.config.recipe import HEAD_RATE
from manyheads.training.optim import shared_rate_factor

if TYPE_CHECKING:
    from manyheads.compare.outcome import Outcome
    from manyheads.config.files import RunFile
    from manyheads.jobs.experiment import Experiment

EQUAL_PULL = ("norms", "moments")
"""Modes of balancers with which all tasks move the encoder equally fast."""
SAME_RATE = 0.02
"""Relative difference up to which two rates count as the same."""


def judge_outcomes(
    shared: Mapping[str, Sequence[Outcome]], single: Mapping[str, Sequence[Outcome]], settings: Settings
) -> dict[str, Judgement]:
    """A verdict on each task of `single`, from its runs with each seed."""
    differences = {
        name: compare_scores([run.evidence[name] for run in shared[name]], [run.evidence[name] for run in single[name]],
                             settings)
        for name in single
    }  # fmt: skip
    return judge(differences, settings)


def task_entry(
    experiment: Experiment, name: str, judgement: Judgement, shared: Sequence[Outcome], single: Sequence[Outcome]
) -> dict[str, Any]:
    """The entry of one task, without advice."""
    data, split = experiment.dataset[name], compared_split(experiment.dataset, name)
    task, metrics = data.task, shared[0].scores[name]
    headline = task.main_score(metrics)
    metric = task.main_metric if task.main_metric in metrics else next(k for k in metrics if metrics[k] == headline)
    noun = task.cluster_noun if any(data.table(split).clusters()) else task.example_noun
    return {
        "type": task.kind, "metric": metric, "split": split, "cluster_kind": noun, **judgement.to_json(),
        "curves": {"shared": mean_curve(shared, name), "single": mean_curve(single, name)},
    }  # fmt: skip


def with_tokens(
    cost: Mapping[str, Mapping[str, float]], shared: Sequence[Outcome], single: Mapping[str, Sequence[Outcome]]
) -> dict[str, dict[str, float]]:
    """Costs with the tokens trained on, forward and backward: by one shared model, and by all single ones together."""
    one = sum(sum(run.tokens.values()) for run in shared) / len(shared)
    several = sum(sum(sum(run.tokens.values()) for run in runs) / len(runs) for runs in single.values())
    if not one or not several:  # outcomes of an earlier version
        return {side: dict(values) for side, values in cost.items()}
    return {
        "shared": {**cost["shared"], "training_tokens": round(one)},
        "single": {**cost["single"], "training_tokens": round(several)},
    }


def mean_curve(runs: Sequence[Outcome], name: str) -> list[dict[str, float]]:
    """The mean over seeds of each evaluation of a task, with the lowest and the highest."""
    points = []
    for same in zip(*(run.curves[name] for run in runs), strict=False):
        scores = [point["score"] for point in same]
        points.append({"examples": same[0]["examples"], "score": sum(scores) / len(scores), "low": min(scores),
                       "high": max(scores)})  # fmt: skip
    return points


def mean_diagnostics(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds, with 95 % intervals of Student's t."""
    seen = [values for values in found if values]
    if not seen:
        return {}
    groups = range(len(seen[0]["groups"]))
    pairs = {
        pair: {
            "cosine": [_interval([run["pairs"][pair]["cosine"][g] for run in seen], -1.0, 1.0) for g in groups],
            **{key: [_interval([run["pairs"][pair][key][g] for run in seen])["value"] for g in groups]
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
    """Mean and interval of the values that are known, clipped to `least` and `most`."""
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
    experiment: Experiment,
    file: RunFile,
    found: Mapping[str, Judgement],
    shared: Sequence[Outcome],
    single: Mapping[str, Sequence[Outcome]],
) -> dict[str, Finding]:
    """What the rules of advice look at, for each task."""
    sharing, lora = file.run.sharing, file.run.lora
    private = sharing.shared_layers is not None or (lora is not None and lora.adapters == "per-task")
    return {
        name: Finding(
            judgement.verdict, judgement.difference.mean, len(experiment.dataset[name].table("train")), private,
            _speed(name, shared, single[name]), _speed_up(file, len(found), shared, single[name]),
            _forgetting([run.curves[name] for run in shared]), _no_learning([*shared, *single[name]], name),
        )
        for name, judgement in found.items()
    }  # fmt: skip


def _speed(name: str, shared: Sequence[Outcome], single: Sequence[Outcome]) -> float | None:
    """The pull of a task on the shared encoder, times the ratio of the shared run's learning rate to the single one's."""
    pulls = [run.diagnostics.get("pull", {}).get(name) for run in shared]
    known = [pull for pull in pulls if pull is not None]
    if not known or not shared[0].rate or not single[0].rate:
        return None
    return sum(known) / len(known) * shared[0].rate / single[0].rate


def _speed_up(file: RunFile, tasks: int, shared: Sequence[Outcome], single: Sequence[Outcome]) -> dict[str, Any]:
    """Changes that make all tasks pull equally, at a rate that makes up for their number; empty if the run has both."""
    rate = float(f"{single[0].rate * shared_rate_factor(tasks):.3g}")
    changes: dict[str, Any] = {} if shared[0].balancing in EQUAL_PULL else {"training.balancing": "equal-norm"}
    if rate > shared[0].rate * (1 + SAME_RATE):
        changes["training.learning_rate"] = rate
        if file.run.training.recipe == "auto" and "head_learning_rate" not in file.run.training.model_fields_set:
            changes["training.head_learning_rate"] = HEAD_RATE  # or heads would use the given rate too
    return changes


def _forgetting(curves: Sequence[Sequence[Mapping[str, float]]]) -> float:
    """How far the shared runs end below the untrained encoder with a solved head; 0 if unknown."""
    lost = [curve[0]["score"] - curve[-1]["score"] for curve in curves if len(curve) > 1 and not curve[0]["examples"]]
    return max(0.0, sum(lost) / len(lost)) if lost else 0.0


def _no_learning(runs: Sequence[Outcome], name: str) -> str | None:
    """The warning about a head that learned nothing in any run; None if one of them learned something."""
    warnings = [run.warnings.get(name) for run in runs]
    return warnings[0] if all(warnings) else None


def lines(result: Mapping[str, Any]) -> list[str]:
    """A table and a summary for the terminal."""
    rows = [("task", "metric", "shared", "single", "difference", f"{100 * result['level']:g} % interval", "verdict")]
    for name, task in result["tasks"].items():
        found = task["difference"]
        means = [sum(task[key]) / len(task[key]) for key in ("shared", "single")]
        rows.append((name, task["metric"], *(f"{100 * mean:.1f}" for mean in means), f"{100 * found['mean']:+.1f}",
                     f"{100 * found['low']:+.1f} to {100 * found['high']:+.1f}", task["verdict"]))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    advice = [f"{name}: {task['advice']['remedy']} ({task['advice']['reason']})" for name, task in result["tasks"].items()]
    start = start_lines(result["start"]) if "start" in result else []
    return [*table, "", *start, *_summary(result), *advice]


def _summary(result: Mapping[str, Any]) -> list[str]:
    margin = f"{100 * result['margin']:g} point{'' if result['margin'] == 0.01 else 's'}"
    shown = "shown" if result["every_task_no_worse"] else "not shown"
    baseline = "best single-task model" if result["single"] == "best" else "paired single-task run"
    summary = [f"every task no worse than its {baseline}, by a margin of {margin}: {shown}"]
    tokens = [result["cost"][side].get("training_tokens") for side in ("shared", "single")]
    if all(tokens):
        summary.append(f"tokens trained on: {tokens[0]:,} by a shared model, {tokens[1]:,} by all single ones")
    return summary
