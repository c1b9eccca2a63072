"""Vectors of the bundled encoder as it is: logistic regression on them, and the cosines of pairs.

The vectors are sentence-transformers' own, mean-pooled and of length 1. C is chosen by five folds of the cell's rows, and
for texts with several labels a threshold with it, by the set's headline on rows that a fit had not seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cells.methods import Found, Job
from cells.scores import gold_labels, headline
from cells.sets import Row
from manyheads.nn.resolve_encoder import resolve_encoder

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
THRESHOLDS = tuple(sorted((round(0.05 * step, 2) for step in range(1, 19)), key=lambda threshold: abs(threshold - 0.5)))
"""The usual one first: of equals the first is taken."""
FOLDS = 5


def encoder() -> str:
    return resolve_encoder("all-MiniLM-L6-v2").path_or_id


def vectors(texts: Sequence[str], device: str) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(encoder(), device=device)
    return np.asarray(model.encode(list(texts), batch_size=64, show_progress_bar=False))


def similarities(job: Job) -> Found:
    """Cosines without any training."""
    one, other = (vectors([row[key] for row in job.test], job.device) for key in ("text_a", "text_b"))
    return Found((one * other).sum(1).tolist())


def logistic_regression(job: Job) -> Found:
    several = job.data.kind == "label sets"
    train_ND, test_ND = (vectors([row["text"] for row in rows], job.device) for rows in (job.train, job.test))
    names = sorted({label for row in job.train for label in gold_labels(row)})
    thresholds = THRESHOLDS if several else (0.5,)
    fold_N = np.random.default_rng(job.seed).permutation(len(job.train)) % FOLDS
    scores: dict[tuple[float, float], float] = {}
    for strength in STRENGTHS:
        scores_NK = np.zeros((len(job.train), len(names)))
        for fold in range(FOLDS):
            kept = fold_N != fold
            rows = [row for row, there in zip(job.train, kept, strict=True) if there]
            scores_NK[~kept] = _fitted(train_ND[kept], rows, names, strength, several)(train_ND[~kept])
        for threshold in thresholds:
            answers = decided(scores_NK, names, several, threshold)
            scores[strength, threshold] = headline(job.data, job.train, answers)
    strength, threshold = max(scores, key=lambda each: scores[each])
    scores_NK = _fitted(train_ND, job.train, names, strength, several)(test_ND)
    facts = {"C": strength, "cross_validated": round(scores[strength, threshold], 4)} | (
        {"threshold": threshold} if several else {}
    )
    return Found(decided(scores_NK, names, several, threshold), facts)


def decided(scores_NK: np.ndarray, names: Sequence[str], several: bool, threshold: float) -> list[Any]:
    """The likeliest label, or all that reach the threshold."""
    if not several:
        return [names[k] for k in scores_NK.argmax(1)]
    return [[name for name, score in zip(names, scores_K, strict=True) if score >= threshold] for scores_K in scores_NK]


def _fitted(train_ND: np.ndarray, rows: Iterable[Row], names: list[str], strength: float, several: bool) -> Any:
    """A function from vectors to scores of all labels; labels that these rows lack get 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    base = LogisticRegression(C=strength, max_iter=1000)
    if several:
        targets_NK = np.array([[name in row["labels"] for name in names] for row in rows], int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a label that all or no rows of a fold have
            return OneVsRestClassifier(base).fit(train_ND, targets_NK).predict_proba
    model = base.fit(train_ND, [row["label"] for row in rows])
    places = [names.index(label) for label in model.classes_]

    def scores(vectors_ND: np.ndarray) -> np.ndarray:
        scores_NK = np.zeros((len(vectors_ND), len(names)))
        scores_NK[:, places] = model.predict_proba(vectors_ND)
        return scores_NK

    return scores
