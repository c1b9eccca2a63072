"""Parsing of values in data files: booleans, keys, labels, numbers, and class names.

Data passes through csv, pandas and the hub before it gets here, and arrives as `"False"`, NaN, `1.0` or `"['bad']"`.

Rules, the same for training, prediction and scoring:
- None, NaN and blank strings are missing values. 0 and False are values like any other.
- Unambiguous values are accepted in any form; ambiguous ones are refused with what to write instead.
- White space around names (labels, ids, documents) is ignored. Texts are unchanged, because offsets point into them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from manyheads.errors import RowError

_TRUE, _FALSE = frozenset({"true", "yes", "1", "1.0"}), frozenset({"false", "no", "0", "0.0"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ITEM = re.compile(r"""\s*(?:'([^'\\]*)'|"([^"\\]*)"|([+-]?[\d.]+))\s*(,|$)""")
"""An item of a printed Python list, a string or a number, with the following comma."""
_NUMBERS = re.compile(r"\s*\d{1,5}(?:,\d{1,5})+\s*", re.ASCII)
_LIST_LIKE = re.compile(r"""['",]|\d""")
"""Distinguishes a printed list from a name in brackets, as in `[OTHER]`."""
NEEDED = frozenset({"text", "text_a", "text_b", "label", "labels", "question", "context", "answers", "id", "title"})
"""Keys that are never taken for the misspelling of another."""
NO_CLASS = -1
"""The hub's sign for "no gold label"."""


def is_missing(value: object) -> bool:
    """Whether a value is None, NaN, or a blank string."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def first_given(*values: Any) -> Any:
    """The first value that is not missing; None if all are."""
    return next((value for value in values if not is_missing(value)), None)


def did_you_mean(name: str, known: Iterable[str], least: float = 0.5) -> str:
    """A hint at the nearest known name, to append to a message; empty if none is as similar as `least` (0 to 1).

    >>> did_you_mean("wanbd", ["mlflow", "wandb"])
    "; did you mean 'wandb'?"
    """
    near = get_close_matches(name, list(known), 1, least)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_spelling(row: Mapping[str, Any], optional: Sequence[str]) -> None:
    """Raise RowError for a key that is nearly an optional one which the row lacks.

    An optional column with a misspelt name would otherwise be ignored silently, and change what the others mean.
    """
    lacking = tuple(name for name in optional if name not in row)
    others = tuple(name for name in row if name not in optional and name not in NEEDED)
    found = _misspelt(others, lacking) if others and lacking else None
    if found is not None:
        raise RowError(f"has {found[0]!r}, which is nearly {found[1]!r}; rename it, or give it another name")


@lru_cache
def _misspelt(names: tuple[str, ...], lacking: tuple[str, ...]) -> tuple[str, str] | None:
    for name in names:
        if near := get_close_matches(name, lacking, 1, 0.8):
            return name, near[0]
    return None


def truth(value: object, name: str) -> bool | None:
    """A boolean in any of its usual forms; None for a missing value. Raises RowError.

    >>> truth("Yes", "is_impossible"), truth("0", "is_impossible")
    (True, False)
    """
    if is_missing(value):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int | float):
        word = str(value).strip().lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE
    raise RowError(f"'{name}' must be true or false, seen {value!r}")


def key_of(value: object, name: str) -> str:
    """An id, a document or a title: a string or a whole number, as a string; empty if missing. Raises RowError."""
    if is_missing(value):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # pandas makes floats of whole numbers once one of them is missing
    raise RowError(f"'{name}' must be a string or a whole number, seen {value!r}")


def optional_text(value: object, name: str) -> str | None:
    """An optional text; None for a missing value. Raises RowError."""
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise RowError(f"'{name}' must be a string, seen {type(value).__name__}")
    return value


def number_of(value: object, name: str) -> float:
    """A finite number, or one in decimal notation. Raises RowError, also for booleans and Python's `1_000`."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good and not (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        raise RowError(f"'{name}' must be a number, seen {value!r}")
    try:
        found = float(value)  # type: ignore[arg-type]
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise RowError(f"'{name}' must be a finite number, seen {value!r}")
    return found


def label_of(value: object) -> str:
    """One label: a string, or a number or boolean as one. Raises RowError for other values, and for a list in a string."""
    if isinstance(value, str) and value.strip():
        name = value.strip()
        if _listed(name) is not None:
            raise RowError(f"label {value!r} is a list in a string; name the column 'labels' where a text has several "
                           "labels, or give the one label alone")  # fmt: skip
        return name
    if isinstance(value, int):
        return str(value).lower()  # True is `true`, as JSON has it
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1 << 53 else str(value)
    if is_missing(value):
        empty = isinstance(value, str)
        raise RowError("'label' is empty; give one, or delete the row" if empty else
                       "'label' is missing; give one, or delete the row")  # fmt: skip
    raise RowError(f"'label' must be a string, seen {value!r}")


def is_decimal(value: object) -> bool:
    """Whether a label is a float: a decimal number, or a whole number of a pandas column with missing values."""
    return isinstance(value, float)


def labels_of(value: object) -> tuple[str, ...]:
    """Labels of a text, without duplicates. Raises RowError.

    A csv cell holds them separated by `|`, or as a printed list; whole numbers may be separated by commas.

    Of a mapping, those whose value is true. A vector of zeros and ones, one for each class, is refused: it would be read as
    the labels `0` and `1`.

    >>> labels_of("bad|late"), labels_of("['bad', 'late']"), labels_of("2,27"), labels_of({"bad": 1, "late": "0"})
    (('bad', 'late'), ('bad', 'late'), ('2', '27'), ('bad',))
    """
    if isinstance(value, Mapping):
        return tuple(str(name).strip() for name, given in value.items() if _is_one(given, name))
    items: Sequence[Any]
    if isinstance(value, str):
        printed = _listed(value.strip())
        if printed == [] and value.strip()[1:-1].strip():
            raise RowError(f"'labels' holds {value!r}, a list that cannot be read; separate labels by |, as in bad|late")
        separator = "," if _NUMBERS.fullmatch(value) else "|"
        items = [part for part in value.split(separator) if part.strip()] if printed is None else printed
    elif isinstance(value, Sequence):
        items = value
    else:
        raise RowError(f"'labels' must be a list of strings, seen {value!r}")
    bits = [item for item in items if item in (0, 1, "0", "1", "0.0", "1.0")]
    if len(bits) == len(items) > len({float(bit) for bit in bits}):
        raise RowError(f"'labels' is a vector of zeros and ones, {value!r}; give the names of the labels that apply")
    try:
        return tuple(dict.fromkeys(label_of(item) for item in items))
    except RowError:
        raise RowError(f"'labels' must be a list of strings, seen {value!r}") from None


def _is_one(value: object, name: str) -> bool:
    """Whether a label applies, according to the value under its name. Raises RowError."""
    with suppress(RowError):
        if (found := truth(value, name)) is not None:
            return found
    seen = "nothing is there" if is_missing(value) else f"seen {value!r:.80}"
    raise RowError(f"'{name}' must be 1 if the label applies, and 0 if not; {seen}")


def _listed(text: str) -> list[str] | None:
    """The items of a list in a string; [] for an empty or unreadable list, None for anything else."""
    inner = text[1:-1]
    if len(text) < 2 or text[0] != "[" or text[-1] != "]" or (inner.strip() and not _LIST_LIKE.search(inner)):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and found and all(type(item) in (str, int, float) for item in found):
        return [item if isinstance(item, str) else str(item) for item in found]
    return _python_items(inner)


def _python_items(inner: str) -> list[str]:
    """Items of a printed Python list; [] unless they are strings and numbers between commas."""
    items, place = [], 0
    while place < len(inner):
        match = _ITEM.match(inner, place)
        if match is None:
            return []
        items.append(next(group for group in match.groups()[:3] if group is not None))
        place = match.end()
    return items


SPAN_LABELS = ("type", "tag", "entity_type", "entity_group")
"""Other names for the label of a span."""


def spans_of(value: Any) -> Any:
    """Spans as a list of {"start", "end", "label"}, from triples or from spaCy's {"entities": [...]}; other values unchanged.

    >>> spans_of([(0, 5, "ORG")])
    [{'start': 0, 'end': 5, 'label': 'ORG'}]
    """
    found = value.get("entities", value) if isinstance(value, Mapping) else value
    return [_span(one) for one in found] if isinstance(found, list | tuple) else value


def _span(given: Any) -> Any:
    """A span as {"start", "end", "label"}; what is none as it is, for the task to refuse."""
    if isinstance(given, list | tuple) and len(given) == 3 and type(given[0]) is type(given[1]) is int:
        return dict(zip(("start", "end", "label"), given, strict=True))
    if isinstance(given, Mapping) and "label" not in given:
        others = [given[key] for key in SPAN_LABELS if key in given]
        return {**given, "label": others[0]} if len(others) == 1 else given
    return given


def class_names(feature: Any) -> list[str]:
    """Class names from the description of a hub column, or of the items of its lists; empty if it has none.

    `{"_type": "ClassLabel", "names": [...]}` · `{"_type": "Sequence" | "List", "feature": {...}}` · `[{...}]`
    """
    if isinstance(feature, list) and len(feature) == 1:
        return class_names(feature[0])
    if not isinstance(feature, Mapping):
        return []
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        return [str(name) for name in names] if isinstance(names, list) else []
    return class_names(feature.get("feature"))


def classes_of_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Class names by column, from the metadata of an Arrow schema that `datasets` wrote; empty for any other."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: class_names(feature) for name, feature in features.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
    return {name: names for name, names in found.items() if names}


def named(value: Any, names: Sequence[str]) -> Any:
    """The name of a class number, or of each in a list; `NO_CLASS` and None stay. Raises RowError for other numbers."""
    if isinstance(value, list):
        return [named(item, names) for item in value]
    if value is None or value == NO_CLASS:
        return value
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise RowError(f"has the class number {value!r}; the data set names classes 0 to {len(names) - 1}")
    return names[value]
