"""Which columns of unknown data are those that a task expects, guessed from their names and values.

Design:
- Each of our columns has usual names, and a test of values that gives 0 for values it can never hold. A column's score is
  the geometric mean of both.
- Several columns of zeros and ones, one for each label, are our `labels`.
- Of the sets of columns that a task accepts, the one with the best mean score is proposed, and only if every column of it
  is found. A guess is only ever proposed in a message or a generated run file, never used unasked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from typing import Any

from manyheads.text.spans import check_tag
from manyheads.text.values import spans_of

Mapped = Mapping[str, str | tuple[str, ...]]
"""Our column: that of the data, or several that it gathers by name: a column of zeros and ones for each label."""

Sample = Mapping[str, Sequence[Any]]
"""Columns of the data with their first values, without missing ones."""
Values = Sequence[Any]

MOST_ROWS = 100
"""Rows of a sample."""
MOST_COLUMNS = 50
MOST_FLAGS = 200
"""Columns of zeros and ones that are proposed as labels."""
FLAGS = 0.75
"""Their score as our labels."""
LONGEST_VALUE = 1000
LONGEST_LABEL = 60
ONE_WORD = 0.1
"""How well values of one word fit a text."""
CONSTANT = 0.3
"""How well a value that is the same in all rows fits a label: the beginning of a sorted file has one."""
FEW_VALUES = 4
"""So few tell nothing about repetition."""
UNKNOWN = 0.5
"""Score of values of which there are none."""
UNNAMED = 0.25
"""Score of a name that says nothing."""
_IDENTIFIER = re.compile(
    r"(?:.*[^a-z]|pmc|pm|doc|uu|u|g|row|user|item)?(?:ids?|idx|index)|document|split", re.IGNORECASE
)
_NUMBERS = re.compile(r"\d{1,5}(,\d{1,5})*", re.ASCII)
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
            best = found[ours] = max(free, key=lambda name: _score(ours, name, sample[name]))
            total += _score(ours, best, sample[best])
    places = {name: place for place, name in enumerate(sample)}
    for first, second in TEXT_PAIRS:
        one, two = str(found.get(first)), str(found.get(second))
        if {first, second} <= set(found) and places[one] > places[two]:
            names = [_name_score(ours, name, ROLES[ours].names) for ours, name in ((first, one), (second, two))]
            if max(names) <= UNNAMED:
                found[first], found[second] = two, one
    return ColumnGuess(found, total / len(found), _rivals(found, sample))


def _rivals(found: Mapped, sample: Sample) -> tuple[str, ...]:
    """Columns that could be the label as well as the one found, whose name says nothing."""
    if "label" not in found or is_telling("label", found["label"]):
        return ()
    others = [name for name in list(sample)[:MOST_COLUMNS] if name not in names_in(found)]
    return tuple(name for name in others if sample[name] and _score("label", name, sample[name]) >= LEAST)


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
    return not other and _name_score(ours, name, role.names) >= 0.8 and role.fits(values) >= LEAST


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
    return _name_score(ours, theirs, role.names if role is not None else ()) > UNNAMED


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
    names = list(sample)[:MOST_COLUMNS]
    scores = {(ours, name): _score(ours, name, sample[name]) for ours in columns for name in names}
    best: tuple[float, dict[str, str]] = (0.0, {})
    for total, chosen in _assignments(list(columns), names, scores):
        best = max(best, (total, chosen), key=lambda found: found[0])
    total, chosen = best
    return ColumnGuess(chosen, total / len(columns)) if chosen else None


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


def _score(ours: str, name: str, values: Values) -> float:
    role = ROLES.get(ours)
    fit = role.fits(values) if role is not None and values else UNKNOWN
    return (_name_score(ours, name, role.names if role else ()) * fit) ** 0.5


def _name_score(ours: str, name: str, usual: Sequence[str]) -> float:
    """1 for our name, less for usual ones, near ones, and names with a usual one in them."""
    key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    words = [word for word in re.split(r"[^a-z0-9]+", key) if word]
    key = "_".join(words)
    if key == ours:
        return 1.0
    if key in usual:
        return 0.95 - 0.1 * usual.index(key) / len(usual)
    if SequenceMatcher(None, key, ours).ratio() >= 0.8:
        return 0.8
    if ours in words or any(word in usual for word in words):
        return 0.6
    near = any(len(one) > 3 and SequenceMatcher(None, key, one).ratio() >= 0.85 for one in usual)
    return 0.5 if near else UNNAMED


def _all(values: Values, *kinds: type) -> bool:
    return all(type(value) in kinds for value in values)


def _numbers(values: Values) -> list[float] | None:
    """The values as numbers; None if any is none. Cells of csv are strings."""
    try:
        return [float(value) for value in values if not isinstance(value, bool)] or None
    except (TypeError, ValueError):
        return None


def _fits_text(values: Values) -> float:
    if not _all(values, str) or _numbers(values) is not None:
        return 0.0
    if len(values) > FEW_VALUES and len(set(values)) == 1:
        return 0.0
    if not any(" " in value.strip() for value in values if value.isascii()) and all(map(str.isascii, values)):
        return ONE_WORD
    words = sum(len(value.split()) if value.isascii() else len(value) / 3 for value in values) / len(values)
    distinct = len(set(values)) / len(values)
    return min(1.0, 0.2 + 0.2 * words) * (0.4 + 0.6 * distinct)


def _fits_question(values: Values) -> float:
    asked = sum(isinstance(value, str) and value.rstrip()[-1:] in "?？؟" for value in values)
    return _fits_text(values) * (0.6 + 0.4 * asked / len(values))


def _fits_label(values: Values) -> float:
    whole = all(not isinstance(value, float) or value.is_integer() for value in values)
    if not whole or not _all(values, str, int, bool, float) or any(len(str(value)) > LONGEST_LABEL for value in values):
        return 0.0
    distinct = len({str(value).strip() for value in values})
    repeated = 1.0 if len(values) <= FEW_VALUES else CONSTANT if distinct == 1 else 1 - distinct / (len(values) + 1)
    words = sum(len(str(value).split()) for value in values) / len(values)
    single = 0.5 if _fits_labels(values) else 1.0
    return single * repeated * min(1.0, 2 / max(words, 1))


def _fits_labels(values: Values) -> float:
    if _all(values, list):
        inner = [item for value in values for item in value]
        return 0.9 * _fits_label(inner) if inner and _all(inner, str) else 0.0
    if not _all(values, str):
        return 0.0
    if all(_NUMBERS.fullmatch(value) for value in values) and any("," in value for value in values):
        return 0.8
    parts = [part.strip() for value in values for part in value.split("|")]
    return 0.8 * _fits_label(parts) if len(parts) > len(values) else 0.0


def _fits_tokens(values: Values) -> float:
    inner = [item for value in values if isinstance(value, list) for item in value]
    words = bool(inner) and _all(values, list) and _all(inner, str)
    return 0.9 * (1 - 0.8 * _share_of_tags(inner)) if words else 0.0


def _fits_tags(values: Values) -> float:
    inner = [item for value in values if isinstance(value, list) for item in value]
    if not inner or not _all(values, list):
        return 0.0
    if _all(inner, int):
        return 0.8
    return 0.3 + 0.7 * _share_of_tags(inner) if _all(inner, str) else 0.0


def _share_of_tags(values: Values) -> float:
    return sum(isinstance(value, str) and check_tag(value) is None for value in values) / max(1, len(values))


def _fits_entities(values: Values) -> float:
    lists = list(map(spans_of, values))
    inner = [item for value in lists if isinstance(value, list) for item in value]
    spans = all(isinstance(item, Mapping) and {"start", "end", "label"} <= set(item) for item in inner)
    return 1.0 if inner and spans and _all(lists, list) else 0.0


def _fits_objects(values: Values) -> float:
    return 1.0 if _all(values, list) else 0.0


def _fits_answers(values: Values) -> float:
    inner = [item for value in values for item in (value if isinstance(value, list) else [value])]
    known = all(isinstance(item, Mapping) and "text" in item and {"start", "answer_start"} & set(item) for item in inner)
    return 1.0 if inner and known else 0.0


def _fits_number(values: Values) -> float:
    numbers = _numbers(values)
    if numbers is None or len(numbers) < len(values):
        return 0.0
    counted = len(numbers) > FEW_VALUES and numbers == [numbers[0] + i for i in range(len(numbers))]
    return 0.1 if counted else 0.9 if any(number % 1 for number in numbers) else 0.7


@dataclass(frozen=True, slots=True)
class _Role:
    """What is known of one of our columns."""

    names: Sequence[str]
    """Usual names, the most usual first; `_` separates words."""
    fits: Callable[[Values], float]


TEXT_PAIRS = (("text", "text_pair"), ("text_a", "text_b"))
PAIRED = {second: first for first, second in TEXT_PAIRS}
OTHERS = frozenset({"document", "id", "title", "idx", "index", "split"})
"""Names that mean something else."""
FIRST = ("sentence1", "sentence_1", "text1", "text_1", "premise", "anchor", "query", "question", "question1", "sentence_a",
         "s1", "first", "source", "sent1", "title")  # fmt: skip
SECOND = ("sentence2", "sentence_2", "text2", "text_2", "hypothesis", "positive", "passage", "answer", "question2",
          "sentence_b", "s2", "second", "target", "sent2", "document", "context", "paraphrase")  # fmt: skip
SCORES = ("score", "similarity", "similarity_score", "relatedness", "relatedness_score", "value", "target", "label", "y",
          "grade")  # fmt: skip
TEXTS = ("sentence", "content", "body", "review", "document", "comment", "utterance", "message", "tweet", "abstract", "post",
         "description", "input", "query", "question", "premise", "passage", "title", "data", "txt", "raw")  # fmt: skip
LABELS = ("category", "class", "labels", "target", "intent", "sentiment", "topic", "label_text", "type", "tag", "emotion",
          "gold", "gold_label", "y", "annotation", "relation", "stance", "rating", "stars", "overall", "answer", "queue",
          "department", "priority", "urgency")  # fmt: skip
TAGS = ("ner_tags", "ner", "labels", "bio", "iob", "ner_labels", "entities", "pos_tags", "pos", "upos", "label", "tag")
PASSAGES = ("passage", "paragraph", "document", "doc", "article", "text", "evidence", "abstract", "snippet")
ROLES: Mapping[str, _Role] = {
    "text": _Role(TEXTS, _fits_text),
    "text_pair": _Role(SECOND, _fits_text),
    "label": _Role(LABELS, _fits_label),
    "labels": _Role(("label", "categories", "classes", "tags", "topics", "emotions", "genres", "targets"), _fits_labels),
    "tokens": _Role(("words", "sentence", "text", "tokenized_text", "token", "forms", "sent"), _fits_tokens),
    "tags": _Role(TAGS, _fits_tags),
    "entities": _Role(("spans", "annotations", "mentions", "ner", "labels", "label"), _fits_entities),
    "question": _Role(("query", "q", "body", "ask"), _fits_question),
    "context": _Role(PASSAGES, _fits_text),
    "answer": _Role(("answer_text", "answers", "response", "gold", "span", "a"), _fits_text),
    "answers": _Role(("answer", "gold", "spans", "label", "labels"), _fits_answers),
    "text_a": _Role(FIRST, _fits_text),
    "text_b": _Role(SECOND, _fits_text),
    "negative": _Role(("negatives", "hard_negative", "neg"), _fits_text),
    "query": _Role(("question", "q", "search"), _fits_question),
    "passage": _Role(PASSAGES, _fits_text),
    "passages": _Role(("documents", "candidates"), _fits_objects),
    "negatives": _Role(("negative", "hard_negatives"), _fits_objects),
    "positive": _Role(("relevant", "positives"), _fits_text),
    "score": _Role(SCORES, _fits_number),
    "value": _Role((*SCORES, "rating", "stars", "overall"), _fits_number),
}


def _written(names: str | tuple[str, ...]) -> str:
    """A name, or several, as YAML has them within braces."""
    return _quoted(names) if isinstance(names, str) else f"[{', '.join(map(_quoted, names))}]"


def _quoted(name: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*( [\w.-]+)*", name) and name.lower() not in _YAML_WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)


_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
