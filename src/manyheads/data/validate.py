"""The contents of a dataset and problems with it, before training.

Data that can be trained on but is probably wrong gets a warning (`data/warnings.py`). Texts longer than the encoder are read
in overlapping windows, and counted here. Only training may leave out windows, beyond a given number; those examples count as
truncated. A function that is passed in counts tokens, so this module is independent of tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.data.report import Skipped
from manyheads.data.table import ExampleTable
from manyheads.data.warnings import Loaded, warnings_of
from manyheads.text.pack import Source

if TYPE_CHECKING:
    import numpy.typing as npt

WindowLengths = Callable[[Sequence[Source]], Sequence[Sequence[int]]]
"""For each source, the tokens of each of its windows."""

MEASURED_AT_ONCE = 1000
LABELS_SHOWN = 20


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Sizes of the N examples of a table."""

    tokens_N: npt.NDArray[np.int32]
    """Tokens in all windows of all texts of an example: the cost of training on it, and the lengths for `Stream`."""
    windows_N: npt.NDArray[np.int32]
    """Windows of the longest text of an example; more than 1 if it does not fit into the encoder."""

    @property
    def windowed(self) -> int:
        """Examples with a text longer than the encoder."""
        return int((self.windows_N > 1).sum())


@dataclass(frozen=True, slots=True)
class SplitReport:
    """The contents of one split of one task."""

    task: str
    split: str
    rows: int
    used: int
    skipped: Mapping[str, Skipped]
    """By reason."""
    truncated: int
    """Examples with a text of more windows than training reads."""
    windowed: int
    """Examples with a text that is read in several windows."""
    labels: Mapping[str, int]
    """Most frequent first."""
    tokens: Mapping[str, int]
    """Percentiles of the tokens of an example: p50, p90, p99, max."""
    warnings: tuple[str, ...] = ()
    left_out: Mapping[str, Skipped] = field(default_factory=dict)
    """Parts of used rows that the task has no place for, by kind."""
    formats: tuple[str, ...] = ()
    """Titles of the files' formats."""
    example_noun: str = "examples"
    part_noun: str = ""
    """Of the labelled parts of an example, if it has several."""

    def lines(self) -> list[str]:
        """The report as aligned text."""
        parts = f"{self.example_noun} with {sum(self.labels.values()):,} {self.part_noun}" if self.part_noun else ""
        rows = [
            ("rows read", self.rows, ""),
            ("used", self.used, parts),
            ("truncated", self.truncated, "too long for a step, read up to its limit" if self.truncated else ""),
            ("windowed", self.windowed, "longer than the encoder, read in overlapping windows" if self.windowed else ""),
        ]
        for reason, skip in self.skipped.items():
            rows.append(("skipped", skip.count, f"{reason}, the first at {skip.where}"))
        for what, part in self.left_out.items():
            rows.append(("left out", part.count, f"{what}, the first at {part.where}"))
        width = max(len(f"{count:,}") for _, count, _ in rows)
        lines = [f"{self.task} · {self.split}"]
        lines += [f"  {'format':<10} {', '.join(self.formats)}"] if self.formats else []
        lines += [f"  {name:<10} {count:>{width},}  {note}".rstrip() for name, count, note in rows]
        lines.append("  " + f"{'tokens':<10} " + " · ".join(f"{name} {count:,}" for name, count in self.tokens.items()))
        if self.labels:
            shown = [f"{label} {count:,}" for label, count in list(self.labels.items())[:LABELS_SHOWN]]
            more = len(self.labels) - len(shown)
            lines.append("  " + f"{'labels':<10} " + " · ".join(shown) + (f" · and {more} more" if more else ""))
        return lines + [f"  {'warning':<10} {warning}" for warning in self.warnings]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "task": self.task, "split": self.split, "rows": self.rows, "used": self.used, "truncated": self.truncated,
            "windowed": self.windowed, "labels": dict(self.labels), "tokens": dict(self.tokens),
            "skipped": {reason: {"count": skip.count, "first": skip.where} for reason, skip in self.skipped.items()},
            "left_out": {what: {"count": part.count, "first": part.where} for what, part in self.left_out.items()},
            "warnings": list(self.warnings), "formats": list(self.formats),
        }  # fmt: skip


def measure(table: ExampleTable[Any], window_lengths: WindowLengths) -> Measured:
    """Tokens and windows of every example. Holds at most a thousand examples in memory."""
    tokens_N = np.zeros(len(table), np.int32)
    windows_N = np.zeros(len(table), np.int32)
    for start in range(0, len(table), MEASURED_AT_ONCE):
        asked = [table.task.sources_of_example(table[i]) for i in range(start, min(start + MEASURED_AT_ONCE, len(table)))]
        lengths = iter(window_lengths([entry.source for inputs in asked for entry in inputs]))
        for index, inputs in enumerate(asked, start):
            windows = [next(lengths) for _ in inputs]
            tokens_N[index] = sum(map(sum, windows))
            windows_N[index] = max(map(len, windows))
    return Measured(tokens_N, windows_N)


def examine(
    splits: Mapping[str, Loaded], measured: Mapping[str, Measured], *, windows_trained: int | None = None
) -> list[SplitReport]:
    """A report with warnings on each split of one task.

    Training reads the first `windows_trained` windows of a text (None: all).
    """
    warnings = warnings_of(splits)
    reports = []
    for split, loaded in splits.items():
        task, read, size = loaded.table.task, loaded.report, measured[split]
        labels = dict(sorted(read.statistics.labels.items(), key=lambda pair: (-pair[1], pair[0])))
        quantiles = [*np.percentile(size.tokens_N, (50, 90, 99), method="higher"), size.tokens_N.max()]
        truncated = 0
        if split == "train":
            truncated = int((size.windows_N > windows_trained).sum()) if windows_trained else 0
        reports.append(
            SplitReport(
                task=task.name,
                split=split,
                rows=read.rows,
                used=read.used,
                skipped=read.skipped,
                truncated=truncated,
                windowed=size.windowed,
                labels=labels,
                warnings=tuple(warnings[split]),
                left_out=read.left_out,
                formats=read.formats,
                example_noun=task.example_noun,
                part_noun=task.part_noun,
                tokens=dict(zip(("p50", "p90", "p99", "max"), map(int, quantiles), strict=True)),
            )
        )
    return reports


def overview(reports: Sequence[SplitReport]) -> list[str]:
    """A table with a heading and a row for each split of all tasks."""
    head = ["task", "split", "rows", "used", "truncated", "windowed", "skipped", "labels", "p50", "p90", "p99", "max"]
    table = [head]
    for report in reports:
        skipped = sum(skip.count for skip in report.skipped.values())
        counts = [report.rows, report.used, report.truncated, report.windowed, skipped, len(report.labels),
                  *report.tokens.values()]  # fmt: skip
        table.append([report.task, report.split, *(f"{count:,}" for count in counts)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
