"""Warnings about the labels of the training data as a whole: numbers, zeros and ones, or an uneven distribution."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from manyheads.tasks.base import DataStatistics
from manyheads.tasks.text_classification.example import DECIMAL_LABEL

if TYPE_CHECKING:
    from manyheads.tasks.text_classification.task import TextClassification

MANY_NUMBERS = 20
"""This many distinct numbers are more likely to be measurements than labels."""
IMBALANCE = 50
SHOWN = 5
NO_LABEL = frozenset({"nan", "null", "na", "n/a", "#n/a", "<na>", "nat", "-"})
"""In lower case; `-` is that of SNLI."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)


def data_warnings(task: TextClassification, statistics: DataStatistics, rows: int) -> list[str]:
    """Warnings as sentences; `rows`: number of rows read."""
    counts = {label: statistics.labels.get(label, 0) for label in task.labels}
    if not any(counts.values()):
        return []
    warnings = []
    if gone := [label for label in counts if label.lower() in NO_LABEL]:
        warnings.append(f"label {gone[0]!r} has {counts[gone[0]]:,} examples, but usually stands for a missing label; delete "
                        "its rows if it does here")  # fmt: skip
    numbers = [label for label in counts if _NUMBER.fullmatch(label)]
    decimals = [label for label in numbers if not label.lstrip("+-").isdecimal()]
    if DECIMAL_LABEL in statistics.flags or decimals:
        shown = f" such as {decimals[0]!r}" if decimals else ", read as whole numbers"
        warnings.append(
            f"labels are decimal numbers{shown}, and each number is a separate class; use names or whole numbers as "
            f"labels, or give tasks.{task.name} type: sentence-embedding if they score pairs of texts"
        )
    if len(numbers) == len(counts) >= MANY_NUMBERS:
        warnings.append(
            f"all {len(counts)} labels are numbers, and each is a separate class, without an order; if they are "
            "measurements, group them into a few named labels"
        )
    few, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[most] > IMBALANCE * max(counts[few], 1) and task.class_weights in ("auto", "none"):
        warnings.append(
            f"label {most!r} has {counts[most]:,} examples and {few!r} {counts[few]:,}, more than {IMBALANCE} to 1; rare "
            f"labels may never be predicted: set tasks.{task.name}.class_weights: balanced"
        )
    if len(counts) > 1 and task.multi_label and min(counts.values()) == rows:
        warnings.append(
            f"every example has all {len(counts)} labels ({', '.join(list(counts)[:SHOWN])}); if 'labels' is a vector of "
            "zeros and ones, give the names of the labels that apply"
        )
    return warnings
