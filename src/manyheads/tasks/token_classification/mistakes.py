"""Errors of entity recognition by type, after MUC (Chinchor & Sundheim 1993), with examples in context.

    missed          a gold span that overlaps no found one      wrong label     they overlap, their labels differ
    spurious        a found span that overlaps no gold one      wrong boundary  they overlap, their labels agree

Decided here: a span takes part in at most one error. Spans with equal offsets are paired first, then spans with equal
labels, then the rest by overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from manyheads.html.figures.bars import Bar, bars
from manyheads.html.findings import SHOWN, in_context, quote_legend
from manyheads.html.markup import Html, user_text
from manyheads.html.numbers import count, plural, points, share
from manyheads.html.page import Exhibit, Part, aside
from manyheads.html.tables import Column, numbers, table, words
from manyheads.metrics.entities import entity_scores
from manyheads.tasks.token_classification.scores import Answers
from manyheads.text.entities import EntityExample

MISSED, SPURIOUS, LABEL, BOUNDARY = "missed", "spurious", "wrong label", "wrong boundary"
KINDS = {
    MISSED: "labelled, but nothing found there",
    SPURIOUS: "found, but nothing labelled there",
    LABEL: "found with another label",
    BOUNDARY: "found with its label, but too short, too long or shifted",
}
MOST_LABELS = 30
"""Rows in the table of labels."""

Span = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class EntityError:
    """One error; `gold` is None if spurious, `found` if missed."""

    kind: str
    example: int
    gold: Span | None
    found: Span | None
    score: float | None = None
    """Score of the found span."""

    @property
    def label(self) -> str:
        """The gold label, or the found one of a spurious span."""
        return (self.gold or self.found or (0, 0, ""))[2]


def entity_errors(gold: Sequence[Span], found: Sequence[tuple[Span, float]], example: int = 0) -> list[EntityError]:
    """The errors of one text."""
    scores = dict(found)
    right = set(gold) & set(scores)
    golds = sorted(set(gold) - right)
    finds = sorted(set(scores) - right)
    pairs = [(g, f) for g, f in product(golds, finds) if min(g[1], f[1]) > max(g[0], f[0])]
    pairs.sort(key=lambda pair: (pair[0][:2] != pair[1][:2], pair[0][2] != pair[1][2], -_overlap(*pair), pair))
    errors = []
    for g, f in pairs:
        if g in golds and f in finds:
            golds.remove(g)
            finds.remove(f)
            errors.append(EntityError(BOUNDARY if g[2] == f[2] else LABEL, example, g, f, scores[f]))
    errors += [EntityError(MISSED, example, g, None) for g in golds]
    return errors + [EntityError(SPURIOUS, example, None, f, scores[f]) for f in finds]


def entity_findings(
    answers: Answers, examples: Sequence[EntityExample]
) -> list[Part]:
    """Counts by type and label, and examples of each type."""
    found = [[((s["start"], s["end"], s["label"]), float(s["score"])) for s in answer[0]] for answer in answers]
    errors = [
        error
        for i, (example, spans) in enumerate(zip(examples, found, strict=True))
        for error in entity_errors(example.spans, spans, i)
    ]
    right = sum(len(set(example.spans) & {span for span, _ in spans}) for example, spans in zip(examples, found, strict=True))
    parts: list[Part] = [_exhibit(errors, right, examples, found)]
    if errors:
        parts += [*_confused(errors), quote_legend(), *_tables(errors, examples, found)]
    return parts


def _exhibit(
    errors: Sequence[EntityError],
    right: int,
    examples: Sequence[EntityExample],
    found: Sequence[Sequence[tuple[Span, float]]],
) -> Exhibit:
    kinds = Counter(error.kind for error in errors)
    total = right + len(errors)
    rows = [("right", "", right), *((kind, note, kinds[kind]) for kind, note in KINDS.items())]
    drawing = bars(
        [Bar(kind, note, n, f"{count(n)} · {share(n / total if total else 0)}") for kind, note, n in rows],
        "Spans by outcome. " + ", ".join(f"{kind}: {n}" for kind, _, n in rows),
    )
    scores = entity_scores([example.spans for example in examples], [[span for span, _ in spans] for spans in found])
    by_label = Counter((error.label, error.kind) for error in errors)
    labels = sorted(scores.labels, key=lambda name: -scores.labels[name].gold)[:MOST_LABELS]
    body = [
        [user_text(name), count(scores.labels[name].gold), count(scores.labels[name].correct),
         *(count(by_label[name, kind]) for kind in KINDS),
         points(scores.labels[name].precision), points(scores.labels[name].recall), points(scores.labels[name].f1)]
        for name in labels
    ]  # fmt: skip
    columns = [*words("label"), *numbers("labelled", "right", *KINDS, "precision", "recall", "F1")]
    caption = "Spans by label (of the gold span, or of the found one if spurious)."
    return Exhibit("Outcomes of entities.", drawing, table(caption, columns, body))


def _confused(errors: Sequence[EntityError]) -> list[Html]:
    """The most frequent confusions of labels."""
    pairs = Counter((e.gold[2], e.found[2]) for e in errors if e.kind == LABEL and e.gold and e.found)
    if not pairs:
        return []
    most = [f"{one} for {other} ({n})" for (other, one), n in pairs.most_common(4)]
    return [aside("Most often confused: ", user_text("; ".join(most)), ".")]


def _tables(
    errors: Sequence[EntityError], examples: Sequence[EntityExample], found: Sequence[Sequence[tuple[Span, float]]]
) -> list[Html]:
    tables = []
    for kind in KINDS:
        of_kind = [error for error in errors if error.kind == kind]
        shown = _distinct(sorted(of_kind, key=lambda e: (-(e.score or 0.0), e.example)), examples)
        if not shown:
            continue
        columns = [*words("in context", "labelled", "answered"), Column("confidence")]
        rows = [
            [
                _quote(error, examples[error.example], [span for span, _ in found[error.example]]),
                user_text(error.gold[2]) if error.gold else "–",
                user_text(error.found[2]) if error.found else "–",
                f"{error.score:.2f}" if error.score is not None else "–",
            ]
            for error in shown
        ]
        order = "most confident first" if kind != MISSED else "in the order of the data"
        caption = f"{kind.capitalize()}: {plural(len(of_kind), 'span')}" + (f", {order}." if len(of_kind) > 1 else ".")
        tables.append(table(caption, columns, rows))
    return tables


def _quote(error: EntityError, example: EntityExample, found: Sequence[Span]) -> Html:
    spans = [span for span in (error.gold, error.found) if span]
    focus = min(s for s, _, _ in spans), max(e for _, e, _ in spans)
    return in_context(example.text, [(s, e) for s, e, _ in example.spans], [(s, e) for s, e, _ in found], focus)


def _distinct(errors: Sequence[EntityError], examples: Sequence[EntityExample]) -> list[EntityError]:
    """The first errors, without repetitions of the same words."""
    seen, kept = set(), []
    for error in errors:
        start, end, label = error.gold or error.found or (0, 0, "")
        words_ = (examples[error.example].text[start:end].lower(), label)
        if words_ not in seen:
            seen.add(words_)
            kept.append(error)
        if len(kept) == SHOWN:
            break
    return kept


def _overlap(one: Span, other: Span) -> int:
    return min(one[1], other[1]) - max(one[0], other[0])
