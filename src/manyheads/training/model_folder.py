"""The model folder of a finished run, and its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyheads.bundle import Contents, save_bundle
from manyheads.evaluate import Metrics, Scores, add_warnings, evaluate_with_warnings, head_warnings
from manyheads.report.history import read_history
from manyheads.tasks.base import Task
from manyheads.training.log import HISTORY
from manyheads.training.model_card import model_card
from manyheads.training.plan import Plan, Trained
from manyheads.training.selection import Selection


def save_model(plan: Plan, done: Trained) -> Scores:
    """Write the model folder; returns its scores, those of test data with what was tuned on validation data."""
    tested, test_warnings = evaluate_with_warnings(done.predictor, plan.test)
    scores = scores_by_task(done.tasks, {"validation": done.validation, "test": tested}, plan.selection)
    first = read_history(plan.output / HISTORY).headlines if plan.fit_heads else {}
    frozen = {name: by_step[0] for name, by_step in first.items() if 0 in by_step}
    add_warnings(scores, "validation", head_warnings(done.tasks, done.answered, done.validation, frozen))
    add_warnings(scores, "test", test_warnings)
    card = model_card(done.tasks, scores, plan.encoder_name, done.steps, refitted=done.refitted)
    contents = Contents(
        done.tasks, plan.encoder_name, plan.max_length, scores, plan.run, card, done.adapters, done.refitted
    )
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
