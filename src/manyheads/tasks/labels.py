"""Labels of a task that continues: what becomes of the outputs of its head, and of its answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.tasks.answers import Answer, AnswerForm
    from manyheads.tasks.base import Task

FOUND: frozenset[AnswerForm] = frozenset(("spans", "relations"))
"""Forms of answers that list what was found, with its label."""
EVERY: frozenset[AnswerForm] = frozenset(("tags", "sentences"))
"""Forms of answers that give every part of a text one label."""


def relabel(labels: Iterable[str], became: Mapping[str, str | None]) -> tuple[str, ...]:
    """Labels under their new names, without dropped ones; merged ones stand once.

    >>> relabel(["a", "b", "c"], {"a": "c", "b": None})
    ('c',)
    """
    named = (became.get(label, label) for label in labels)
    return tuple(dict.fromkeys(label for label in named if label is not None))


def renamed_outputs(old: Task[Any], new: Task[Any], became: Mapping[str, str | None]) -> list[str | None]:
    """The new name of each output of a head, in their order; None for outputs of dropped labels.

    `became`: the new names of labels, where they differ, and None for dropped ones. Outputs of no label keep their name.
    """
    names: dict[str, str | None] = {name: name for name in old.output_names}
    for label, after in became.items():
        outputs = old.outputs_of_label(label)
        following = (None,) * len(outputs) if after is None else new.outputs_of_label(after)
        names |= {before: after for before, after in zip(outputs, following, strict=True) if before in names}
    return [names[name] for name in old.output_names]


def renamed_answer(answer: Answer, form: AnswerForm, became: Mapping[str, str | None]) -> Answer | None:
    """An answer in the new names of labels, without the scores of labels. Dropped spans and labels of several are left out.

    None if that is no answer of the new labels: its only label was dropped, or the form has no labels.

    >>> renamed_answer({"label": "AIM", "score": 0.9}, "classes", {"AIM": "OBJECTIVE"})
    {'label': 'OBJECTIVE'}
    """
    if form == "classes" and "labels" in answer:
        return {"labels": list(relabel(answer["labels"], became))}
    if form == "classes":
        label = became.get(answer["label"], answer["label"])
        return None if label is None else {"label": label}
    if form not in FOUND | EVERY:
        return None
    key = "tag" if form == "tags" else "label"
    named = [{**one, key: became.get(one[key], one[key])} for one in answer]
    kept = [one for one in named if one[key] is not None]
    return kept if form in FOUND or len(kept) == len(named) else None
