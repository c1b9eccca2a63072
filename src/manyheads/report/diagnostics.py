"""Gradient diagnostics: how the gradients of tasks relate, and how a step on one task changes the loss of another.

They explain a verdict and never decide it: verdicts come from scores alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from manyheads.html.figures.forest import Estimate, forest
from manyheads.html.figures.matrix import Matrix, diverging_matrix
from manyheads.html.markup import Html, user_text
from manyheads.html.numbers import Number, decimal, is_number, share, signed, significant
from manyheads.html.page import Exhibit, Part, paragraph
from manyheads.html.tables import Column, table, words
from manyheads.report.results import Json, listed, number, numbers, section

MAX_RATIO = 4.0
"""Ratio with the deepest shade."""


def why_section(diagnostics: Json, tasks: Sequence[str]) -> list[Part]:
    """Cosine, conflict rate and ratio of gradients by layer group, affinity and pulls, as far as they are known."""
    groups = [str(group) for group in listed(diagnostics.get("groups"))]
    pairs = _pairs(section(diagnostics, "pairs"), tasks)
    parts: list[Part] = []
    if groups and pairs:
        parts += [
            exhibit
            for exhibit in (_cosine(groups, pairs), _conflicts(groups, pairs), _ratios(groups, pairs))
            if exhibit is not None
        ]
    affinity = _affinity(section(diagnostics, "affinity"), tasks)
    if affinity is not None:
        parts.append(affinity)
    pulls = pull_exhibit(section(diagnostics, "pull"), tasks)
    if pulls is not None:
        parts.append(pulls)
    if not parts:
        return []
    return [paragraph("These figures help to explain the verdicts, which come from scores alone."), *parts]


def _pairs(data: Json, tasks: Sequence[str]) -> dict[str, Json]:
    """`{"a × b": data of a|b}`, in the order of the key: a ratio is the first task over the second."""
    found = {}
    for i, one in enumerate(tasks):
        for other in tasks[i + 1 :]:
            for first, second in ((one, other), (other, one)):
                if pair := section(data, f"{first}|{second}"):
                    found[f"{first} × {second}"] = pair
    return found


def _cosine(groups: Sequence[str], pairs: dict[str, Json]) -> Exhibit | None:
    cells, rows = [], []
    for name, pair in pairs.items():
        given = [one if isinstance(one, Mapping) else {} for one in listed(pair.get("cosine"))]
        read = [[number(one.get(key)) for key in ("value", "low", "high")] for one in given]
        read += [[None, None, None]] * (len(groups) - len(read))
        cells.append([value for value, _, _ in read[: len(groups)]])
        rows += [
            [user_text(name), user_text(group), *(signed(v, 3) if is_number(v) else "–" for v in one)]
            for group, one in zip(groups, read, strict=False)
        ]
    largest = max((abs(v) for row in cells for v in row if is_number(v)), default=0.0)
    if not any(is_number(v) for row in cells for v in row):
        return None
    drawing = diverging_matrix(
        Matrix(list(pairs), groups, cells, "pair \\ layers"),
        "Cosine between the gradients of two tasks, by layer group",
        lambda v: signed(v, 2) if is_number(v) else "–",
        largest=max(largest, 0.1),
    )
    columns = [*words("pair", "layers"), Column("cosine"), Column("from"), Column("to")]
    return Exhibit(
        "Do two tasks pull the shared layers in the same direction?",
        drawing,
        table("Cosine between mean gradients, corrected for noise (split halves), with its interval.", columns, rows),
        "Cosine of their gradients: +1 same direction, 0 orthogonal, −1 opposite.",
    )


def _conflicts(groups: Sequence[str], pairs: dict[str, Json]) -> Exhibit | None:
    return _by_group(
        groups, pairs, "conflict_rate", "How often do gradients conflict?",
        "Share of steps with a negative cosine; one half by chance.", share,
        lambda v: 1 - 2 * v,
    )  # fmt: skip


def _ratios(groups: Sequence[str], pairs: dict[str, Json]) -> Exhibit | None:
    return _by_group(
        groups, pairs, "magnitude_ratio", "Does one task dominate the other?",
        "Ratio of gradient norms, first task over second; far from 1, one task dominates.",
        lambda v: significant(v, 2), lambda v: math.log(max(v, 1e-9), MAX_RATIO),
    )  # fmt: skip


def _by_group(
    groups: Sequence[str],
    pairs: dict[str, Json],
    key: str,
    title: str,
    note: str,
    shown: Callable[[Number], str],
    measure: Callable[[float], float],
) -> Exhibit | None:
    cells = [[*numbers(pair.get(key)), *[None] * len(groups)][: len(groups)] for pair in pairs.values()]
    if not any(is_number(v) for row in cells for v in row):
        return None
    matrix = Matrix(list(pairs), groups, cells, "pair \\ layers")
    drawing = diverging_matrix(matrix, title, shown, largest=1.0, measure=measure)
    rows = [
        [user_text(name), *(decimal(v, 3) if is_number(v) else "–" for v in row)]
        for name, row in zip(pairs, cells, strict=True)
    ]
    return Exhibit(
        title, drawing, table(note, [*words("pair"), *(Column(user_text(group)) for group in groups)], rows), note
    )


def _affinity(data: Json, tasks: Sequence[str]) -> Exhibit | None:
    """Effect of one step on the row's task on the loss of the column's task."""
    read: dict[tuple[str, str], list[Number]] = {}
    for one in tasks:
        for other in tasks:
            given = section(data, f"{one}->{other}")
            if given:
                read[one, other] = [number(given.get(key)) for key in ("value", "low", "high")]
    if not any(is_number(values[0]) for values in read.values()):
        return None
    cells = [[read.get((one, other), [None])[0] for other in tasks] for one in tasks]
    largest = max(abs(v) for row in cells for v in row if is_number(v))
    rows: list[list[Html | str]] = [
        [user_text(one), user_text(other), *(signed(v, 4) if is_number(v) else "–" for v in values)]
        for (one, other), values in read.items()
    ]
    return Exhibit(
        "How does a step on one task affect another?",
        diverging_matrix(
            Matrix(tasks, tasks, cells, "step on \\ loss of"),
            "Task affinity: a step on the row's task, the loss of the column's",
            lambda v: signed(v, 3) if is_number(v) else "",
            largest=largest,
        ),
        table(
            "Affinity with its interval.",
            [*words("step on", "loss of"), *map(Column, ("affinity", "from", "to"))],
            rows,
        ),
        "Relative decrease of the column task's loss by a step on the row's task alone (Fifty 2021); positive: it helps.",
    )


def pull_exhibit(data: Json, tasks: Sequence[str]) -> Exhibit | None:
    """Pull of each task on the shared encoder, relative to training alone: `{TASK: {value, low, high}}`; None if unknown."""
    read = {name: [number(section(data, name).get(key)) for key in ("value", "low", "high")] for name in tasks}
    rows = [
        Estimate(user_text(name), "", decimal(value, 2), value, low, high)
        for name, (value, low, high) in read.items()
        if is_number(value)
    ]
    if not rows:
        return None
    figures = [
        [user_text(name), *(decimal(v, 3) if is_number(v) else "–" for v in values)]
        for name, values in read.items()
        if is_number(values[0])
    ]
    return Exhibit(
        "How strongly does each task pull the shared encoder?",
        forest(rows, "Pull of each task, relative to training alone", axis="relative to training alone"),
        table("Pull of each task.", [*words("task"), *map(Column, ("pull", "from", "to"))], figures),
        "Norm of a task's weighted gradient over the root of the sum of squares of all. A task alone has 1; a task far below "
        "the others learns slowly, as AdamW scales its steps by all gradients.",
    )
