"""Scoring files of similarities, or of vectors, against gold scores or positives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from manyheads.errors import DataError, RowError
from manyheads.tasks.file_rows import FileRow, FileScores, Pairs, match_rows
from manyheads.tasks.sentence_embedding.example import NLI_SIMILARITY, nli_label
from manyheads.text.values import is_missing, number_of


def score_pairs(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
    """Spearman and Pearson if gold has scores, else recall at 1 and mean reciprocal rank."""
    from manyheads.metrics.vectors import cosine, mrr, pearson, recall_at_k, spearman

    if guesses and ("vector" in guesses[0].values or "embedding" in guesses[0].values or guesses[0].missing is not None):
        pairs = _vectors_in_turn(golds, guesses)
    else:
        pairs = match_rows(golds, guesses, ("text_a", "text_b"))
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
        return FileScores({"spearman": spearman(similarities, known), "pearson": pearson(similarities, known)}, notes)
    a_BD, b_BD = (_stacked(pairs, key) for key in ("vector_a", "vector_b"))
    negatives = [pair for pair in pairs if pair[1].values.get("vector_negative") is not None]
    candidates = [*b_BD, *(_stacked(negatives, "vector_negative") if negatives else [])]
    texts = [str(gold.values.get("text_b", gold.where())) for gold, _ in pairs]
    texts += [str(gold.values.get("negative", f"{gold.where()} negative")) for gold, _ in negatives]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    same = [numbers[text] for text in texts]
    notes.append(f"the partner of each text_a was searched among {len(candidates)} texts")
    return FileScores(
        {
            "recall_at_1": recall_at_k(a_BD, candidates, k=1, identities=same),
            "mrr": mrr(a_BD, candidates, identities=same),
        },
        notes,
    )


def _gold_score(row: FileRow) -> float | None:
    values = row.values
    if "score" in values or "similarity" in values:
        return _number(row, ("score", "similarity"))
    if "label" not in values:
        return None
    try:
        return NLI_SIMILARITY[nli_label(values["label"])]
    except RowError as error:
        raise DataError(f"{row.where()}: {error}") from None


def _number(row: FileRow, keys: Sequence[str]) -> float:
    key = next((key for key in keys if key in row.values), None)
    if key is None:
        raise DataError(f"{row.where()} has no {' or '.join(map(repr, keys))}, and no vectors; its keys are "
                        f"{', '.join(map(str, row.values))}")  # fmt: skip
    try:
        return number_of(row.values[key], key)
    except RowError:
        raise DataError(f"{row.where()}: '{key}' must be a finite number, seen {row.values[key]!r:.80}") from None


def _vectors_in_turn(golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> Pairs:
    """Pairs from rows of one vector each: text_a, text_b and the negative, if any, of one pair after the other."""
    roles = []
    for row in golds:
        third = () if is_missing(row.values.get("negative")) else ("vector_negative",)
        roles += [(row, role) for role in ("vector_a", "vector_b", *third)]
    if len(roles) != len(guesses):
        raise DataError(f"{guesses[0].place} has {len(guesses)} vectors, but {golds[0].place} has {len(roles)} texts in "
                        f"{len(golds)} pairs; give text_a, text_b of the first pair, then of the next")  # fmt: skip
    pairs: Pairs = []
    for (row, role), guess in zip(roles, guesses, strict=True):
        if guess.missing is not None:
            raise DataError(f"{guess.where()} {guess.missing}; without its vector, leave the pair out of both files")
        if role == "vector_a":
            pairs.append((row, replace(guess, values={})))
        pairs[-1][1].values[role] = guess.values.get("vector", guess.values.get("embedding"))
    return pairs


def _stacked(pairs: Pairs, key: str) -> list[list[float]]:
    """Vectors of equal width."""
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
