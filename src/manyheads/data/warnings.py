"""Warnings about data that can be trained on but is probably wrong, each with what to do.

A warning never stops a run. A label with one example, or one found in validation but not in training, is nearly always a
typo, but real data has such labels too: they are counted, and scored as misses.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from manyheads.data.formats.messages import counted, did_you_mean
from manyheads.data.report import ReadReport
from manyheads.data.table import ExampleTable
from manyheads.tasks.base import ExampleWarning, Task

FEW_ROWS = 50
"""Validation scores on fewer rows are mostly chance."""
FEW_STEPS = 100
SET_ASIDE = "set aside for validation"
"""The reason why training rows are skipped that `validation_fraction` takes."""
MANY_NUMBERS = 20
"""Rare labels that are checked for typos, and the number of scores from which outliers are reported."""
FEW_UNANSWERABLE = 0.05
SHOWN = 5
FAR_OUT = 3.0
"""A score is an outlier if it is this many times further from the median than 99 % of the others."""
IGNORED = frozenset("\"'`_- \t\u200b\ufeff")
_SEPARATORS = re.compile(r"\s*[,;/]\s*")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A split, read and checked."""

    table: ExampleTable[Any]
    report: ReadReport


def warnings_of(splits: Mapping[str, Loaded]) -> dict[str, list[str]]:
    """Warnings on each split of one task."""
    train = splits.get("train")
    found = {}
    for split, loaded in splits.items():
        task, report = loaded.table.task, loaded.report
        warnings = list(report.warnings)
        if split == "train":
            warnings += label_warnings(task, report)
            warnings += [*task.data_warnings(report.statistics, report.used), *_unanswerable(report)]
        elif train is not None and split != "replay":
            warnings += unseen_labels(task, report) + _shared(train.table, loaded.table)
        if split == "validation" and len(loaded.table) < FEW_ROWS:
            aside = train is not None and SET_ASIDE in train.report.skipped
            raised = f"raise tasks.{task.name}.validation_fraction, or " if aside else ""
            warnings.insert(
                0,
                f"{counted(len(loaded.table), 'example')}, so scores depend on chance; {raised}name a larger file under "
                f"tasks.{task.name}.data.validation",
            )
        found[split] = [*warnings, *_far_out(loaded), *example_warnings(loaded.table)]
    return found


def example_warnings(table: ExampleTable[Any]) -> list[str]:
    """Warnings about single examples: a sentence for each kind, with its count and the first place."""
    counts: Counter[str] = Counter()
    first: dict[str, tuple[str, ExampleWarning]] = {}
    if type(table.task).example_warnings is Task.example_warnings:  # not overridden: no need to read the examples
        return []
    for index, example in enumerate(table):
        for warning in table.task.example_warnings(example):
            counts[warning.problem] += 1
            first.setdefault(warning.problem, (table.where(index), warning))
    return [
        f"{counts[what]:,} {what}, the first at {where}: {warning.detail}" + (f"; {warning.advice}" if warning.advice else "")
        for what, (where, warning) in first.items()
    ]


def step_warnings(steps: int, key: str, recipe: Sequence[str]) -> list[str]:
    """A warning if a run has few steps by its own settings. None for a run without steps, `freeze: all`.

    `key`: the one below `training` that the number follows from. `recipe`: lines on the settings that the recipe chose; it
    makes few steps of few rows, and does well with them (docs/quality.md).
    """
    if steps == 0 or steps >= FEW_STEPS or any(line.startswith("recipe: epochs: ") for line in recipe):
        return []
    return [
        f"training has {counted(steps, 'step')}, fewer than {FEW_STEPS}, in which little is learned; raise training.{key}"
        + (", or lower training.tokens_per_step" if key == "epochs" else "")
    ]


def label_warnings(task: Task[Any], report: ReadReport) -> list[str]:
    """Warnings about labels in training data that have no example or one, or look like typos."""
    counts = report.statistics.labels
    known: Sequence[str] = getattr(task, "labels", ())
    warnings = _without_examples(task, [label for label in dict.fromkeys([*known, *report.offered]) if not counts.get(label)])
    single = [label for label in known if counts.get(label) == 1]
    warnings += [
        f"{_at(report, label)}label {label!r} has 1 example, from which little is learned; add examples, or correct or "
        "remove the row"
        for label in single[:SHOWN]
    ]
    if len(single) > SHOWN:
        warnings.append(f"{len(single) - SHOWN} more labels have 1 example each")
    return warnings + _alike(known, report) + _several_in_one(known, report, lists=getattr(task, "multi_label", False))


def _without_examples(task: Task[Any], absent: Sequence[str]) -> list[str]:
    """A warning about labels that the run file lists, or that have a column, and that no training row has."""
    if not absent or getattr(task, "by_name", False):  # these need no rows
        return []
    names = ", ".join(map(repr, absent[:SHOWN])) + (f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else "")
    what, it = ("1 label", "it") if len(absent) == 1 else (f"{len(absent):,} labels", "them")
    return [f"task '{task.name}' does not learn {what} that no training row has: {names}; add rows with {it}, or leave {it} "
            "out"]  # fmt: skip


def _unanswerable(report: ReadReport) -> list[str]:
    """A warning about a few questions without answers among many that have some."""
    without, others = report.statistics.labels.get("unanswerable", 0), report.statistics.labels.get("answerable", 0)
    if not 0 < without <= FEW_UNANSWERABLE * others:
        return []
    return [
        f"{_at(report, 'unanswerable')}{without:,} of {without + others:,} questions have no answers and teach the model to "
        "give none; add their answers, or more questions without any"
    ]


def unseen_labels(task: Task[Any], report: ReadReport) -> list[str]:
    """A warning about labels that training data lacks: no answer can be right on them."""
    if not hasattr(task, "labels"):
        return []
    unseen = [label for label in report.statistics.labels if label not in task.label_places]
    if not unseen:
        return []
    names = ", ".join(_shown([label], report) + _hint(label, task.label_names) for label in unseen[:SHOWN])
    more = f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
    return [f"labels that are not in the training data: {names}{more}; they are scored as misses: correct them, or add "
            "examples to train"]  # fmt: skip


def _shown(labels: Sequence[str], report: ReadReport) -> str:
    """Labels with their counts and first places."""
    counts, places = report.statistics.labels, report.places
    return ", ".join(f"{label!r} ({counts.get(label, 0):,}, the first at {places.get(label, '?')})" for label in labels)


def _hint(label: str, known: Sequence[str]) -> str:
    hint = did_you_mean(label, known).strip()
    return f", {hint}" if hint else ""


def _alike(known: Sequence[str], report: ReadReport) -> list[str]:
    """Warnings about labels that differ in form alone, or are probably typos of others."""
    forms: dict[str, list[str]] = {}
    for label in known:
        forms.setdefault(_form(label), []).append(label)
    warnings = []
    for same in forms.values():
        if len(same) > 1:
            warnings.append(
                f"labels that differ by case, white space or form alone: {_shown(same, report)}; each is a label of its own, "
                "so correct them if they mean the same"
            )
    labels = report.statistics.labels
    typos = _typos(known, labels)
    return warnings + [f"{_at(report, rare)}label {rare!r} ({labels[rare]:,}) is nearly {usual!r} "
                       f"({labels[usual]:,}); correct it if it is a typo" for rare, usual in typos]  # fmt: skip


def _typos(known: Sequence[str], counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Rare labels that are about one letter away from a frequent one."""
    rare = [label for label in known if 1 < counts.get(label, 0) <= 3 and len(label) > 3][:MANY_NUMBERS]
    usual = [label for label in known if counts.get(label, 0) > 3]
    return [(one, other) for one in rare for other in usual
            if not one.isdecimal() and counts[other] >= 10 * counts[one]
            and SequenceMatcher(None, one, other).ratio() > 0.8]  # fmt: skip


def _several_in_one(known: Sequence[str], report: ReadReport, *, lists: bool) -> list[str]:
    """A warning about a label that is several others with a separator between them; in `lists`, if it shares one of them."""
    cut = {label: parts for label in known if len(parts := _SEPARATORS.split(label)) > 1}
    names, shared = set(known), Counter(part for parts in cut.values() for part in parts)
    for label, parts in cut.items():
        if names.issuperset(parts) or (lists and any(shared[part] > 1 or part in names for part in parts)):
            return [
                f"{_at(report, label)}label {label!r} looks like several labels; in csv they are separated by | in a "
                "column 'labels', in JSON they are a list"
            ]
    return []


def _form(label: str) -> str:
    """A label normalised for comparison: without case, white space, quotes and dashes; numbers in one notation."""
    number = _number(label.strip("\"' "))
    if number is not None:
        return f"{number:g}"
    return "".join(c for c in unicodedata.normalize("NFKC", label).casefold() if c.isalnum() or c not in IGNORED)


def _number(label: str) -> float | None:
    return float(label) if re.fullmatch(r"[+-]?\d+(\.\d*)?", label, re.ASCII) else None


def _at(report: ReadReport, label: str) -> str:
    place = report.places.get(label)
    return f"{place}: " if place else ""


def _far_out(loaded: Loaded) -> list[str]:
    """A warning about a score far outside of all others."""
    if "score" not in loaded.report.statistics.numbers or len(loaded.table) < MANY_NUMBERS:
        return []
    moments = (loaded.table.task.collect(example).numbers.get("score") for example in loaded.table)
    found = [None if one is None else one.mean for one in moments]
    score_N = np.array([np.nan if score is None else score for score in found])
    middle = float(np.nanmedian(score_N))
    distance_N = np.nan_to_num(np.abs(score_N - middle))
    worst = int(distance_N.argmax())
    usual = float(np.sort(distance_N)[: -max(1, len(distance_N) // 100)].max())
    if not usual or distance_N[worst] <= FAR_OUT * usual:
        return []
    return [f"{loaded.table.where(worst)}: score {found[worst]:g} lies far from all others, which are within {usual:g} of "
            f"{middle:g}; correct it if it is a typo"]  # fmt: skip


def _shared(train: ExampleTable[Any], other: ExampleTable[Any]) -> list[str]:
    """A warning about examples of another split with the same texts as some of train."""
    both_N = np.flatnonzero(np.isin(other.digests(), train.digests()))
    if not len(both_N):
        return []
    return [
        f"{len(both_N):,} of {len(other):,} examples have the same text as one of train, "
        f"the first at {other.where(int(both_N[0]))}; they inflate the scores"
    ]
