"""Which columns of unknown data are those that a task expects, guessed from their names and values.

Design:
- Each of our columns has usual names, and a test of values (`column_roles.py`).
- Several columns of zeros and ones, one for each label, are our `labels`.
- Of the sets of columns that a task accepts, the one with the best mean score is proposed, and only if every column of it
  is found. A guess is only ever proposed in a message or a generated run file, never used unasked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from manyheads.data.column_roles import OTHERS, PAIRED, ROLES, TEXT_PAIRS, UNNAMED, Values, column_score, name_score

Mapped = Mapping[str, str | tuple[str, ...]]
"""Our column: that of the data, or several that it gathers by name: a column of zeros and ones for each label."""

Sample = Mapping[str, Sequence[Any]]
"""Columns of the data with their first values, without missing ones."""

MOST_ROWS = 100
"""Rows of a sample."""
MOST_COLUMNS = 50
MOST_FLAGS = 200
"""Columns of zeros and ones that are proposed as labels."""
FLAGS = 0.75
"""Their score as our labels."""
LONGEST_VALUE = 1000
_IDENTIFIER = re.compile(
    r"(?:.*[^a-z]|pmc|pm|doc|uu|u|g|row|user|item)?(?:ids?|idx|index)|document|split", re.IGNORECASE
)
LEAST = 0.3
"""Score of a column that can be proposed: values of 0.36 under a name that says nothing, or of 0.1 under a usual one."""


@dataclass(frozen=True, slots=True)
class ColumnGuess:
    """A proposed mapping."""

    columns: Mapped
    """Our column: that of the data, or those of the data that it gathers."""
    score: float
    """From 0 to 1, for comparing the guesses of several tasks."""
    rivals: tuple[str, ...] = ()
    """Other columns that may hold the labels, where the name of the one proposed does not say that it does."""

    @property
    def renames(self) -> dict[str, str | tuple[str, ...]]:
        """The columns whose names differ."""
        return {ours: theirs for ours, theirs in self.columns.items() if ours != theirs}

    def __str__(self) -> str:
        """As a run file has it: `{text: sentence, label: category}`."""
        return "{" + ", ".join(f"{ours}: {_written(theirs)}" for ours, theirs in self.renames.items()) + "}"


def guess_columns(expected: Iterable[Sequence[str]], sample: Sample, optional: Sequence[str] = ()) -> ColumnGuess | None:
    """The columns of the sample that are probably one of the expected sets; None if none is found whole.

    >>> rows = {"sentence": ["It broke.", "It works well."], "category": ["bad", "good"]}
    >>> str(guess_columns([("text", "label"), ("text", "labels")], rows))
    '{text: sentence, label: category}'
    """
    found = [guess for columns in expected if (guess := guess_all_columns(columns, optional, sample)) is not None]
    return max(found, key=lambda guess: guess.score, default=None)


def guess_all_columns(columns: Sequence[str], optional: Sequence[str], sample: Sample) -> ColumnGuess | None:
    """The columns of the sample that are probably an expected set, with optional ones that are easily told; None as above.

    An optional column needs a usual name, or, among columns that have numbers for names, values that fit well. Of two texts
    in columns whose names say nothing, the first column is the first text.

    >>> pairs = {"1": ["a b", "b c"], "2": ["A man is here.", "It is raining."], "3": ["Somebody is here.", "It is dry."]}
    >>> str(guess_all_columns(["text_a", "text_b"], [], {"2": pairs["3"], "3": pairs["2"]}))
    '{text_a: "2", text_b: "3"}'
    """
    sample = {name: values for name, values in sample.items() if name in columns or not is_identifier(name)}
    guess = _assigned(columns, sample)
    if guess is None:
        return None
    found, total = dict(guess.columns), guess.score * len(columns)
    for ours in optional:
        others = [name for name in list(sample)[:MOST_COLUMNS] if name not in names_in(found)]
        free = [name for name in others if _is_told(ours, name, sample[name], found)]
        if free:
            best = found[ours] = max(free, key=lambda name: column_score(ours, name, sample[name]))
            total += column_score(ours, best, sample[best])
    places = {name: place for place, name in enumerate(sample)}
    for first, second in TEXT_PAIRS:
        one, two = str(found.get(first)), str(found.get(second))
        if {first, second} <= set(found) and places[one] > places[two]:
            names = [name_score(ours, name, ROLES[ours].names) for ours, name in ((first, one), (second, two))]
            if max(names) <= UNNAMED:
                found[first], found[second] = two, one
    return ColumnGuess(found, total / len(found), _rivals(found, sample))


def _rivals(found: Mapped, sample: Sample) -> tuple[str, ...]:
    """Columns that could be the label as well as the one found, whose name says nothing."""
    if "label" not in found or is_telling("label", found["label"]):
        return ()
    others = [name for name in list(sample)[:MOST_COLUMNS] if name not in names_in(found)]
    return tuple(name for name in others if sample[name] and column_score("label", name, sample[name]) >= LEAST)


def is_identifier(name: str) -> bool:
    """Whether a column's name says that it holds identifiers, and not labels either.

    >>> is_identifier("query-id"), is_identifier("Class Index")
    (True, False)
    """
    return _IDENTIFIER.fullmatch(name) is not None and not is_telling("label", name)


def _is_told(ours: str, name: str, values: Values, found: Mapped) -> bool:
    """Whether a column is easily told to be an optional one of ours, beside those found."""
    role = ROLES.get(ours)
    if role is None or not values:
        return name == ours
    first = PAIRED.get(ours, "")
    if first in found and "1" in str(found[first]) and str(found[first]).replace("1", "2") == name:
        return role.fits(values) >= LEAST
    if name.isdecimal():
        return role.fits(values) >= 0.5
    other = name != ours and (name in ROLES or name in OTHERS)
    return not other and name_score(ours, name, role.names) >= 0.8 and role.fits(values) >= LEAST


def names_in(columns: Mapped) -> set[str]:
    """The columns of the data in a mapping."""
    return {name for theirs in columns.values() for name in ([theirs] if isinstance(theirs, str) else theirs)}


def is_telling(ours: str, theirs: str | tuple[str, ...]) -> bool:
    """Whether a column's name says that it is ours: it has a usual name, or one with it in it. Several columns say it.

    >>> is_telling("label", "sentiment"), is_telling("label", "main_topic"), is_telling("label", "language")
    (True, True, False)
    """
    if not isinstance(theirs, str):
        return True
    role = ROLES.get(ours)
    return name_score(ours, theirs, role.names if role is not None else ()) > UNNAMED


def zeros_and_ones(sample: Sample) -> tuple[str, ...]:
    """The columns of zeros and ones alone, or else of true and false, if they are probably one for each label.

    Where only some have a name that says they are the label (`sentiment`), the others are something else.

    >>> zeros_and_ones({"text": ["It broke."], "toxic": ["0", "1"], "rude": [0.0, 1.0], "id": [1, 2]})
    ('toxic', 'rude')
    """
    for flags in ({"0", "1", "0.0", "1.0"}, {"true", "false"}):
        found = tuple(name for name, values in sample.items() if values and name.lower() not in OTHERS
                      and {str(value).strip().lower() for value in values} <= flags)  # fmt: skip
        ones = {name for name in found if {str(value).strip().lower() for value in sample[name]} - {"0", "0.0", "false"}}
        if ones and 1 < len(found) <= MOST_FLAGS and len({is_telling("label", name) for name in found}) == 1:
            return found
    return ()


def sample_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The first MOST_ROWS rows as a sample; long values are cut."""
    found: dict[str, list[Any]] = {}
    for row in islice(rows, MOST_ROWS):
        for name, value in row.items():
            column = found.setdefault(str(name), [])
            if value is not None and value != "":
                column.append(value[:LONGEST_VALUE] if isinstance(value, str | list) else value)
    return found


def _assigned(columns: Sequence[str], sample: Sample) -> ColumnGuess | None:
    """The best assignment of the sample's columns to a set of ours."""
    if "labels" in columns and (flags := zeros_and_ones(sample)):
        others = [ours for ours in columns if ours != "labels"]
        rest = _assigned(others, {name: values for name, values in sample.items() if name not in flags})
        if rest is not None:
            return ColumnGuess({**rest.columns, "labels": flags}, (rest.score * len(others) + FLAGS) / len(columns))
    if {"tokens", "tags"} <= set(columns):
        sample = _with_words(sample)
    names = list(sample)[:MOST_COLUMNS]
    scores = {(ours, name): column_score(ours, name, sample[name]) for ours in columns for name in names}
    best: tuple[float, dict[str, str]] = (0.0, {})
    for total, chosen in _assignments(list(columns), names, scores):
        best = max(best, (total, chosen), key=lambda found: found[0])
    total, chosen = best
    return ColumnGuess(chosen, total / len(columns)) if chosen else None


def _with_words(sample: Sample) -> Sample:
    """The sample, with lists for texts of as many words in each row as in those of another column: words and their tags."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, values in list(sample.items())[:MOST_COLUMNS]:
        if values and all(isinstance(value, str) and len(value) < LONGEST_VALUE for value in values):
            alike.setdefault(tuple(len(value.split()) for value in values), []).append(name)
    found = {name for counts, names in alike.items() if len(names) > 1 and max(counts) > 1 for name in names}
    return {name: [value.split() for value in values] if name in found else values for name, values in sample.items()}


def _assignments(
    columns: Sequence[str], names: Sequence[str], scores: Mapping[tuple[str, str], float]
) -> Iterator[tuple[float, dict[str, str]]]:
    """Every way to give each of our columns one of the five names that suit it best, with the sum of scores."""
    if not columns:
        yield 0.0, {}
        return
    ours, *rest = columns
    suited = sorted((name for name in names if scores[ours, name] >= LEAST), key=lambda name: -scores[ours, name])[:5]
    for name in suited:
        for total, chosen in _assignments(rest, [other for other in names if other != name], scores):
            yield total + scores[ours, name], {ours: name, **chosen}


def _written(names: str | tuple[str, ...]) -> str:
    """A name, or several, as YAML has them within braces."""
    return _quoted(names) if isinstance(names, str) else f"[{', '.join(map(_quoted, names))}]"


def _quoted(name: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*( [\w.-]+)*", name) and name.lower() not in _YAML_WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)


_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
