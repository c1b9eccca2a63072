"""`manyheads evaluate MODEL --against OTHER`: is one model better or worse than another on the same data, task by task?

Both models are fixed, so the only uncertainty is that of the test data: intervals come from a bootstrap of its clusters, the
same ones for both models, and verdicts from the tests of `compare/verdict.py`, corrected for the number of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import RUN
from manyheads.compare.statistics import Settings, compare_scores
from manyheads.compare.verdict import WORDS, Judgement, judge
from manyheads.config.dataset import read_split
from manyheads.config.files import load_run
from manyheads.errors import UsageError
from manyheads.evaluate import answers_for

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.inference import LoadedModel
    from manyheads.metrics.evidence import Ranks, Tally


def compare_models(
    model: LoadedModel, other: LoadedModel, *, data: Path | None = None, split: str = "test",
    names: Sequence[str] | None = None, margin: float = 0.01,
) -> dict[str, Judgement]:
    """Judgements on the tasks that both models have, on one split of a run file's data (by default that of `model`).

    Raises UsageError where they have none in common, or no data.

    >>> import manyheads as mh
    >>> model = mh.load("runs/demo")
    >>> compare_models(model, model, split="validation", names=["section"])["section"].difference.mean
    0.0
    """
    wanted = model.predictor.check_tasks(names)
    common = [name for name in wanted if name in other.tasks and other.tasks[name].kind == model.tasks[name].kind]
    if not common:
        raise UsageError(f"{model.bundle.folder} and {other.bundle.folder} have no task in common; their tasks are "
                         f"{', '.join(wanted)} and {', '.join(other.tasks)}")  # fmt: skip
    path = data or model.bundle.folder / RUN
    file, differences = load_run(path), {}
    for name in common:
        ours = _evidence(model, file, name, split)
        theirs = _evidence(other, file, name, split)
        if ours is not None and theirs is not None:
            differences[name] = compare_scores([ours], [theirs], _settings(margin))
    if not differences:
        raise UsageError(f"{path} has no {split} data for {', '.join(common)}; choose another split, or other data")
    return judge(differences, _settings(margin))


def verdict(judgement: Judgement) -> str:
    """`better`, `worse`, `equivalent`, `no worse` or `inconclusive`."""
    return WORDS.get(judgement.verdict, judgement.verdict)


def lines(found: Mapping[str, Judgement]) -> list[str]:
    """A table for people, in points."""
    rows: list[tuple[str, ...]] = [("task", "model", "other", "difference", "95 % interval", "verdict")]
    for name, judgement in found.items():
        d = judgement.difference
        scores = (f"{100 * score:.1f}" for score in (*d.shared, *d.single))
        interval = f"{100 * d.low:+.1f} to {100 * d.high:+.1f}"
        rows.append((name, *scores, f"{100 * d.mean:+.1f}", interval, verdict(judgement)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def to_json(found: Mapping[str, Judgement], split: str) -> dict[str, Any]:
    """`{task: {split: {model, other, difference, low, high, p, verdict}}}`, as fractions."""
    return {
        name: {split: {"model": d.shared[0], "other": d.single[0], "difference": d.mean, "low": d.low, "high": d.high,
                       "p": judgement.p_holm, "verdict": verdict(judgement)}}
        for name, judgement in found.items() for d in [judgement.difference]
    }  # fmt: skip


def _settings(margin: float) -> Settings:
    try:
        return Settings(margin=margin, least_seeds=1)
    except ValueError as error:
        raise UsageError(f"--margin: {error}") from None


def _evidence(model: LoadedModel, file: RunFile, name: str, split: str) -> Tally | Ranks | None:
    """What the score of a task is computed from; None without data."""
    section = file.run.tasks.get(name)
    table = None if section is None else read_split(file, model.tasks[name], split)
    if table is None:
        return None
    answers, examples = answers_for(model.predictor, model.tasks[name], table)
    return model.tasks[name].evidence(answers, examples, table.clusters())
