"""Our columns: their usual names, and how well values fit them.

A test of values gives 0 for values that a column can never hold. The score of a column of the data as one of ours is the
geometric mean of how well its name and its values fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from manyheads.text.spans import check_tag
from manyheads.text.values import spans_of

Values = Sequence[Any]

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
_NUMBERS = re.compile(r"\d{1,5}(,\d{1,5})*", re.ASCII)


def column_score(ours: str, name: str, values: Values) -> float:
    """How well a column of the data suits as ours, 0 to 1."""
    role = ROLES.get(ours)
    fit = role.fits(values) if role is not None and values else UNKNOWN
    return (name_score(ours, name, role.names if role else ()) * fit) ** 0.5


def name_score(ours: str, name: str, usual: Sequence[str]) -> float:
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
