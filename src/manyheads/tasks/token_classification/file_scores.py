"""Scoring files of entities: two columns of tags as conlleval compares them, everything else by character offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manyheads.errors import DataError, RowError
from manyheads.metrics.entities import Span, entity_scores, token_accuracy
from manyheads.tasks.file_rows import FileRow, FileScores, match_rows
from manyheads.text.joining import joined
from manyheads.text.spans import UNLABELLED, check_tag, scheme_of, spans_of_tags, tags_of_char_spans, to_iob2
from manyheads.text.words import words


@dataclass(frozen=True, slots=True)
class _Tagged:
    """A sentence: words with tags, or character spans."""

    row: FileRow
    words: Sequence[str] | None
    tags: Sequence[str] | None
    text: str | None
    spans: Sequence[Span]
    """In words if there are tags, else in characters."""


def score_tokens(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """Entity precision, recall and F1; token accuracy if there are words."""
    spans: tuple[list[Sequence[Span]], list[Sequence[Span]]] = [], []  # of gold, of predictions
    columns: tuple[list[Sequence[str]], list[Sequence[str]]] = [], []  # tags as the files have them
    made: tuple[list[Sequence[str]], list[Sequence[str]]] = [], []  # tags made from spans
    if len(golds) != len(guesses):
        for rows in zip(golds, guesses, strict=False):
            if all("before" in row.values for row in rows):
                _check_words(_tagged(rows[0]), _tagged(rows[1]))  # to report where an empty line is missing
    for rows in match_rows(golds, guesses, ("text",)):
        gold, guess = sides = _tagged(rows[0]), _tagged(rows[1])
        if gold.tags is not None and guess.tags is not None:
            _check_words(gold, guess)
            for k, side in enumerate(sides):
                spans[k].append(side.spans)
                columns[k].append(side.tags or [])
            continue
        text = _common_text(gold, guess)
        places = [] if text is None else _offsets(gold, text) if gold.words is not None else words(text)
        for k, side in enumerate(sides):
            spans[k].append(_character_spans(side, text))
            made[k].append(tags_of_char_spans(places, spans[k][-1])[0])
    notes = []
    schemes = scheme_of(columns[0]), scheme_of(columns[1])
    if schemes[0] != schemes[1]:  # an `I-` that begins a span would differ from every `B-` of the other file
        notes.append(f"gold tags are {schemes[0]}, predicted ones {schemes[1]}: token accuracy compares both as IOB2")
        columns = [to_iob2(tags) for tags in columns[0]], [to_iob2(tags) for tags in columns[1]]
    scores = entity_scores(*spans)
    metrics, total = scores.to_metrics(), scores.total
    tokens = sum(map(len, [*columns[0], *made[0]]))
    if tokens:
        metrics["token_accuracy"] = token_accuracy([*columns[0], *made[0]], [*columns[1], *made[1]])
    notes.append(f"{tokens} tokens, {total.gold} gold entities, {total.predicted} found, {total.correct} correct")
    for label, c in scores.labels.items():
        figures = f"f1 {c.f1:.4f}, precision {c.precision:.4f}, recall {c.recall:.4f}"
        name = "(no label)" if label in ("", UNLABELLED) else label
        notes.append(f"{name}: {figures}, {c.gold} gold, {c.predicted} found")
    return FileScores(metrics, notes)


def _tagged(row: FileRow) -> _Tagged:
    """Parse a row. Raises DataError unless it has tags for its tokens, or spans."""
    values, where = row.values, row.where()
    words, text = values.get("tokens"), values.get("text")
    if text is not None and not isinstance(text, str):
        raise DataError(f"{where}: 'text' must be a string, seen {text!r:.80}")
    if words is not None and (not isinstance(words, list) or not all(isinstance(word, str) for word in words)):
        raise DataError(f"{where}: 'tokens' must be a list of words, seen {words!r:.80}")
    if row.missing is not None:
        return _Tagged(row, words, None, text, [])
    if "entities" in values:
        return _Tagged(row, words, None, text, _spans(values["entities"], where))
    tags = values.get("tags")
    if words is None or not isinstance(tags, list):
        keys = ", ".join(map(str, values))
        raise DataError(f"{where} has neither 'tokens' with 'tags', nor 'entities' or 'tasks'; its keys are {keys}")
    if len(tags) != len(words):
        raise DataError(f"{where} has {len(words)} tokens but {len(tags)} tags; give each token one tag")
    for k, tag in enumerate(tags):
        if check_tag(tag):
            raise DataError(
                f"{row.where(k) if 'before' in values else where}: tag {tag!r} of {words[k]!r} is neither 'O' nor one "
                "of 'B-', 'I-', 'E-', 'S-', 'U-', 'L-' with a label; the last column must be the tag"
            )
    spans = [(span.start, span.end, span.label) for span in spans_of_tags(tags)]
    return _Tagged(row, words, tags, text, spans)


def _common_text(gold: _Tagged, guess: _Tagged) -> str | None:
    """The text to which both sides' offsets refer. If neither side has it, its words joined as written, or by spaces.

    Other tools join words by spaces: that is used if the texts of the answers match only there.
    """
    for side in (gold, guess):
        if side.text is not None:
            return side.text
    words = next((side for side in (gold, guess) if side.words), None)
    if words is None or words.words is None:
        return None
    try:
        written = joined(words.words, words.row.values.get("space_after"))[0]
    except RowError:  # words that are empty or blank
        return " ".join(words.words)
    spaced = " ".join(words.words)
    entities = [entity for side in (gold, guess) for entity in _entities(side)]

    def fits(text: str) -> bool:
        return all(
            e["end"] <= len(text) and e.get("text", text[e["start"] : e["end"]]) == text[e["start"] : e["end"]]
            for e in entities
        )

    return spaced if fits(spaced) and not fits(written) else written


def _entities(side: _Tagged) -> Sequence[Any]:
    """Character spans as in the row."""
    return side.row.values["entities"] if side.tags is None and side.spans else []


def _spans(entities: Any, where: str) -> list[Span]:
    if not isinstance(entities, list):
        raise DataError(f"{where}: entities must be a list of {{start, end, label}}, seen {entities!r:.80}")
    spans = []
    for entity in entities:
        try:
            start, end, label = entity["start"], entity["end"], entity["label"]
        except (KeyError, TypeError, IndexError):
            raise DataError(f"{where}: entity {entity!r:.80} needs 'start', 'end' and 'label'") from None
        if type(start) is not int or type(end) is not int or not isinstance(label, str):
            raise DataError(f"{where}: entity {entity!r:.80} needs whole numbers for offsets and a string as label")
        if not 0 <= start < end:
            raise DataError(f"{where}: entity {start}-{end} ({label}) is empty or before the text; end is exclusive")
        spans.append((start, end, label))
    return spans


def _check_words(gold: _Tagged, guess: _Tagged) -> None:
    """Raise DataError unless both sides have the same words."""
    one, other = gold.words or (), guess.words or ()
    for k, (word, seen) in enumerate(zip(one, other, strict=False)):
        if word != seen:
            raise DataError(f"{_word_place(guess, k)} has the word {seen!r} where {_word_place(gold, k)} has {word!r}; "
                            "both files must hold the same words in the same order")  # fmt: skip
    if len(one) != len(other):
        raise DataError(f"{guess.row.where()} is a sentence of {len(other)} words, {gold.row.where()} one of {len(one)}; "
                        "put the empty lines in the same places")  # fmt: skip


def _word_place(sentence: _Tagged, k: int) -> str:
    return sentence.row.where(k if "before" in sentence.row.values else 0)


def _character_spans(side: _Tagged, text: str | None) -> Sequence[Span]:
    """Spans in the gold text. Raises DataError for one outside of it, or with another text than there."""
    if side.tags is not None:
        places = _offsets(side, text)
        return [(places[start][0], places[end - 1][1], label) for start, end, label in side.spans]
    entities = _entities(side)
    for (start, end, label), entity in zip(side.spans, entities, strict=True):
        if text is not None and (end > len(text) or entity.get("text", text[start:end]) != text[start:end]):
            raise DataError(f"{side.row.where()}: entity {start}-{end} ({label}) says {entity.get('text', '')!r}, but the "
                            f"gold text of {len(text)} characters has {text[start:end]!r} there; offsets are code "
                            "points, and rows must be in the order of gold")  # fmt: skip
    return side.spans


def _offsets(side: _Tagged, text: str | None) -> list[tuple[int, int]]:
    """Offsets of the words of a sentence in a text, which may have any white space between them."""
    words = side.words or ()
    text = "" if text is None else text
    places, end = [], 0
    for k, word in enumerate(words):
        start = end
        while start < len(text) and text[start].isspace() and not text.startswith(word, start):
            start += 1
        if not text.startswith(word, start):
            raise DataError(f"{_word_place(side, k)}: the word {word!r} does not come next in the text, which continues with "
                            f"{text[start : start + 30]!r}; words and text must be of the same sentence")  # fmt: skip
        end = start + len(word)
        places.append((start, end))
    return places
