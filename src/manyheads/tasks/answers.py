"""Forms of answers, and the types of their values: columns of Parquet, and what the playground draws, follow from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from manyheads.errors import RowError
from manyheads.text.values import number_of

Answer = Any
"""What a head answers for one source, as JSON: a list of spans, a label with scores, a vector."""

AnswerForm = Literal[
    "spans", "classes", "sentences", "passages", "vector", "tags", "numbers", "attributes", "relations", "links", "relevance",
    "weights", "vectors", "json",
]
"""`spans` of a text with labels; `classes` with scores; `sentences` of a text, each with a label; `passages` of a
context, best first; a `vector`; `tags` of words; `numbers`: a `value`, or `values` by name; `attributes` of the entities
of another task, `relations` between them, `links` of them to a dictionary; `relevance` of a text to a query, a `score`;
`weights` of tokens, a sparse vector; `vectors` of tokens; `json`: anything else."""

AnswerType = Any
"""`"int"`, `"float"`, `"string"`; `[T]` a list; `{key: T}` an object; `("map", T)` an object with any keys."""

SPAN: Mapping[str, AnswerType] = {"start": "int", "end": "int", "text": "string", "score": "float"}
"""Part of a text: offsets in code points, the end exclusive."""

Numbers = dict[str, float]
NUMBER_KEYS = ("value", "score", "values", "scores")
"""Keys of one number, or of an object of numbers, in data and answers; answers are written with `value` or `values`."""

FORM_TYPES: Mapping[AnswerForm, AnswerType] = {
    "spans": [{**SPAN, "label": "string"}],
    "classes": {"label": "string", "score": "float", "scores": ("map", "float")},
    "sentences": [{"start": "int", "end": "int", "label": "string", "score": "float"}],
    "passages": [SPAN],
    "vector": ["float"],
    "tags": [{**SPAN, "tag": "string"}],
    "numbers": {"value": "float"},
    "attributes": [{"entity": "int", "label": "string", "score": "float"}],
    "relations": [{"head": "int", "tail": "int", "label": "string", "score": "float"}],
    "links": [{"entity": "int", "id": "string", "name": "string", "score": "float",
               "candidates": [{"id": "string", "name": "string", "score": "float"}]}],
    "relevance": {"score": "float"},
    "weights": {"indices": ["int"], "values": ["float"]},
    "vectors": [["float"]],
}
"""Types of answers by form; a task with answers of the form `json` gives its own."""


def numbers_in(row: Mapping[str, Any], names: Collection[str] = ()) -> Numbers:
    """The numbers of a row or an answer, by name; with `names` exactly these. Raises RowError.

    >>> numbers_in({"value": "3.2"}), numbers_in({"scores": {"b": 2, "a": 1}})
    ({'value': 3.2}, {'a': 1.0, 'b': 2.0})
    """
    key = next((key for key in NUMBER_KEYS if row.get(key) is not None), "value")
    numbers = row.get(key) if key.endswith("s") else {"value": row.get(key)}
    if not isinstance(numbers, Mapping) or not numbers:
        raise RowError(f"'{key}' must be an object of numbers, such as {{\"fluency\": 3.2}}; found {numbers!r:.80}")
    if names and set(numbers) != set(names):
        raise RowError(f"must have the numbers {', '.join(names)}; found {', '.join(map(str, numbers))}")
    return {name: number_of(numbers[name], name) for name in sorted(numbers)}


def number_matrix(numbers: Sequence[Numbers]) -> npt.NDArray[np.float64]:
    """Numbers as rows, `(N, K)`."""
    return np.array([list(row.values()) for row in numbers])


def numbers_answer(numbers: Mapping[str, Any], several: Any = None) -> dict[str, Any]:
    """The answer with these numbers: `{"value": 3.2}`, or `{"values": {NAME: 3.2}}` (`several` in their place)."""
    return dict(numbers) if set(numbers) == {"value"} else {"values": several or dict(numbers)}
