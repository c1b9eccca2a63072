"""The model folder of a finished run, and its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from manyheads.bundle import save_bundle
from manyheads.evaluate import Metrics, Scores, add_warnings, answers_for, head_warnings, score_intervals
from manyheads.hub.card import contents_of
from manyheads.hub.facts import ModelFacts, split_facts
from manyheads.report.history import read_history
from manyheads.tasks.base import Task
from manyheads.training.log import HISTORY
from manyheads.training.plan import Plan, Trained
from manyheads.training.selection import Selection


def save_model(plan: Plan, done: Trained) -> Scores:
    """Write the model folder; returns its scores, those of test data with what was tuned on validation data."""
    answered = {name: answers_for(done.predictor, done.tasks[name], table) for name, table in plan.test.items()}
    tested = {name: done.tasks[name].score(*both) for name, both in answered.items()}
    test_warnings = head_warnings(done.tasks, answered, tested)
    scores = scores_by_task(done.tasks, {"validation": done.validation, "test": tested}, plan.selection)
    first = read_history(plan.output / HISTORY).headlines if plan.fit_heads else {}
    frozen = {name: by_step[0] for name, by_step in first.items() if 0 in by_step}
    add_warnings(scores, "validation", head_warnings(done.tasks, done.answered, done.validation, frozen))
    add_warnings(scores, "test", test_warnings)
    data = split_facts(plan.rows(), {"validation": score_intervals(done.tasks, done.answered, done.validation),
                                      "test": score_intervals(done.tasks, answered, tested)})  # fmt: skip
    facts = ModelFacts(
        plan.output.resolve().name, done.tasks, scores, plan.max_length, plan.run, plan.base_model, data, done.steps,
        plan.recipe, done.refitted,
    )  # fmt: skip
    contents = replace(contents_of(facts, plan.encoder_name), adapters=done.adapters, started_from=plan.started_from)
    save_bundle(plan.output, plan.model, plan.tokenizer, contents)
    return scores


def scores_by_task(
    tasks: Mapping[str, Task[Any]], splits: Mapping[str, Mapping[str, Metrics]], selection: Selection
) -> Scores:
    """`{task: {split: metrics}}`; under `_all` the combined score of each split, with a warning if it leaves tasks out."""
    scores: Scores = {}
    for split, metrics in splits.items():
        for name, values in metrics.items():
            scores.setdefault(name, {})[split] = values
        if metrics:
            scores.setdefault("_all", {})[split] = {"combined": selection.score(tasks, metrics)}
            left_out = selection.left_out(tasks, metrics)
            add_warnings(scores, split, {} if left_out is None else {"combined": left_out})
    return scores
