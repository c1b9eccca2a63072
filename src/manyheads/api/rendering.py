"""Answers as HTML, by their form; it knows no type of task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manyheads.html.highlight import QUIET, Part, framed, highlighted, named, score_bars
from manyheads.html.markup import Html, code, element, joined, user_text

if TYPE_CHECKING:
    from manyheads.api.results import Row
    from manyheads.tasks.base import AnswerForm, EncoderInput, Task

SHOWN = 20
"""Rows of predictions that are drawn."""
LONGEST = 400
"""Characters of an answer that is shown as JSON."""


def predictions_html(rows: Sequence[Row], inputs: Sequence[Any], tasks: Mapping[str, Task[Any]]) -> str:
    """The first rows, each with its text and the answers of all tasks."""
    line = "border-top: 1px solid rgba(128, 128, 128, 0.4); padding: 4px 0;"
    drawn = [element("div", {"style": line}, _row(row, given, tasks))
             for row, given in zip(rows[:SHOWN], inputs, strict=False)]  # fmt: skip
    more = [_note(f"{len(rows) - SHOWN:,} more rows")] if len(rows) > SHOWN else []
    return str(framed(*drawn, *more) if rows else framed(_note("no rows")))


def _row(row: Row, given: Any, tasks: Mapping[str, Task[Any]]) -> Html:
    if "error" in row:
        return joined([element("b", None, "Not answered: "), row["error"]["message"]])
    answers = row.get("tasks", {})
    asked = [name for name in tasks if name in answers]
    drawn = {name: DRAWN[tasks[name].answer_form](answers, _input(tasks[name], given), tasks[name]) for name in asked}
    parts = [named(name, body) for name, body in drawn.items()]
    if not any(tasks[name].answer_form in WITH_TEXT for name in asked):
        parts.insert(0, highlighted(_text(given), []))
    return joined(parts)


def _input(task: Task[Any], given: Any) -> EncoderInput:
    entry = task.source_of_row(given)
    assert entry is not None, "the task has answered the row"
    return entry


def _text(given: Any) -> str:
    """The text of a row, for tasks that do not mark parts of it."""
    texts = [given[key] for key in ("text", "text_pair", "context") if isinstance(given.get(key), str)]
    return " | ".join(texts) or " ".join(map(str, given.get("tokens") or []))


def _spans(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    spans = [Part(span["start"], span["end"], span["label"], span["score"]) for span in answers[task.name]]
    return highlighted(given.source.first, spans, task.label_names)


def _tags(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    words = [Part(word["start"], word["end"], word["tag"], word["score"]) for word in answers[task.name]]
    return highlighted(given.source.first, words, task.output_names)


def _passages(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    found = answers[task.name]
    parts = [Part(one["start"], one["end"], f"{one['score']:.2f}", one["score"]) for one in found]
    question = element("b", None, user_text(given.source.first))
    missing = answers.get("no_answer_score")
    note = "" if found else _note("no answer" if missing is None else f"no answer (score {missing:.3g})")
    return joined([question, highlighted(given.source.second or "", parts, [part.label for part in parts]), note])


def _classes(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    answer = answers[task.name]
    chosen = answer["labels"] if "labels" in answer else [answer["label"]]
    return score_bars(answer["scores"], chosen)


def _vector(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    vector = answers[task.name]
    return code(f"{len(vector):,} numbers: " + ", ".join(f"{value:.3f}" for value in vector[:6]) + ", …")


def _numbers(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    answer = answers[task.name]
    return code(", ".join(f"{name} {value:.4g}" for name, value in answer.get("values", answer).items()))


def _relevance(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    return joined([element("b", None, user_text(given.source.first)), code(f"score {answers[task.name]['score']:.3f}")])


def _about_entities(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    entities = answers.get(task.depends_on or "") or []

    def quoted(place: int) -> str:
        return str(entities[place]["text"]) if place < len(entities) else f"entity {place}"

    def line(one: Mapping[str, Any]) -> str:
        if "candidates" in one:
            return f"{quoted(one['entity'])}: {'none' if one['id'] is None else one['id'] + ' ' + one['name']}"
        if "entity" in one:
            return f"{quoted(one['entity'])}: {one['label']}"
        return f"{quoted(one['head'])} {one['label']} {quoted(one['tail'])}"

    lines = map(line, answers[task.name])
    return joined([element("div", None, user_text(line)) for line in lines] or [_note("none")])


def _json(answers: Mapping[str, Any], given: EncoderInput, task: Task[Any]) -> Html:
    text = json.dumps(answers[task.name], ensure_ascii=False, default=str)
    return code(text if len(text) <= LONGEST else f"{text[:LONGEST]} …")


def _note(text: str) -> Html:
    return element("div", {"style": QUIET}, text)


DRAWN: Mapping[AnswerForm, Callable[[Mapping[str, Any], EncoderInput, Task[Any]], Html]] = {
    "spans": _spans, "sentences": _spans, "tags": _tags, "passages": _passages, "classes": _classes, "vector": _vector,
    "numbers": _numbers, "attributes": _about_entities, "relations": _about_entities, "relevance": _relevance,
    "weights": _json, "vectors": _json,
    "links": _about_entities, "json": _json,
}  # fmt: skip
WITH_TEXT = ("spans", "sentences", "tags", "passages")
"""Forms of answers that are drawn in the text of the row."""
