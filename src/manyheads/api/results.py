"""Types of what `Model` returns. The values are plain dictionaries and lists, so `json.dumps` writes them.

>>> import manyheads as mh
>>> def chemicals(row: mh.Row) -> list[str]:
...     spans: list[mh.Span] = row["tasks"]["entities"]
...     return [span["text"] for span in spans if span["label"] == "Chemical"]
>>> chemicals({"tasks": {"entities": [{"start": 0, "end": 7, "label": "Chemical", "text": "Aspirin", "score": 0.98}]}})
['Aspirin']
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Span(TypedDict):
    """A labelled part of a text, such as an entity: `text[start:end]`.

    >>> span: Span = {"start": 0, "end": 7, "label": "Chemical", "text": "Aspirin", "score": 0.98}
    """

    start: int
    """Code points from the beginning of the text."""
    end: int
    """Exclusive."""
    label: str
    text: str
    score: float
    """Calibrated probability that the span is right."""


class Answer(TypedDict):
    """A part of a context that answers a question: `context[start:end]`.

    >>> answer: Answer = {"start": 19, "end": 25, "text": "10 mg", "score": 0.81}
    """

    start: int
    end: int
    text: str
    score: float


class Tag(TypedDict):
    """A word and its tag: `text[start:end]`.

    >>> tag: Tag = {"start": 0, "end": 4, "text": "runs", "tag": "VERB", "score": 0.99}
    """

    start: int
    end: int
    text: str
    tag: str
    score: float


class Classification(TypedDict):
    """The label of a text with its score, or for multi-label tasks its `labels`; and the scores of all labels.

    >>> one: Classification = {"label": "RESULTS", "score": 0.93, "scores": {"RESULTS": 0.93, "METHODS": 0.07}}
    >>> several: Classification = {"labels": ["cheap"], "scores": {"cheap": 0.9, "good": 0.2}}
    """

    label: NotRequired[str]
    score: NotRequired[float]
    labels: NotRequired[list[str]]
    scores: dict[str, float]
    """From the highest to the lowest."""


class Numbers(TypedDict):
    """The number of a text under `value`, or several under `values`.

    >>> numbers: Numbers = {"values": {"fluency": 3.2, "meaning": 4.0}}
    """

    value: NotRequired[float]
    values: NotRequired[dict[str, float]]


class RankedText(TypedDict):
    """A text with its relevance to a query, and its place among the texts given.

    >>> found: RankedText = {"index": 2, "score": 0.93, "text": "Aspirin lowered fever."}
    """

    index: int
    score: float
    text: str


class Problem(TypedDict):
    """Why a row was not answered.

    >>> problem: Problem = {"type": "invalid_row", "message": "'text' is null; give a string"}
    """

    type: str
    message: str


class Row(TypedDict):
    """A result of `Model.predict`: either `tasks` with an answer for each task, or an `error`.

    Answers by type of task: `list[Span]`, `Classification`, `list[Answer]`, `list[float]`, `list[Tag]`, `Numbers`;
    `{"score": 0.93}` for the relevance of the text to the row's query.

    >>> row: Row = {"id": 7, "windows": 1, "tasks": {"similarity": [0.1, 0.9]}}
    """

    id: NotRequired[Any]
    """The `id` of the input row."""
    windows: NotRequired[int]
    """Windows that the longest input was read in."""
    tasks: NotRequired[dict[str, Any]]
    """The answers by task, and `no_answer_score` beside those of question answering."""
    error: NotRequired[Problem]
