"""The scores that `nlp.evaluate` reports for the component, all computed by spaCy's own Scorer.

Decided here:
- The names are those of spaCy's components: `ents_f` as for `ner`, `spans_TASK_f` as for `spancat` with the key TASK, and
  `cats_score` as for `textcat`. With several classifications in the component these are `cats_TASK_score`, and so on.
- With several labels per text, a label counts as predicted if the model gives it, by the threshold that it was tuned to.
  spaCy's Scorer has one threshold for all labels. So scores are moved to either side of 0.5 first, which leaves their order,
  and hence the AUC, as it is.
- Docs without gold annotations of a task are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Doc
from spacy.training import validate_examples

from manyheads.spacy_component.annotate import SPAN_FORMS, category_prefix
from manyheads.spacy_component.extensions import ANSWERS

if TYPE_CHECKING:
    from spacy.training import Example

    from manyheads.tasks.base import Task

SPANS = "spans_"


def score(examples: Iterable[Example], *, tasks: Sequence[Task[Any]], **_: Any) -> dict[str, Any]:
    """The scores of all tasks that have a place for gold annotations in a Doc."""
    examples = list(examples)
    validate_examples(examples, "ManyHeads.score")
    found: dict[str, Any] = {}
    if any(task.answer_form == "spans" and not task.reads_overlaps for task in tasks):
        found |= get_ner_prf(examples)
    for task in tasks:
        if task.answer_form in SPAN_FORMS:
            found |= _span_scores(examples, task.name)
        elif task.answer_form == "classes":
            found |= _category_scores(examples, task, category_prefix(tasks, task))
    return found


def _span_scores(examples: Sequence[Example], name: str) -> dict[str, Any]:
    """The scores of a span group."""
    return dict(Scorer.score_spans(
        examples, f"{SPANS}{name}", getter=lambda doc, key: doc.spans.get(key.removeprefix(SPANS), ()),
        has_annotation=lambda doc: name in doc.spans, allow_overlap=True,
    ))  # fmt: skip


def _category_scores(examples: Sequence[Example], task: Task[Any], prefix: str) -> dict[str, Any]:
    """The scores of a classification, on the Docs that have a gold label of it."""
    labels = [prefix + label for label in task.label_names]
    known = [example for example in examples if any(label in example.reference.cats for label in labels)]
    attr = f"cats_{prefix.removesuffix('/')}" if prefix else "cats"
    if not known:
        return {f"{attr}_score": None}

    def categories(doc: Doc, _: str) -> dict[str, float]:
        answer = _answer(doc, task.name)
        return _around_half(doc.cats, answer["labels"], prefix) if "labels" in answer else dict(doc.cats)

    multi_label = any("labels" in _answer(example.predicted, task.name) for example in known)
    return dict(Scorer.score_cats(known, attr, getter=categories, labels=labels, multi_label=multi_label))


def _answer(doc: Doc, name: str) -> Mapping[str, Any]:
    """What a task answered; empty for a Doc with gold annotations."""
    answer: Mapping[str, Any] = (doc._.get(ANSWERS) or {"tasks": {}})["tasks"].get(name, {})
    return answer


def _around_half(cats: Mapping[str, float], given: Iterable[str], prefix: str) -> dict[str, float]:
    """Scores from 0.5 for the labels that are given, and below 0.5 for the others.

    >>> _around_half({"a": 0.3, "b": 0.2}, ["a"], "")
    {'a': 0.65, 'b': 0.1}
    """
    chosen = {prefix + label for label in given}
    return {label: 0.5 + score / 2 if label in chosen else min(score / 2, 0.499999) for label, score in cats.items()}
