"""Further tasks of a source: labels of the same texts in other columns than those of its first task.

Decided here:
- Most columns of a table are no labels. A further task needs a column with a telling name (`sentiment`, `topic`), or one of
  spans, whose values cannot be anything else; and other labels than those of the tasks before it. Numbers are never a
  further task, since they may be counts, years or prices. Tables without a header have one task.
- The tasks of a source are in the order of their columns, which is the same in all splits of a data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from manyheads.data.column_guess import Mapped, is_telling, names_in
from manyheads.data.formats.columns import HUB_TAGS
from manyheads.tasks import TASK_TYPES

if TYPE_CHECKING:
    from manyheads.init.recognition import Reading

INPUTS = frozenset({"text", "text_pair", "tokens", "space_after", "document", "id"})
"""Our columns that hold no labels."""
MOST = 4
"""Further tasks."""

Rows = Sequence[Mapping[str, Any]]
"""The beginning of a source, under its own names."""


@dataclass(frozen=True, slots=True)
class Target:
    """The columns that a reading takes the labels from, under the names of the source, and what it reads them for."""

    inputs: frozenset[tuple[str, str | tuple[str, ...]]]
    """Our columns of the texts, and theirs."""
    labels: Mapped
    """Our columns of the labels: theirs."""

    @staticmethod
    def of(reading: Reading, names: Iterable[str]) -> Target:
        """`names`: the columns of the source. A format with keys of its own has ours, of each form that its rows can have."""
        known = set(names)
        sets = TASK_TYPES[reading.kind].columns
        if reading.guess is not None:
            used: Mapped = reading.guess.columns
        else:
            own = next((columns for columns in sets if known.issuperset(columns)), tuple(chain(*sets)))
            hub = HUB_TAGS in known and "tags" not in known
            used = {name: HUB_TAGS if hub and name == "tags" else name for name in own}
        texts = frozenset((ours, theirs) for ours, theirs in used.items() if ours in ("text", "tokens"))
        return Target(texts, {ours: theirs for ours, theirs in used.items() if ours not in INPUTS})

    def follows(self, first: Target) -> bool:
        """Whether both are labels of the same texts."""
        return bool(self.inputs & first.inputs) and names_in(self.labels).isdisjoint(names_in(first.labels))


def all_labels(
    readings: Sequence[Reading], rows: Rows, again: Callable[[frozenset[str]], Iterable[Reading]]
) -> list[tuple[str, Reading]]:
    """The best of the readings of a source, and readings of other labels of the same texts, each with its column of labels.

    `readings`: the best first. `again`: readings without some of the columns.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = [(Target.of(readings[0], names), readings[0])]
    numbered = any(name.isdecimal() for name in names)
    while found[0][0].inputs and not numbered and len(found) <= MOST:
        taken = frozenset(name for target, _ in found for name in names_in(target.labels))
        others = [*readings[1:], *(again(taken) if _has_candidates(names, taken) else ())]
        fitting = [(Target.of(one, names), one) for one in others if one.statistics.labels]
        fitting = [
            (target, one) for target, one in fitting
            if all(target.follows(other) and _differs(rows, target, other) for other, _ in found) and _is_sure(target)
        ]  # fmt: skip
        if not fitting:
            break
        found.append(max(fitting, key=lambda pair: pair[1].rank))
    labelled = [(next((name for name in names if name in names_in(target.labels)), ""), one) for target, one in found]
    return sorted(labelled, key=lambda pair: names.index(pair[0]) if pair[0] in names else len(names))


def _has_candidates(names: Iterable[str], taken: Iterable[str]) -> bool:
    """Whether a column that is left may hold labels; each further reading of a source takes seconds."""
    left = set(names) - set(taken) - INPUTS
    return any(is_telling(ours, name) for name in left for ours in ("label", "labels", "tags", "entities"))


def _is_sure(target: Target) -> bool:
    """Whether the names, or values that cannot be anything else, say that there are labels."""
    return all(ours in ("entities", "tags") or is_telling(ours, theirs) for ours, theirs in target.labels.items())


def _differs(rows: Rows, one: Target, two: Target) -> bool:
    """Whether the labels of two targets are not names for each other, as numbers and names of classes are."""
    columns = [name for target in (one, two) for name in names_in(target.labels)]
    if len(columns) != 2 or not all(name in row for row in rows for name in columns):
        return True
    pairs = {tuple(str(row[name]) for name in columns) for row in rows}
    return not len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs})
