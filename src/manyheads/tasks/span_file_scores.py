"""Scoring files of tasks about entities, end to end: the entities in the file of answers count too.

Both files have rows as in training; or the answers are rows of `manyheads predict`, with those of the entity task.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from manyheads.errors import DataError, RowError
from manyheads.metrics.entities import entity_scores
from manyheads.metrics.labels import Counts, single_label_scores
from manyheads.tasks.file_rows import FileRow, FileScores, match_rows
from manyheads.tasks.rows import Row
from manyheads.tasks.spans import SpanExample, is_span, read_spans

Key = tuple[Any, Any, str]


def score_attributes(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """`strict_f1` of entities with their type and class, and metrics of the classes of entities that are found."""
    pairs = match_rows(golds, guesses, ("text",))
    wanted = [_example(gold) for gold, _ in pairs]
    names = sorted({name for example in wanted for span in example.spans for name in span.attributes})
    if len(names) != 1:
        seen = f"the attributes {', '.join(names)}" if names else "no attributes"
        raise DataError(f"the gold entities have {seen}; a file with exactly one attribute can be scored")
    types = {span.label for example in wanted for span in example.spans if names[0] in span.attributes}
    values = {str(span.attributes[names[0]]).lower() for e in wanted for span in e.spans if names[0] in span.attributes}
    absent = "false" if values <= {"true", "false"} else "none"
    gold = [_classes(example, names[0], types, absent) for example in wanted]
    found = [_answered_classes(guess, names[0], types, absent) for _, guess in pairs]
    sides = [[{(span, span, label) for span, label in row.items()} for row in rows] for rows in (gold, found)]
    strict = entity_scores(*sides)
    both = [(row[span], other[span]) for row, other in zip(gold, found, strict=True) for span in row if span in other]
    metrics = single_label_scores([one for one, _ in both], [other for _, other in both])
    return FileScores({"strict_f1": strict.total.f1, **metrics}, [
        f"{strict.total.gold} gold entities with '{names[0]}', {len(both)} of them found; the other metrics are about these"
    ])  # fmt: skip


def score_relations(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """`strict_f1` with precision and recall, and `boundaries_f1`; between concepts where gold relates concepts."""
    pairs = match_rows(golds, guesses, ("text",))
    wanted = [_example(gold) for gold, _ in pairs]
    concepts = any(one.concepts for example in wanted for one in example.relations)
    strict = entity_scores(
        [_relations(example, concepts=concepts) for example in wanted],
        [_answered_relations(guess, concepts=concepts) for _, guess in pairs],
    )
    total = strict.total
    metrics = {"strict_f1": total.f1, "strict_precision": total.precision, "strict_recall": total.recall}
    if not concepts:
        cut: Callable[[Collection[Key]], set[Key]] = lambda keys: {(h[:2], t[:2], label) for h, t, label in keys}  # noqa: E731
        gold = [cut(_relations(example, concepts=False)) for example in wanted]
        found = [cut(_answered_relations(guess, concepts=False)) for _, guess in pairs]
        metrics["boundaries_f1"] = entity_scores(gold, found).total.f1
    notes = [f"{total.gold} gold relations{' of concepts' * concepts}, {total.predicted} found, {total.correct} correct"]
    notes += [f"{label}: f1 {c.f1:.4f}, {c.gold} gold, {c.predicted} found" for label, c in strict.labels.items()]
    return FileScores(metrics, notes)


def score_links(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """`strict_f1` of linked entities with precision and recall, and `accuracy_at_1` of those that are found.

    An entity with several identifiers is right with any of them.
    """
    pairs = match_rows(golds, guesses, ("text",))
    gold = [{one.span: one.links for one in _example(row).spans if one.links} for row, _ in pairs]
    if not any(gold):
        raise DataError("no gold entity has an identifier; give them as 'links' of the entities")
    found = [_answered_links(guess) for _, guess in pairs]
    pairs_of_rows = zip(gold, found, strict=True)
    both = [(mine[span], link) for mine, other in pairs_of_rows for span, link in other.items() if span in mine]
    right = sum(link in links for links, link in both)
    strict = Counts(right, sum(map(len, gold)), sum(link is not None for other in found for link in other.values()))
    metrics = {"strict_f1": strict.f1, "strict_precision": strict.precision, "strict_recall": strict.recall}
    return FileScores({**metrics, "accuracy_at_1": right / len(both) if both else 0.0}, [
        f"{strict.gold} gold entities with identifiers, {len(both)} of them found; accuracy_at_1 is about these"
    ])  # fmt: skip


def _answered_links(row: FileRow) -> dict[Any, str | None]:
    """The identifier of each entity."""
    entities, answer = row.values.get("entities"), row.values.get("answer")
    if row.missing is not None or not isinstance(answer, list):
        return {one.span: next(iter(one.links), None) for one in _example(row).spans}
    return {_end(row, entities, one.get("entity")): one.get("id") for one in answer if isinstance(one, Mapping)}


def _example(row: FileRow) -> SpanExample:
    values = row.values if row.missing is None else {"text": "", "entities": []}
    try:
        return read_spans({"text": " " * _reach(values), **values, "relations": values.get("relations")})
    except RowError as error:
        raise DataError(f"{row.where()}: {error}") from None


def _reach(values: Row) -> int:
    """Characters that the entities need, for rows without a text."""
    entities = values.get("entities")
    return max((e["end"] for e in entities if is_span(e)), default=0) if isinstance(entities, list) else 0


def _classes(example: SpanExample, name: str, types: Collection[str], absent: str) -> dict[Any, str]:
    values = ((one.span, one.attributes.get(name)) for one in example.spans if one.label in types)
    return {
        span: absent if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for span, value in values
    }


def _answered_classes(row: FileRow, name: str, types: Collection[str], absent: str) -> dict[Any, str]:
    entities, answer = row.values.get("entities"), row.values.get("answer")
    if row.missing is not None or not isinstance(answer, list):
        return _classes(_example(row), name, types, absent)
    return {_end(row, entities, one.get("entity")): str(one.get("label")) for one in answer if isinstance(one, Mapping)}


def _relations(example: SpanExample, *, concepts: bool) -> set[Key]:
    spans = example.spans
    if not concepts:
        return {(spans[h].span, spans[t].span, one.label) for one in example.relations for h in one.heads for t in one.tails}
    named = {(*one.concepts, one.label) for one in example.relations if one.concepts}
    mentions = [one for one in example.relations if not one.concepts]
    linked = ((spans[one.heads[0]].links, spans[one.tails[0]].links, one.label) for one in mentions)
    return named | {(head, tail, label) for heads, tails, label in linked for head in heads for tail in tails}


def _answered_relations(row: FileRow, *, concepts: bool) -> set[Key]:
    entities, answer = row.values.get("entities"), row.values.get("answer")
    if row.missing is not None or not isinstance(answer, list):
        return _relations(_example(row), concepts=concepts)
    if concepts:
        raise DataError(f"{row.where()} has relations of mentions, and gold relates concepts; give relations between "
                        "identifiers")  # fmt: skip
    return {
        (_end(row, entities, one.get("head")), _end(row, entities, one.get("tail")), str(one.get("label")))
        for one in answer
        if isinstance(one, Mapping)
    }


def _end(row: FileRow, entities: Any, place: Any) -> tuple[int, int, str]:
    """The entity at a place of the row's list. Raises DataError."""
    given = entities if isinstance(entities, list) else []
    entity: Any = given[place] if type(place) is int and 0 <= place < len(given) else None
    if not is_span(entity):
        raise DataError(f"{row.where()} names entity {place!r:.40}, and has {len(given)} entities; number them from 0")
    return entity["start"], entity["end"], entity["label"]
