"""Mistakes of question answering: outcomes of questions, and the most confident wrong answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manyheads.html.figures.bars import Bar, bars
from manyheads.html.findings import SHOWN, Span, in_context, quote_legend, quoted
from manyheads.html.markup import Html, element, joined, user_text
from manyheads.html.numbers import count, plural, points, share
from manyheads.html.page import Exhibit, Part, paragraph
from manyheads.html.tables import Column, numbers, table, words
from manyheads.metrics.answers import exact_match, f1
from manyheads.tasks.question_answering.example import Found, Question

if TYPE_CHECKING:
    from manyheads.tasks.question_answering.task import QuestionAnswering

RIGHT, PARTLY, ELSEWHERE = "exact", "partly right", "elsewhere"
WITHHELD, INVENTED, REFUSED = "withheld", "invented", "rightly withheld"
KINDS = {
    RIGHT: "a labelled answer, word for word",
    PARTLY: "shares words with a labelled answer",
    ELSEWHERE: "shares none",
    WITHHELD: "no answer was given, but there is one",
    INVENTED: "an answer was given, but there is none",
    REFUSED: "no answer was given, and there is none",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a question."""

    kind: str
    given: str
    span: Span | None
    f1: float
    confidence: float
    """Score of the answer, or of no answer."""


def outcome(task: QuestionAnswering, answer: Found, question: Question) -> Outcome:
    """Compare the answer given with the gold answers."""
    keys = task.answer_keys(answer)
    spans = keys[task.name]
    golds = question.texts
    if not spans:
        kind, confidence = (WITHHELD if golds else REFUSED), float(keys.get("no_answer_score", 1.0))
        return Outcome(kind, "", None, 0.0 if golds else 1.0, confidence)
    best = spans[0]
    given, span, sure = best["text"], (best["start"], best["end"]), float(best["score"])
    if not golds:
        return Outcome(INVENTED, given, span, f1(given, golds), sure)
    overlap = f1(given, golds)
    kind = RIGHT if exact_match(given, golds) else PARTLY if overlap else ELSEWHERE
    return Outcome(kind, given, span, overlap, sure)


def answer_findings(
    task: QuestionAnswering, answers: Sequence[Sequence[Found]], examples: Sequence[Question]
) -> list[Part]:
    """Outcomes by kind, and the most confident mistakes."""
    outcomes = [outcome(task, answer[0], question) for answer, question in zip(answers, examples, strict=True)]
    return [_exhibit(outcomes, examples), *_most_confident(outcomes, examples)]


def _exhibit(outcomes: Sequence[Outcome], examples: Sequence[Question]) -> Exhibit:
    kinds = Counter(one.kind for one in outcomes)
    answerable = all(question.answers for question in examples)
    shown = {
        kind: note for kind, note in KINDS.items() if kinds[kind] or not (answerable or kind in (INVENTED, REFUSED))
    }
    total = len(outcomes)
    drawing = bars(
        [Bar(kind, note, kinds[kind], f"{count(kinds[kind])} · {share(kinds[kind] / total)}")
         for kind, note in shown.items()],
        "Questions by outcome. " + ", ".join(f"{kind}: {kinds[kind]}" for kind in shown),
    )  # fmt: skip
    rows = []
    for kind in shown:
        of_kind = [one for one in outcomes if one.kind == kind]
        sure = sum(one.confidence for one in of_kind) / len(of_kind) if of_kind else None
        overlap = sum(one.f1 for one in of_kind) / len(of_kind) if of_kind else None
        rows.append([kind, count(len(of_kind)), share(len(of_kind) / total), points(overlap),
                     f"{sure:.2f}" if sure is not None else "–"])  # fmt: skip
    columns = [*words("outcome"), *numbers("questions", "of all", "mean F1", "mean confidence")]
    return Exhibit("Outcomes of questions.", drawing, table("Questions by outcome.", columns, rows))


def _most_confident(outcomes: Sequence[Outcome], examples: Sequence[Question]) -> list[Part]:
    wrong = [i for i, one in enumerate(outcomes) if one.kind in (ELSEWHERE, WITHHELD, INVENTED)]
    if not wrong:
        return [paragraph(f"None of {plural(len(examples), 'question')} is answered wholly wrong.")]
    rows = []
    for i in sorted(wrong, key=lambda i: (-outcomes[i].confidence, i))[: 2 * SHOWN]:
        one, question = outcomes[i], examples[i]
        labelled = "; ".join(dict.fromkeys(question.texts))
        rows.append([quoted(question.question), user_text(labelled) if labelled else element("em", None, "no answer"),
                     user_text(one.given) if one.span else element("em", None, "no answer"), f"{one.confidence:.2f}",
                     _passages(one, question)])  # fmt: skip
    caption = (
        f"{plural(len(wrong), 'question')} of {len(examples):,} answered wholly wrong; the most confident ones."
    )
    columns = [*words("question", "labelled", "answered"), Column("confidence"), *words("in the passage")]
    return [quote_legend(), table(caption, columns, rows)]


def _passages(one: Outcome, question: Question) -> Html:
    """The labelled and the given answer in context."""
    gold = [(start, start + len(text)) for start, text in question.answers]
    found = [one.span] if one.span else []
    places = [*gold[:1], *found]
    if len(places) == 2 and abs(places[0][0] - places[1][0]) < 120:
        places = [(min(s for s, _ in places), max(e for _, e in places))]
    quotes = [in_context(question.context, gold, found, place) for place in places]
    return joined(quotes, " ") if quotes else quoted(question.context[:120])
