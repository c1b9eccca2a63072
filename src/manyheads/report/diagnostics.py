"""Why sharing does what it does: gradients of tasks against one another, and what a step on one does to another.

These figures explain and never decide: verdicts come from scores alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from manyheads.html.figures.forest import Estimate, forest
from manyheads.html.figures.matrix import Matrix, opposites
from manyheads.html.markup import Html, said
from manyheads.html.numbers import Number, decimal, known, share, signed, significant
from manyheads.html.page import Exhibit, Part, paragraph
from manyheads.html.tables import Column, table, words
from manyheads.report.results import Json, listed, number, numbers, section

LOUD = 4.0
"""A ratio with the deepest shade."""


def why_section(diagnostics: Json, tasks: Sequence[str]) -> list[Part]:
    """Whatever of it there is: cosine, conflict rate and ratio of gradients by layer group, affinity, and pulls."""
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
    return [paragraph("These figures explain: the verdicts come from scores alone."), *parts]


def _pairs(said_of: Json, tasks: Sequence[str]) -> dict[str, Json]:
    """`{"a × b": what is said of a|b}`, the tasks in the order of the key: a ratio is the first over the second."""
    found = {}
    for i, one in enumerate(tasks):
        for other in tasks[i + 1 :]:
            for first, second in ((one, other), (other, one)):
                if said_here := section(said_of, f"{first}|{second}"):
                    found[f"{first} × {second}"] = said_here
    return found


def _cosine(groups: Sequence[str], pairs: dict[str, Json]) -> Exhibit | None:
    cells, rows = [], []
    for name, pair in pairs.items():
        given = [one if isinstance(one, Mapping) else {} for one in listed(pair.get("cosine"))]
        read = [[number(one.get(key)) for key in ("value", "low", "high")] for one in given]
        read += [[None, None, None]] * (len(groups) - len(read))
        cells.append([value for value, _, _ in read[: len(groups)]])
        rows += [
            [said(name), said(group), *(signed(v, 3) if known(v) else "–" for v in one)]
            for group, one in zip(groups, read, strict=False)
        ]
    largest = max((abs(v) for row in cells for v in row if known(v)), default=0.0)
    if not any(known(v) for row in cells for v in row):
        return None
    drawing = opposites(
        Matrix(list(pairs), groups, cells, "pair \\ layers"),
        "Cosine between the gradients of two tasks, by layer group",
        lambda v: signed(v, 2) if known(v) else "–",
        largest=max(largest, 0.1),
    )
    columns = [*words("pair", "layers"), Column("cosine"), Column("from"), Column("to")]
    return Exhibit(
        "Do two tasks pull the shared layers the same way?",
        drawing,
        table("Cosine between mean gradients, corrected for noise by split halves, with its interval.", columns, rows),
        "Cosine of their gradients: +1 the same way, 0 at right angles, −1 against one another.",
    )


def _conflicts(groups: Sequence[str], pairs: dict[str, Json]) -> Exhibit | None:
    return _of_groups(
        groups, pairs, "conflict_rate", "How often do their gradients point against one another?",
        "Share of steps in which the cosine is negative; one half is what chance gives.", share,
        lambda v: 1 - 2 * v,
    )  # fmt: skip


def _ratios(groups: Sequence[str], pairs: dict[str, Json]) -> Exhibit | None:
    return _of_groups(
        groups, pairs, "magnitude_ratio", "Is one task louder than the other?",
        "Ratio of the lengths of their gradients, first over second; far from 1 the louder one decides.",
        lambda v: significant(v, 2), lambda v: math.log(max(v, 1e-9), LOUD),
    )  # fmt: skip


def _of_groups(
    groups: Sequence[str],
    pairs: dict[str, Json],
    key: str,
    title: str,
    note: str,
    shown: Callable[[Number], str],
    measure: Callable[[float], float],
) -> Exhibit | None:
    cells = [[*numbers(pair.get(key)), *[None] * len(groups)][: len(groups)] for pair in pairs.values()]
    if not any(known(v) for row in cells for v in row):
        return None
    matrix = Matrix(list(pairs), groups, cells, "pair \\ layers")
    drawing = opposites(matrix, title, shown, largest=1.0, measure=measure)
    rows = [
        [said(name), *(decimal(v, 3) if known(v) else "–" for v in row)] for name, row in zip(pairs, cells, strict=True)
    ]
    return Exhibit(
        title, drawing, table(note, [*words("pair"), *(Column(said(group)) for group in groups)], rows), note
    )


def _affinity(said_of: Json, tasks: Sequence[str]) -> Exhibit | None:
    """What one step on the row's task does to the loss of the column's."""
    read: dict[tuple[str, str], list[Number]] = {}
    for one in tasks:
        for other in tasks:
            given = section(said_of, f"{one}->{other}")
            if given:
                read[one, other] = [number(given.get(key)) for key in ("value", "low", "high")]
    if not any(known(values[0]) for values in read.values()):
        return None
    cells = [[read.get((one, other), [None])[0] for other in tasks] for one in tasks]
    largest = max(abs(v) for row in cells for v in row if known(v))
    rows: list[list[Html | str]] = [
        [said(one), said(other), *(signed(v, 4) if known(v) else "–" for v in values)]
        for (one, other), values in read.items()
    ]
    return Exhibit(
        "What does a step on one task do to another?",
        opposites(
            Matrix(tasks, tasks, cells, "step on \\ loss of"),
            "Affinity of tasks: a step on the row's task, the loss of the column's",
            lambda v: signed(v, 3) if known(v) else "",
            largest=largest,
        ),
        table(
            "Affinity with its interval.",
            [*words("step on", "loss of"), *map(Column, ("affinity", "from", "to"))],
            rows,
        ),
        "Share of its loss that the column's task gains by a step on the row's alone (Fifty 2021): above zero it is helped.",
    )


def pull_exhibit(said_of: Json, tasks: Sequence[str]) -> Exhibit | None:
    """How fast each task moves what is shared, of its speed alone: `{TASK: {value, low, high}}`; None where none is known."""
    read = {name: [number(section(said_of, name).get(key)) for key in ("value", "low", "high")] for name in tasks}
    known_ones = {name: values for name, values in read.items() if known(values[0])}
    if not known_ones:
        return None
    rows = [
        Estimate(said(name), "", decimal(value, 2), value, low, high)
        for name, (value, low, high) in known_ones.items()
        if known(value)
    ]
    figures = [
        [said(name), *(decimal(v, 3) if known(v) else "–" for v in values)] for name, values in known_ones.items()
    ]
    return Exhibit(
        "How fast does each task move what is shared?",
        forest(rows, "Pull of each task, as a part of its speed alone", axis="part of the speed alone"),
        table("Pull of each task.", [*words("task"), *map(Column, ("pull", "from", "to"))], figures),
        "Norm of a task's weighted gradient over the root of the sum of squares of all. AdamW moves a task alone at 1; "
        "beside tasks of larger gradients it moves more slowly, and one far below the others is held back.",
    )
