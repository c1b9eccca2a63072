"""Answers as annotations of a spaCy Doc, by the form of each answer; no type of task is named.

Every answer with offsets becomes a span group under the name of its task. Entities of tasks without overlaps become
`doc.ents` too, classes `doc.cats`, and a vector `doc.vector`. All answers are in `doc._.manyheads` as `Model.predict` gives
them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spacy.tokens import Doc, Span
from spacy.util import filter_spans

from manyheads.spacy_component.extensions import ANSWERS, QUESTION, add_vector_hooks

if TYPE_CHECKING:
    from manyheads.tasks.base import Task

Alignment = Literal["strict", "contract", "expand"]
"""How characters become tokens, as in `Doc.char_span`."""
KEYS = ("question", "query", "text_pair", "prompt_name", "input_type")
"""What a context of `nlp.pipe(..., as_tuples=True)` may hold for tasks that read more than a text."""

SPAN_FORMS = ("spans", "tags", "sentences", "passages")
"""Forms of answers that become a span group."""

Notes = Mapping[int, Mapping[str, Any]]
"""What other tasks say about the entities of a task, by their place in its answer."""


@dataclass(frozen=True, slots=True)
class Annotator:
    """Turns Docs into rows, and writes answers into Docs."""

    tasks: Sequence[Task[Any]]
    alignment: Alignment
    overwrite_ents: bool

    def row_of(self, doc: Doc) -> dict[str, Any]:
        """The input row of a Doc: its text, its sentences if a task labels them, and what its context holds."""
        row = {"text": doc.text}
        if any(task.answer_form == "sentences" for task in self.tasks) and doc.has_annotation("SENT_START"):
            sentences = [[one.start_char, one.end_char] for one in doc.sents if one.text.strip()]
            row |= {"sentences": sentences} if sentences else {}
        context = getattr(doc, "_context", None)  # where `as_tuples` keeps it while components run
        if isinstance(context, Mapping):
            row |= {key: context[key] for key in KEYS if context.get(key) is not None}
        question = doc._.get(QUESTION)
        return row if question is None else {**row, "question": question}

    def annotate(self, doc: Doc, row: Mapping[str, Any]) -> None:
        """Write an output row into the Doc, over what these tasks answered before."""
        self._forget(doc)
        before = doc._.get(ANSWERS) or {}
        doc._.set(ANSWERS, {**row, "tasks": {**before.get("tasks", {}), **row["tasks"]}})
        answers = row["tasks"]
        answered = [task for task in self.tasks if task.name in answers]
        notes = _notes(answered, answers)
        for task in answered:
            if task.answer_form in SPAN_FORMS:
                doc.spans[task.name] = self._spans(doc, task.name, answers[task.name], notes[task.name])
        self._set_ents(doc, answered)
        self._set_cats(doc, answered, answers)

    def hook(self, doc: Doc) -> None:
        """Let the Doc use the vector of the first task that answers with one."""
        names = [task.name for task in self.tasks if task.answer_form == "vector"]
        if names and names[0] in doc._.get(ANSWERS)["tasks"]:
            add_vector_hooks(doc, names[0])

    def _spans(self, doc: Doc, name: str, answer: Sequence[Mapping[str, Any]], notes: Notes) -> list[Span]:
        """The spans of an answer. One that the alignment leaves without tokens is in the row alone."""
        found = []
        for place, entry in enumerate(answer):
            label = entry.get("label") or entry.get("tag") or name
            note = {"task": name, "place": place, "label": label, "score": entry["score"], **notes.get(place, {})}
            ids = [link["id"] for link in note.get("links", {}).values() if link["id"] is not None]
            span = doc.char_span(entry["start"], entry["end"], label, ids[0] if ids else 0, alignment_mode=self.alignment)
            if span is not None:
                span._.set(ANSWERS, [*(span._.get(ANSWERS) or []), note])
                found.append(span)
        return found

    def _set_ents(self, doc: Doc, answered: Sequence[Task[Any]]) -> None:
        """Entities of tasks without overlaps. Of several that share a token the longest, then the first, is one."""
        flat = [task.name for task in answered if task.answer_form == "spans" and not task.reads_overlaps]
        if not flat:
            return
        ours, before = filter_spans(span for name in flat for span in doc.spans[name]), list(doc.ents)
        dropped, kept = (before, ours) if self.overwrite_ents else (ours, before)
        taken = {i for span in kept for i in range(span.start, span.end)}
        doc.set_ents([*kept, *(span for span in dropped if taken.isdisjoint(range(span.start, span.end)))])

    def _set_cats(self, doc: Doc, answered: Sequence[Task[Any]], answers: Mapping[str, Any]) -> None:
        """Scores of all labels; with several classifications in the component, as `TASK/LABEL`."""
        for task in answered:
            if task.answer_form == "classes":
                prefix = category_prefix(self.tasks, task)
                doc.cats |= {prefix + label: score for label, score in answers[task.name]["scores"].items()}

    def _forget(self, doc: Doc) -> None:
        """Remove the notes of these tasks from a Doc that was annotated before."""
        if doc._.get(ANSWERS) is None:
            return
        own = {task.name for task in self.tasks}
        for key, notes in list(doc.user_data.items()):
            if isinstance(key, tuple) and key[:2] == ("._.", ANSWERS) and key[2] is not None:
                doc.user_data[key] = [note for note in notes if note["task"] not in own]


def category_prefix(tasks: Sequence[Task[Any]], task: Task[Any]) -> str:
    """What the labels of a classification begin with in `doc.cats`: `TASK/` if the component has several."""
    return f"{task.name}/" if sum(one.answer_form == "classes" for one in tasks) > 1 else ""


def _notes(answered: Sequence[Task[Any]], answers: Mapping[str, Any]) -> Mapping[str, Notes]:
    """Attributes, relations and links of entities, by the task that found them."""
    notes: dict[str, dict[int, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    for task in answered:
        about = notes[task.depends_on or ""]
        for entry in answers[task.name] if task.depends_on else ():
            if task.answer_form == "attributes":
                about[entry["entity"]].setdefault("attributes", {})[task.name] = _without(entry, "entity")
            elif task.answer_form == "links":
                about[entry["entity"]].setdefault("links", {})[task.name] = _without(entry, "entity")
            elif task.answer_form == "relations":
                about[entry["head"]].setdefault("relations", []).append({"task": task.name, **_without(entry, "head")})
    return notes


def _without(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}
