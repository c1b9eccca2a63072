"""Metrics of extractive answers, as in the official SQuAD scripts (Rajpurkar et al. 2016, 2018).

Decided here:
- The v2 rules are used for v1 too. They differ only for an answer of nothing but articles and punctuation, whose F1 is 0 in
  v1 even if it matches exactly. Gold answers that normalise to nothing are ignored, as in v2.
- An empty list of gold answers means an unanswerable question: only an empty answer is right.
- A prediction of None (no prediction at all) is wrong even then, as in v1's script; v2's leaves it out.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
"""ASCII only, as in the official scripts: typographic quotes are kept."""


def normalise(text: str) -> str:
    """The text in lower case, without ASCII punctuation, English articles and extra white space.

    >>> normalise("The  aspirin.")
    'aspirin'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str | None, golds: Sequence[str]) -> float:
    """1.0 if the prediction equals a gold answer after normalisation, or is empty if there is none.

    >>> exact_match("the Aspirin", ["aspirin", "a drug"])
    1.0
    """
    return _question(golds, prediction)[0]


def f1(prediction: str | None, golds: Sequence[str]) -> float:
    """F1 of words with the closest gold answer; if either has no words, 1.0 if neither has.

    >>> f1("low aspirin dose", ["aspirin"])
    0.5
    """
    return _question(golds, prediction)[1]


def answer_scores(golds: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, float]:
    """Mean `exact_match` and `f1`; if some questions have no gold answer, also `has_answer_*` and `no_answer_*`.

    Each of these is a mean over its own questions, and absent without any. Raises ValueError for different lengths.

    >>> answer_scores([["aspirin"], ["fever"]], ["the aspirin", "pain"])
    {'exact_match': 0.5, 'f1': 0.5}
    """
    scores_QM = np.array(_scores(golds, predictions)).reshape(-1, 2)
    answerable_Q = np.array([bool(texts) for texts in golds], bool)
    metrics = _means("", scores_QM)
    if not answerable_Q.all():
        metrics |= _means("has_answer_", scores_QM[answerable_Q]) if answerable_Q.any() else {}
        metrics |= _means("no_answer_", scores_QM[~answerable_Q])
    return metrics


def best_threshold(
    golds: Sequence[Sequence[str]], predictions: Sequence[str | None], no_answer_scores: Sequence[float]
) -> float:
    """The no-answer score above which withholding answers gives the highest F1.

    `predictions` are the answers before any is withheld. The result is the lowest best threshold: one of the scores, or 0.0
    (or a value below all scores) if withholding every answer is best. Unlike in the official `find_best_thresh`, questions
    with equal scores are answered or withheld together. Raises ValueError for different lengths.

    >>> best_threshold([["aspirin"], []], ["aspirin", "fever"], no_answer_scores=[0.2, 0.9])
    0.2
    """
    if len(no_answer_scores) != len(golds):
        raise ValueError(f"{len(golds)} questions but {len(no_answer_scores)} no-answer scores; give one for each")
    if not len(golds):
        return 0.0
    score_Q = np.asarray(no_answer_scores, np.float64)
    f1_Q = np.array(_scores(golds, predictions))[:, 1]
    withheld_Q = np.array([not texts for texts in golds], np.float64)
    order_Q = np.argsort(score_Q, kind="stable")
    ranked_Q = score_Q[order_Q]
    gain_Q = np.cumsum((f1_Q - withheld_Q)[order_Q])
    last_Q = np.append(ranked_Q[1:] != ranked_Q[:-1], True)
    candidates, gains = ranked_Q[last_Q], gain_Q[last_Q]
    best = int(gains.argmax())
    if gains[best] <= 0:
        return 0.0 if ranked_Q[0] > 0 else float(np.nextafter(ranked_Q[0], -np.inf))
    return float(candidates[best])


def _scores(golds: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> list[tuple[float, float]]:
    if len(golds) != len(predictions):
        raise ValueError(f"{len(golds)} questions but {len(predictions)} predictions; give one for each")
    return [_question(texts, prediction) for texts, prediction in zip(golds, predictions, strict=True)]


def _question(golds: Sequence[str], prediction: str | None) -> tuple[float, float]:
    """Exact match and F1 of one question."""
    if prediction is None:
        return 0.0, 0.0
    guess = normalise(prediction)
    texts = [text for text in map(normalise, golds) if text] or [""]
    return float(guess in texts), max(_overlap(guess.split(), text.split()) for text in texts)


def _overlap(guess: Sequence[str], gold: Sequence[str]) -> float:
    if not guess or not gold:
        return float(not guess and not gold)
    shared = sum((Counter(guess) & Counter(gold)).values())
    return 2 * shared / (len(guess) + len(gold))


def _means(prefix: str, scores_QM: np.ndarray) -> dict[str, float]:
    means = scores_QM.mean(0).tolist() if len(scores_QM) else [0.0, 0.0]
    return {f"{prefix}exact_match": means[0], f"{prefix}f1": means[1]}
