"""Words with numbers for tags: data sets of the hub written as JSON lines.

    {"tokens": ["Ada", "Byron", "wrote"], "ner_tags": [1, 2, 0]}

Names come from `names` of the data source, or from a `dataset_info.json` in the same folder. Without them the numbers are
read in the hub's usual order: 0 is O, then B and I of each type in turn, 1 and 2, 3 and 4. The types are then called 1, 2,
and so on, with a warning. Tags in which an I follows neither its B nor itself are in another order, and refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from manyheads.data.formats.columns import renamed
from manyheads.data.formats.format import TAGGED_WORDS, Format, RowSchema
from manyheads.data.formats.lines import whole
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import as_list, objects
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError

KEYS = ("ner_tags", "tags")
INFO = "dataset_info.json"
MOST_BYTES = 16 << 20
UNNAMED = (
    "tags are numbers without names, read as O, B-1, I-1, B-2, I-2 and so on; if they have names, list them in that order: "
    "{path: FILE, names: [O, B-PER, I-PER]}"
)


def looks_like(preview: Preview) -> bool:
    """Words, and a number for each."""
    shape = preview.json
    return shape.holds("tokens[]", str) and any(shape.holds(f"{key}[]", int) for key in KEYS)


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """Rows with named tags. Raises DataError for a number without a name, and for numbers in another order."""
    names: Sequence[str] | None = schema.class_names or None
    for record in objects(path):
        values = renamed(record.read(lambda one: one.value), schema.renames)
        key = next((key for key in KEYS if key in values), None)
        if key is None:
            raise DataError(f"{record.where} has neither 'ner_tags' nor 'tags'; its keys are {', '.join(record.value)[:500]}")
        numbers = as_list(values[key], record.where, key)
        if names is None:
            names = _names_beside(path, schema.renames.get(key, key))
        tags = [_named(number, names, record.where) for number in numbers]
        if not names:
            _check_order(numbers, record.where)
        shared = {other: value for other, value in values.items() if other not in KEYS}
        yield RawRow({**shared, "tags": tags}, record.where, notes=() if names else (UNNAMED,))


def _named(number: Any, names: Sequence[str], where: str) -> str:
    """The tag of a number; without names, in the hub's usual order."""
    if type(number) is int and number >= 0 and not names:
        return f"{'IB'[number % 2]}-{(number + 1) // 2}" if number else "O"
    if type(number) is not int or not 0 <= number < len(names):
        known = f"there are names for the numbers 0 to {len(names) - 1}" if names else "tags are numbers from 0"
        raise DataError(f"{where} has the tag {number!r:.80}; {known}")
    return names[number]


def _check_order(numbers: Sequence[int], where: str) -> None:
    """Raise DataError unless every I follows its B or itself."""
    for before, number in pairwise([0, *numbers]):
        if number and number % 2 == 0 and before not in (number - 1, number):
            raise DataError(
                f"{where} has numbers for tags, without names, and {number} follows {before}: the order is not 0 for O, 1 "
                "and 2 for B and I, and so on. List the names in the order of their numbers: "
                "{path: FILE, names: [O, B-PER, I-PER]}"
            )


def _names_beside(path: Path, key: str) -> list[str]:
    """Names of the classes of a column, from a description in the same folder; none if it has none."""
    beside = path.parent / INFO
    if not beside.is_file():
        return []
    try:
        features = json.loads(whole(beside, MOST_BYTES))["features"]
        feature = features[key]
        names = (feature[0] if isinstance(feature, list) else feature.get("feature", feature))["names"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


FORMAT = Format("class-numbers", "words with numbered tags", TAGGED_WORDS, looks_like, read, renames=True)
