"""Words with numbers for tags, as data sets on the hub have them when they are written as JSON lines.

    {"tokens": ["Ada", "Byron", "wrote"], "ner_tags": [1, 2, 0]}

Decided here: numbers mean nothing without their names, which the file does not have. They come from `names` of the data
source, or from a `dataset_info.json` in the same folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from manyheads.data.formats.format import Format, Wanted
from manyheads.data.formats.head import Head
from manyheads.data.formats.lines import whole
from manyheads.data.formats.records import a_list, objects
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError

KEYS = ("ner_tags", "tags")
INFO = "dataset_info.json"
MOST_BYTES = 16 << 20
NO_LABEL = -100


def looks_like(head: Head) -> bool:
    """Words, and a number for each."""
    shape = head.json
    return shape.holds("tokens[]", str) and any(shape.holds(f"{key}[]", int) for key in KEYS)


def read(path: Path, wanted: Wanted) -> Iterator[RawRow]:
    """Rows with tags by name. Raises DataError where names are wanting."""
    names: Sequence[str] = wanted.names
    for record in objects(path):
        key = next((key for key in KEYS if key in record.value), None)
        if key is None:
            raise DataError(f"{record.where} has neither 'ner_tags' nor 'tags'")
        numbers = a_list(record.value[key], record.where, key)
        if not names and numbers and (names := _names_beside(path, key)) == []:
            raise DataError(
                f"{record.where} has numbers for tags and the file has no names for them; list the names in the order "
                f"of their numbers: {{path: {path.name}, names: [O, B-PER, I-PER]}}"
            )
        tags = [_named(number, names, record.where) for number in numbers]
        shared = {other: value for other, value in record.value.items() if other not in KEYS}
        yield RawRow({**shared, "tags": tags}, record.where)


def _named(number: Any, names: Sequence[str], where: str) -> str:
    if type(number) is not int or not 0 <= number < len(names):
        raise DataError(f"{where} has the tag {number!r:.80}; there are names for the numbers 0 to {len(names) - 1}")
    return names[number]


def _names_beside(path: Path, key: str) -> list[str]:
    """Names of the classes of a column, from a description in the same folder; none where it says nothing of them."""
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


FORMAT = Format("class-numbers", "words with numbered tags", frozenset({"token-classification"}), looks_like, read)
