"""The result of a tuning: the best trial, or the recipe if nothing beats it by more than noise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from manyheads.training.selection import uncertainty
from manyheads.tune.space import LAYERS, NO_TASK, TOPS

if TYPE_CHECKING:
    from manyheads.tune.space import Space, Values
    from manyheads.tune.study import TrialRecord
    from manyheads.tune.worker import Outcome

RUN, MODEL = "run.yaml", "model"


def best_trial(history: Sequence[TrialRecord], recipe: Outcome | None) -> tuple[int, float]:
    """The number of the trial to keep, and by how much it had to beat the recipe, which is trial 0."""
    finished = {each.trial.number: each.score for each in history if each.score is not None}
    best = max(finished, key=lambda number: (finished[number], -number))
    if recipe is None:  # it diverged
        return best, 0.0
    noise = uncertainty(recipe.headlines, recipe.rows)
    return (best if finished[best] - finished[0] > noise else 0), noise


def trial_entry(each: TrialRecord, space: Space) -> dict[str, Any]:
    """A trial as JSON."""
    changes = dict(change.split("=", 1) for change in space.changes(each.trial.values))
    return {
        "number": each.trial.number, "state": each.state, "score": each.score,
        "values": meaningful(each.trial.values), "changes": {key: json.loads(value) for key, value in changes.items()},
        "evaluations": [{"part": part, "score": score} for part, score in each.evaluations], "words": each.words,
    }  # fmt: skip


def sentence(result: Mapping[str, Any]) -> str:
    """The outcome in one sentence."""
    scores = {each["number"]: each["score"] for each in result["trials"]}
    best, recipe = result["best"], scores[0]
    ours = "recipe" if result["recipe"] else "run file"
    top = max((score for score in scores.values() if score is not None), default=None)
    if best:
        against = f", {recipe:.4f} with the {ours}'s own settings" if recipe is not None else f"; the {ours}'s own diverged"
        return f"trial {best} is the best: combined validation score {scores[best]:.4f}{against}"
    if top == recipe:
        return f"nothing beats the {ours}'s own settings: combined validation score {recipe:.4f}"
    return (f"the {ours}'s own settings stay: combined validation score {recipe:.4f}; the best other trial has {top:.4f}, "
            f"which is within the noise of {result['noise']:.4f}")  # fmt: skip


def run_text(text: str, result: Mapping[str, Any]) -> str:
    """A run file with comments on where its settings come from."""
    values = yaml.safe_load(text)
    values["output"] = MODEL
    best = next(each for each in result["trials"] if each["number"] == result["best"])
    comments = [f"From `manyheads tune {result['run']}`, {len(result['trials'])} trials: {result['sentence']}."]
    comments += [f"{key}: {value}, tuned" for key, value in best["changes"].items()]
    head = "".join(f"# {line}\n" for line in comments)
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def lines(result: Mapping[str, Any]) -> list[str]:
    """A table of the trials and a summary for the terminal."""
    names = list(dict.fromkeys(name for each in result["trials"] for name in each["values"]))
    rows = [("trial", *names, "score", "")]
    for each in result["trials"]:
        cells = (_cell(each["values"].get(name)) for name in names)
        score = "" if each["score"] is None else f"{each['score']:.4f}"
        rows.append((str(each["number"]), *cells, score, each["note"]))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    fixed = [f"not tuned: {name} ({why})" for name, why in result["held"].items()]
    importance = [f"importance: {name} {value:.0%}" for name, value in result["importance"].items()]
    return [*table, "", *fixed, *importance, result["sentence"]]


def note(each: Mapping[str, Any], best: int) -> str:
    """A remark on a trial in a few words."""
    words = {"finished": "", "pruned": "stopped early", "repeated": each["words"]}.get(each["state"], each["state"])
    if each["state"] == "pruned" and each["evaluations"]:
        last = each["evaluations"][-1]
        words = f"stopped at {last['part']:.0%} with {last['score']:.4f}"
    first = "the run file as it is" if each["number"] == 0 else ""
    return ", ".join(filter(None, [first, words, "chosen" if each["number"] == best else ""]))


def meaningful(values: Values) -> dict[str, Any]:
    """Values without the number of private layers if no task has any."""
    return {name: value for name, value in values.items() if name != LAYERS or values.get(TOPS) != NO_TASK}


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
