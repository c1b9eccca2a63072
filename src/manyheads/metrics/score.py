"""Scores of any system's answers in files: what `manyheads score` does, without the printing.

    score_files("token-classification", Path("gold.conll"), Path("tagged.conll")).metrics

GOLD is a data file as training reads it. PREDICTIONS is a data file of the same kind with predicted labels, rows as
`manyheads predict` writes them, SQuAD's `{id: answer}`, or similarities or vectors of pairs. Decided here:
- Rows are matched by id when every row of both files has one, else by order. What does not match is an error with its
  place, never a guess. Only questions may lack a prediction, and are then wrong.
- Two columns of tags are compared as conlleval does. It reads one file with both, so the same CoNLL file as GOLD and
  PREDICTIONS means: the last column is the prediction, the one before it gold. `-DOCSTART-` lines are no tokens.
- Everything else is compared by character offsets; words stand one space apart unless the row has their text.
- Rows that a model could not read (`error`) count as answered with nothing.
- Files are read here in a few lines each; `data.readers`, for training, belongs to a higher layer.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from manyheads.errors import DataError, UsageError
from manyheads.metrics.answers import answer_scores
from manyheads.metrics.entities import Span, chunks, entity_scores, iob2_tags, scheme, split_tag, token_accuracy
from manyheads.metrics.labels import multi_label_scores

NLI_SIMILARITY = {"contradiction": 0.0, "neutral": 0.5, "entailment": 1.0}
"""How NLI labels rank as gold similarities."""
LONGEST_CELL = 2**31 - 1
"""Characters in a csv cell; the csv module refuses more than 131,072 unless told."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What came out."""

    metrics: dict[str, float]
    """Fractions by name."""
    notes: list[str]
    """Sentences for the reader: what was counted, how it was matched, what was missing."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file and its place in it."""

    values: dict[str, Any]
    place: str
    line: int = 0
    """0 where lines are not counted and `place` says all."""
    lack: str | None = None
    """Why the row has nothing for the task: it has an `error`, or no entry."""

    def where(self, offset: int = 0) -> str:
        """`path:line`, for word `offset` of CoNLL columns."""
        return f"{self.place}:{self.line + offset}" if self.line else self.place

    @property
    def failed(self) -> bool:
        """Whether it holds the `error` of a row that a model could not read."""
        return isinstance(self.values.get("error"), Mapping)

    @property
    def id(self) -> str | None:
        """The id as a string, so that 7 in JSON is 7 in csv."""
        value = self.values.get("id")
        return None if value is None or value == "" else str(value)


Pairs = list[tuple[Row, Row]]
Words = Callable[[str], list[tuple[int, int]]]


def simple_words(text: str) -> list[tuple[int, int]]:
    """Offsets of runs of letters and digits with their marks, and of single symbols."""
    import regex

    return [match.span() for match in regex.finditer(r"[\p{L}\p{N}\p{M}]+|[^\s\p{L}\p{N}\p{M}]", text)]


def score_files(
    kind: str, gold: Path, predictions: Path, task: str | None = None, *, words: Words = simple_words
) -> Scores:
    """Score a file of predictions for a task of this kind.

    `task` names the entry of rows that hold several tasks (`tasks`, `targets`); without it, there must be only one that
    fits. `words` gives the words over which token accuracy is taken where gold has a text and no words. Raises UsageError
    for an unknown kind, DataError for files that cannot be read or do not match.
    """
    if kind not in _KINDS:
        raise UsageError(f"there is no task type {kind!r}; choose one of {', '.join(_KINDS)}")
    golds, guesses = _read(gold, kind), _read(predictions, kind)
    notes = []
    if kind == "token-classification" and gold.samefile(predictions) and any("before" in row.values for row in golds):
        golds = [_column_before(row) for row in golds]
        notes = ["one file for both: gold is the column before the last, the prediction is the last"]
    if task is not None and not any("tasks" in row.values or "targets" in row.values for row in golds + guesses):
        raise DataError(f"{predictions} has no rows of several tasks to choose '{task}' from; leave --task out")
    golds, guesses = _flat(golds, gold, kind, task), _flat(guesses, predictions, kind, task)
    unlabelled = sum(row.lack is not None for row in golds)
    if unlabelled == len(golds):
        raise DataError(f"{gold} has no rows{' with this task' if golds else ''}; give a file with gold data")
    score = partial(_score_tokens, words=words) if kind == "token-classification" else _KINDS[kind]
    scores = score(golds, guesses)
    notes += scores.notes
    if unlabelled:
        notes.append(f"{unlabelled} gold rows have nothing for the task and are left out")
    if failed := sum(row.failed for row in guesses):
        notes.append(f"{failed} predicted rows have an error in place of answers and count as answered with nothing")
    return replace(scores, notes=notes)


# -- token-classification ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Tagged:
    """A sentence: words with tags, or spans of characters."""

    row: Row
    words: Sequence[str] | None
    tags: Sequence[str] | None
    text: str | None
    spans: Sequence[Span]
    """Of words where there are tags, of characters where not."""


def _score_tokens(golds: Sequence[Row], guesses: Sequence[Row], words: Words = simple_words) -> Scores:
    spans: tuple[list[Sequence[Span]], list[Sequence[Span]]] = [], []  # of gold, of predictions
    columns: tuple[list[Sequence[str]], list[Sequence[str]]] = [], []  # tags as the files have them
    made: tuple[list[Sequence[str]], list[Sequence[str]]] = [], []  # tags made from spans
    if len(golds) != len(guesses):
        for rows in zip(golds, guesses, strict=False):
            if all("before" in row.values for row in rows):
                _check_words(_tagged(rows[0]), _tagged(rows[1]))  # the line where an empty line is lacking
    for rows in _paired(golds, guesses, ("text",)):
        gold, guess = sides = _tagged(rows[0]), _tagged(rows[1])
        if gold.tags is not None and guess.tags is not None:
            _check_words(gold, guess)
            for k, side in enumerate(sides):
                spans[k].append(side.spans)
                columns[k].append(side.tags or [])
            continue
        text = gold.text if gold.text is not None else guess.text
        places = [] if text is None else _offsets(gold, text) if gold.words is not None else words(text)
        for k, side in enumerate(sides):
            spans[k].append(_character_spans(side, text))
            made[k].append(_tags_of_characters(spans[k][-1], places))
    notes = []
    schemes = scheme(columns[0]), scheme(columns[1])
    if schemes[0] != schemes[1]:  # an `I-` that begins a span would differ from every `B-` of the other file
        notes.append(f"gold tags are {schemes[0]}, predicted ones {schemes[1]}: token accuracy compares both as IOB2")
        columns = _as_iob2(columns[0]), _as_iob2(columns[1])
    scores = entity_scores(*spans)
    metrics, total = scores.to_metrics(), scores.total
    tokens = sum(map(len, [*columns[0], *made[0]]))
    if tokens:
        metrics["token_accuracy"] = token_accuracy([*columns[0], *made[0]], [*columns[1], *made[1]])
    notes.append(f"{tokens} tokens, {total.gold} gold entities, {total.predicted} found, {total.correct} correct")
    for label, c in scores.labels.items():
        figures = f"f1 {c.f1:.4f}, precision {c.precision:.4f}, recall {c.recall:.4f}"
        notes.append(f"{label or '(no label)'}: {figures}, {c.gold} gold, {c.predicted} found")
    return Scores(metrics, notes)


def _tagged(row: Row) -> _Tagged:
    """What a row says. Raises DataError when it is not tags for its tokens, nor spans."""
    values, where = row.values, row.where()
    words, text = values.get("tokens"), values.get("text")
    if text is not None and not isinstance(text, str):
        raise DataError(f"{where}: 'text' must be a string, seen {text!r:.80}")
    if words is not None:
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f"{where}: 'tokens' must be a list of words, seen {words!r:.80}")
        text = " ".join(words) if text is None else text
    if row.lack is not None:
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
        try:
            split_tag(tag)
        except (ValueError, AttributeError, TypeError):
            raise DataError(
                f"{row.where(k) if 'before' in values else where}: tag {tag!r} of {words[k]!r} is neither 'O' nor one "
                "of 'B-', 'I-', 'E-', 'S-' with a label; the last column must be the tag"
            ) from None
    return _Tagged(row, words, tags, text, chunks(tags))


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
    """The two columns must be of the same words."""
    one, other = gold.words or (), guess.words or ()
    for k, (word, seen) in enumerate(zip(one, other, strict=False)):
        if word != seen:
            raise DataError(f"{_word_place(guess, k)} has the word {seen!r} where {_word_place(gold, k)} has {word!r}; "
                            "both files must hold the same words in the same order")  # fmt: skip
    if len(one) != len(other):
        raise DataError(f"{guess.row.where()} is a sentence of {len(other)} words, {gold.row.where()} one of {len(one)}; "
                        "put the empty lines at the same places")  # fmt: skip


def _word_place(sentence: _Tagged, k: int) -> str:
    return sentence.row.where(k if "before" in sentence.row.values else 0)


def _character_spans(side: _Tagged, text: str | None) -> Sequence[Span]:
    """Spans in the gold text. Raises DataError where they are not in it, or say of it what is not there."""
    if side.tags is not None:
        places = _offsets(side, text)
        return [(places[start][0], places[end - 1][1], label) for start, end, label in side.spans]
    entities = side.row.values["entities"] if side.spans else []
    for (start, end, label), entity in zip(side.spans, entities, strict=True):
        if text is not None and (end > len(text) or entity.get("text", text[start:end]) != text[start:end]):
            raise DataError(f"{side.row.where()}: entity {start}-{end} ({label}) says {entity.get('text', '')!r}, but the "
                            f"gold text of {len(text)} characters has {text[start:end]!r} there; offsets are code "
                            "points, and rows stand in the order of gold")  # fmt: skip
    return side.spans


def _offsets(side: _Tagged, text: str | None) -> list[tuple[int, int]]:
    """Places of the words of a sentence in a text, which may have any white space between them."""
    words = side.words or ()
    text = " ".join(words) if text is None else text
    places, end = [], 0
    for k, word in enumerate(words):
        start = end
        while start < len(text) and text[start].isspace() and not text.startswith(word, start):
            start += 1
        if not text.startswith(word, start):
            raise DataError(f"{_word_place(side, k)}: the word {word!r} does not follow in the text, which goes on "
                            f"{text[start : start + 30]!r}; words and text must be of the same sentence")  # fmt: skip
        end = start + len(word)
        places.append((start, end))
    return places


def _tags_of_characters(spans: Sequence[Span], places: Sequence[tuple[int, int]]) -> list[str]:
    """IOB2 tags of words that a span touches."""
    starts, ends = [start for start, _ in places], [end for _, end in places]
    touched = [(bisect_right(ends, start), bisect_left(starts, end), label) for start, end, label in spans]
    return iob2_tags([span for span in touched if span[0] < span[1]], len(places))


def _as_iob2(sentences: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    return [iob2_tags(chunks(tags), len(tags)) for tags in sentences]


def _column_before(row: Row) -> Row:
    """Gold from the column before the last."""
    if not row.values["before"]:
        raise DataError(f"{row.where()} has 2 columns; a file that is both GOLD and PREDICTIONS needs three: the word, "
                        "the gold tag, and last the predicted tag")  # fmt: skip
    return replace(row, values={**row.values, "tags": row.values["before"]})


# -- text-classification ----------------------------------------------------------------------------------------------
def _score_labels(golds: Sequence[Row], guesses: Sequence[Row]) -> Scores:
    pairs = _paired(golds, guesses, ("text",))
    gold = [_labels(row) for row, _ in pairs]
    found = [_labels(row) if row.lack is None else None for _, row in pairs]
    forms: dict[bool, Row] = {}
    for (one, other), (multi, _), answer in zip(pairs, gold, found, strict=True):
        forms.setdefault(multi, one)
        if answer is not None:
            forms.setdefault(answer[0], other)
    if len(forms) > 1:
        raise DataError(f"{forms[True].where()} has 'labels', a list, but {forms[False].where()} has 'label', one string; "
                        "use one of them throughout")  # fmt: skip
    expected = [labels for _, labels in gold]
    metrics = multi_label_scores(expected, [answer[1] if answer is not None else () for answer in found])
    return Scores(metrics, [f"{len(gold)} texts, {len(set(chain.from_iterable(expected)))} gold labels"])


def _labels(row: Row) -> tuple[bool, tuple[str, ...]]:
    """Whether labels come as a list, and the labels; in a csv cell they are separated by `|`."""
    many, one = row.values.get("labels"), row.values.get("label")
    if isinstance(many, str):
        many = [label.strip() for label in many.split("|") if label.strip()]
    if isinstance(many, list) and all(isinstance(label, str | int) for label in many):
        return True, tuple(map(str, many))
    if many is not None:
        raise DataError(f"{row.where()}: 'labels' must be a list of strings, seen {many!r:.80}")
    if isinstance(one, bool) or not isinstance(one, str | int) or one == "":
        seen = f"'label' must be a string, seen {one!r:.80}" if "label" in row.values else "no 'label' and no 'labels'"
        raise DataError(f"{row.where()}: {seen}; its keys are {', '.join(map(str, row.values))}")
    return False, (str(one),)


# -- question-answering -----------------------------------------------------------------------------------------------
def _score_answers(golds: Sequence[Row], guesses: Sequence[Row]) -> Scores:
    notes = []
    if _all_have_ids(golds, guesses):
        given, wanted = _by_id(guesses), _by_id([row for row in golds if row.lack is None])
        if given and not given.keys() & wanted.keys():
            raise DataError(f"{guesses[0].where()}: neither its id nor any other is in gold ({golds[0].where()}); "
                            "check that the two files belong together")  # fmt: skip
        pairs = [(row, given.get(name)) for name, row in wanted.items()]
        if extra := len(given.keys() - {row.id for row in golds}):
            notes.append(f"{extra} predictions have an id that gold does not have; they are left out")
    else:
        pairs = list(_paired(golds, guesses, ("question",)))
    answers = [_answer(row) if row is not None and row.lack is None else None for _, row in pairs]
    texts = [_gold_answers(row) for row, _ in pairs]
    empty = sum(not answers for answers in texts)
    notes.insert(0, f"{len(texts)} questions" + (f", {empty} of them unanswerable" if empty else ""))
    if missing := answers.count(None):
        notes.append(f"{missing} questions have no prediction and count as wrong")
    return Scores(answer_scores(texts, answers), notes)


def _gold_answers(row: Row) -> list[str]:
    """Texts of the answers; none where `is_impossible`. Lists of objects, of strings, and the hub's {"text": [...]}."""
    answers = row.values.get("answers")
    if row.values.get("is_impossible"):
        return []
    if isinstance(answers, Mapping):
        answers = answers.get("text")
    listed = answers if isinstance(answers, list) else [None]
    texts = [answer.get("text") if isinstance(answer, Mapping) else answer for answer in listed]
    good = [text for text in texts if isinstance(text, str)]
    if len(good) < len(texts):
        raise DataError(f"{row.where()}: 'answers' must be a list of {{text, start}}, seen {answers!r:.80}")
    return good


def _answer(row: Row) -> str:
    """The answer of `answer`, SQuAD's `prediction_text`, or `text`; null is an empty one."""
    for key in ("answer", "prediction_text", "text"):
        if key in row.values:
            answer = row.values[key]
            if answer is None or isinstance(answer, str):
                return answer or ""
            raise DataError(f"{row.where()}: '{key}' must be a string, seen {answer!r:.80}")
    raise DataError(f"{row.where()} has no 'answer' and no 'text'; its keys are {', '.join(map(str, row.values))}")


# -- sentence-embedding -----------------------------------------------------------------------------------------------
def _score_pairs(golds: Sequence[Row], guesses: Sequence[Row]) -> Scores:
    from manyheads.metrics.vectors import cosine, mrr, pearson, recall_at_k, spearman

    if guesses and ("vector" in guesses[0].values or "embedding" in guesses[0].values or guesses[0].lack is not None):
        pairs = _vectors_in_turn(golds, guesses)
    else:
        pairs = _paired(golds, guesses, ("text_a", "text_b"))
    expected = [_gold_score(row) for row, _ in pairs]
    notes = [f"{len(pairs)} pairs"]
    known = [score for score in expected if score is not None]
    if known and len(known) < len(expected):
        raise DataError(f"{pairs[expected.index(None)][0].where()} has no score, but others have; fill it in")
    if known:
        if "vector_a" in pairs[0][1].values:
            a_BD, b_BD = (_stacked(pairs, key) for key in ("vector_a", "vector_b"))
            similarities = cosine(a_BD, b_BD).tolist()
        else:
            similarities = [_number(row, ("similarity", "score")) for _, row in pairs]
        if len(set(similarities)) == 1 or len(set(known)) == 1:
            notes.append("all similarities or all gold scores are the same; the correlations are 0 by definition")
        return Scores({"spearman": spearman(similarities, known), "pearson": pearson(similarities, known)}, notes)
    a_BD, b_BD = (_stacked(pairs, key) for key in ("vector_a", "vector_b"))
    negatives = [pair for pair in pairs if pair[1].values.get("vector_negative") is not None]
    candidates = [*b_BD, *(_stacked(negatives, "vector_negative") if negatives else [])]
    texts = [str(gold.values.get("text_b", gold.where())) for gold, _ in pairs]
    texts += [str(gold.values.get("negative", f"{gold.where()} negative")) for gold, _ in negatives]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    same = [numbers[text] for text in texts]
    notes.append(f"each text_a was searched among {len(candidates)} texts")
    return Scores(
        {
            "recall_at_1": recall_at_k(a_BD, candidates, k=1, identities=same),
            "mrr": mrr(a_BD, candidates, identities=same),
        },
        notes,
    )


def _gold_score(row: Row) -> float | None:
    values = row.values
    if "score" in values or "similarity" in values:
        return _number(row, ("score", "similarity"))
    if "label" not in values:
        return None
    label = str(values["label"]).lower()
    if label not in NLI_SIMILARITY:
        raise DataError(f"{row.where()}: NLI label {values['label']!r} is none of {', '.join(NLI_SIMILARITY)}")
    return NLI_SIMILARITY[label]


def _number(row: Row, keys: Sequence[str]) -> float:
    key = next((key for key in keys if key in row.values), None)
    if key is None:
        raise DataError(f"{row.where()} has no {' or '.join(map(repr, keys))}, and no vectors; its keys are "
                        f"{', '.join(map(str, row.values))}")  # fmt: skip
    try:
        value = float(row.values[key])
    except (TypeError, ValueError):
        value = float("nan")
    if not abs(value) < float("inf"):
        raise DataError(f"{row.where()}: '{key}' must be a finite number, seen {row.values[key]!r:.80}")
    return value


def _vectors_in_turn(golds: Sequence[Row], guesses: Sequence[Row]) -> Pairs:
    """Rows of one vector each: text_a and text_b of the first pair (and its negative, if it has one), then the next's."""
    roles = [(row, role) for row in golds
             for role in ("vector_a", "vector_b", *(["vector_negative"] if row.values.get("negative") else []))]  # fmt: skip
    if len(roles) != len(guesses):
        raise DataError(f"{guesses[0].place} has {len(guesses)} vectors, but {golds[0].place} has {len(roles)} texts in "
                        f"{len(golds)} pairs; give text_a, text_b of the first pair, then of the next")  # fmt: skip
    pairs: Pairs = []
    for (row, role), guess in zip(roles, guesses, strict=True):
        if guess.lack is not None:
            raise DataError(f"{guess.where()} {guess.lack}; without its vector, leave the pair out of both files")
        if role == "vector_a":
            pairs.append((row, replace(guess, values={})))
        pairs[-1][1].values[role] = guess.values.get("vector", guess.values.get("embedding"))
    return pairs


def _stacked(pairs: Pairs, key: str) -> list[list[float]]:
    """Vectors of one width."""
    vectors: list[list[float]] = []
    for _, row in pairs:
        vector = row.values.get(key)
        if key not in row.values:
            raise DataError(f"{row.where()} has no '{key}'; pairs without scores are ranked, which needs vectors")
        good = isinstance(vector, list) and all(isinstance(x, int | float) and abs(x) < float("inf") for x in vector)
        if not good or not vector or (vectors and len(vector) != len(vectors[0])):
            want = f"{len(vectors[0])} numbers" if vectors else "finite numbers"
            raise DataError(f"{row.where()}: '{key}' must be a list of {want}, seen {vector!r:.60}")
        vectors.append(vector)
    return vectors


_KINDS: Mapping[str, Callable[[Sequence[Row], Sequence[Row]], Scores]] = {
    "token-classification": _score_tokens,
    "text-classification": _score_labels,
    "question-answering": _score_answers,
    "sentence-embedding": _score_pairs,
}


# -- matching rows ----------------------------------------------------------------------------------------------------
def _all_have_ids(golds: Sequence[Row], guesses: Sequence[Row]) -> bool:
    return all(row.id is not None for rows in (golds, guesses) for row in rows)


def _paired(golds: Sequence[Row], guesses: Sequence[Row], same: Sequence[str]) -> Pairs:
    """Gold rows that have a label, each with its prediction. In order, the columns `same` must be the same."""
    pairs: Pairs
    if _all_have_ids(golds, guesses) and [row.id for row in golds] != [row.id for row in guesses]:
        given, wanted = _by_id(guesses), _by_id(golds)
        for rows, others, what in ((wanted, given, "prediction"), (given, wanted, "gold row")):
            if lost := [name for name in rows if name not in others]:
                raise DataError(f"{rows[lost[0]].where()}: id {lost[0]!r} has no {what}, nor have {len(lost) - 1} other ids; "
                                "both files must hold the same ids")  # fmt: skip
        pairs, same = [(row, given[name]) for name, row in wanted.items()], ()
    elif len(golds) != len(guesses):
        alone = max(golds, guesses, key=len)[min(len(golds), len(guesses))]
        raise DataError(f"{alone.where()} is a row without a partner: there are {len(golds)} gold rows and {len(guesses)} "
                        "predicted ones; without ids in both files they are matched by order, one for each")  # fmt: skip
    else:
        pairs = list(zip(golds, guesses, strict=True))
    for gold, guess in pairs:
        for key in same:
            one, other = gold.values.get(key), guess.values.get(key)
            if isinstance(one, str) and isinstance(other, str) and one != other:
                raise DataError(f"{guess.where()} has the {key} {other!r:.60} where {gold.where()} has {one!r:.60}; put "
                                "rows in the same order, or give both files ids")  # fmt: skip
        if guess.lack is not None and not guess.failed and gold.lack is None:
            raise DataError(f"{guess.where()} {guess.lack}")
    return [(gold, guess) for gold, guess in pairs if gold.lack is None]


def _by_id(rows: Sequence[Row]) -> dict[str, Row]:
    result: dict[str, Row] = {}
    for row in rows:
        first = result.setdefault(str(row.id), row)
        if first is not row:
            raise DataError(f"{row.where()}: id {row.id!r} stands at {first.where()} already; ids must be unique")
    return result


# -- rows of several tasks --------------------------------------------------------------------------------------------
def _flat(rows: Sequence[Row], path: Path, kind: str, task: str | None) -> list[Row]:
    """Rows with the keys of one task, taken from `tasks` (predictions) or `targets` (gold)."""
    result = list(rows)
    for key in ("tasks", "targets"):
        if any(key in row.values for row in result):
            name = _chosen(result, path, key, kind, task)
            result = [_entry(row, key, name, kind) for row in result]
    return [replace(row, lack=f"has an error: {row.values['error']}") if row.failed else row for row in result]


def _chosen(rows: Sequence[Row], path: Path, key: str, kind: str, task: str | None) -> str:
    """The task asked for, or the only one whose entries are of this kind."""
    fits: dict[str, set[bool | None]] = {}
    for row in rows:
        entries = row.values.get(key, {})
        if not isinstance(entries, Mapping):
            raise DataError(f"{row.where()}: '{key}' must be an object {{TASK: ...}}, seen {entries!r:.80}")
        for name, entry in entries.items():
            fits.setdefault(name, set()).add(_fits(kind, entry))
    names = ", ".join(fits) or "none"
    if task is not None:
        if task not in fits:
            raise DataError(f"{path} has no task '{task}'; its tasks are {names}")
        return task
    possible = [name for name, verdicts in fits.items() if False not in verdicts]
    sure = [name for name in possible if True in fits[name]]
    found = sure or possible
    if len(found) != 1:
        several = (
            f"several tasks that could be {kind}: {', '.join(found)}" if found else f"no {kind} task among {names}"
        )
        raise DataError(f"{path} has {several}; choose one with --task, or give a file with that task's rows")
    return found[0]


def _fits(kind: str, entry: Any) -> bool | None:
    """Whether an entry is of this kind; None for an empty list, which may be spans, answers or labels."""
    if entry == []:
        return None if kind != "sentence-embedding" else False
    first = entry[0] if isinstance(entry, list) else None
    keys = set(entry) if isinstance(entry, Mapping) else set()
    if kind == "token-classification":
        return isinstance(first, Mapping) and "label" in first
    if kind == "text-classification":
        return isinstance(entry, str) or isinstance(first, str) or bool({"label", "labels"} & keys)
    if kind == "question-answering":
        return (isinstance(first, Mapping) and "label" not in first) or "answers" in keys
    return isinstance(first, int | float) or "text_b" in keys


def _entry(row: Row, key: str, name: str, kind: str) -> Row:
    """The row as a file of this task alone would have it."""
    rest = {other: value for other, value in row.values.items() if other != key}
    if name not in row.values.get(key, {}):
        known = ", ".join(row.values.get(key, {})) or "none"
        return replace(row, values=rest, lack=f"has nothing for the task '{name}'; its tasks are {known}")
    entry = row.values[key][name]
    own: Mapping[str, Any]
    if kind == "token-classification":
        own = {"entities": entry}
    elif kind == "text-classification":
        own = entry if isinstance(entry, Mapping) else {"labels" if isinstance(entry, list) else "label": entry}
    elif isinstance(entry, Mapping):  # targets of questions and pairs
        own = {"text_a": row.values.get("text"), **entry}
    elif kind == "question-answering":
        best = entry[0] if isinstance(entry, list) and entry else {"text": ""}
        own = {"answer": best.get("text") if isinstance(best, Mapping) else best}
    else:
        own = {"vector": entry}
    return replace(row, values={**rest, **own})


# -- files ------------------------------------------------------------------------------------------------------------
def _read(path: Path, kind: str) -> list[Row]:
    """All rows of a file; the format follows from the name."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    formats: dict[str, Callable[[Path], Iterator[Row]]] = {
        ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json_lines, ".parquet": _parquet
    }  # fmt: skip
    if kind == "question-answering":
        formats[".json"] = _squad
    elif kind != "token-classification":
        formats |= {".csv": _table, ".tsv": _table}
    if suffix in formats:
        return list(formats[suffix](path))
    if kind == "token-classification" and suffix != ".csv":
        return list(_conll(path))
    columns = "CoNLL columns (.conll, .txt, ...), " if kind == "token-classification" else ""
    raise DataError(f"{path}: {kind} is scored from {columns}{', '.join(sorted(formats))}, each also as .gz")


def _bytes(path: Path) -> bytes:
    """The file, unpacked. Raises DataError when it cannot be read."""
    try:
        stored = path.read_bytes()
        return gzip.decompress(stored) if path.name.lower().endswith(".gz") else stored
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; name a file") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged or cut-off gzip file ({error}); copy it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines with their endings; only a line feed ends one."""
    for number, block in enumerate(_bytes(path).split(b"\n"), 1):
        try:
            yield number, block.decode("utf-8-sig" if number == 1 else "utf-8") + "\n"
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise DataError(f"{path}:{number} is not UTF-8: byte 0x{byte:02x}; save the file as UTF-8") from None


def _conll(path: Path) -> Iterator[Row]:
    """Sentences of columns; `before` is the column before the last, empty where there are but two."""
    width, tabs, first = 0, False, 0
    cells: list[list[str]] = []
    for number, line in [*_lines(path), (0, "")]:
        text = line.rstrip("\r\n \t")
        if not text or text.startswith("-DOCSTART-"):
            if cells:
                words, tags = ([row[k] for row in cells] for k in (0, -1))
                before = [row[-2] for row in cells] if width > 2 else []
                yield Row({"tokens": words, "tags": tags, "before": before}, str(path), first)
            cells, first = [], number + 1
            continue
        tabs = "\t" in text if not width else tabs
        parts = [part.strip(" ") for part in text.split("\t")] if tabs else [part for part in text.split(" ") if part]
        width = width or len(parts)
        if len(parts) != width or width == 1:
            known = f"the lines before it have {width}; fix the line" if width > 1 else "a word and its tag are needed"
            raise DataError(f"{path}:{number} has {len(parts)} column{'s' * (len(parts) != 1)}, {known}")
        first = number if not cells else first
        cells.append(parts)


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        if line.strip():
            values = _json(line.rstrip("\r\n"), path, number)
            if not isinstance(values, dict):
                raise DataError(f"{path}:{number} holds {values!r:.60}; write one JSON object on each line")
            yield Row(values, str(path), number)


def _json(text: str, path: Path, number: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}:{number + error.lineno - 1}"
        raise DataError(f"{place} is not valid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number} is not JSON that can be read: {error}") from None


def _squad(path: Path) -> Iterator[Row]:
    """Questions of SQuAD, answers `{id: answer}`, a list of rows; or JSON lines."""
    text = "".join(line for _, line in _lines(path))
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return (yield from _json_lines(path))
        whole = _json(text, path, 1)
    if isinstance(whole, dict) and isinstance(whole.get("data"), list):
        yield from _questions(path, whole["data"])
    elif isinstance(whole, list) and all(isinstance(values, dict) for values in whole):
        yield from (Row(values, f"{path}: row {number}") for number, values in enumerate(whole, 1))
    elif isinstance(whole, dict) and {"tasks", "answers", "answer"} & set(whole):
        yield Row(whole, str(path), 1)
    elif isinstance(whole, dict):
        yield from (Row({"id": name, "answer": answer}, f"{path}: id '{name}'") for name, answer in whole.items())
    else:
        raise DataError(f"{path} holds {whole!r:.60}; expected SQuAD's {{data: [...]}} or {{id: answer}}")


def _questions(path: Path, articles: Sequence[Any]) -> Iterator[Row]:
    for number, article in enumerate(articles, 1):
        try:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    yield Row({**qa, "answers": qa.get("answers", [])}, f"{path}: question '{qa.get('id', '')}'")
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: article {number} is not SQuAD ({error!r}); it needs paragraphs with qas"
            ) from None


def _table(path: Path) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    tab = path.name.lower().removesuffix(".gz").endswith(".tsv")
    lines = (line for _, line in _lines(path))
    reader = csv.reader(lines, delimiter="\t" if tab else ",", strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            if cells and not header:
                header = [cell.strip() for cell in cells]
            elif cells and len(cells) != len(header):
                names = ", ".join(header)
                raise DataError(f"{path}:{start} has {len(cells)} columns, the header has {len(header)} ({names})")
            elif cells:
                yield Row(dict(zip(header, cells, strict=True)), str(path), start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{start} has a cell whose quotes do not match ({error}); double the quotes in it"
        ) from None


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows = parquet.read_table(pa.BufferReader(_bytes(path))).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable parquet file: {str(error).splitlines()[0]}") from None
    yield from (Row(values, f"{path}: row {number}") for number, values in enumerate(rows, 1))
