"""Scores of extractive answers, as the official SQuAD scripts give them (Rajpurkar et al. 2016, 2018).

Decided here:
- The v2 rules serve v1 too. They differ only where an answer is nothing but articles and punctuation: v1 gives such an
  answer F1 0 even when it matches exactly. Gold answers that normalise to nothing are passed over, as in v2.
- A gold list without answers is an unanswerable question: only an empty answer is right.
- A prediction of None, no answer given at all, is wrong even there; v1's script counts it so, v2's leaves it out.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
"""ASCII only, as in the official scripts: a typographic quote stays."""


def normalise(text: str) -> str:
    """Lower case; without ASCII punctuation, English articles and superfluous white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str | None, golds: Sequence[str]) -> float:
    """1.0 when the prediction equals a gold answer after normalisation; no golds: when it is empty."""
    return _question(golds, prediction)[0]


def f1(prediction: str | None, golds: Sequence[str]) -> float:
    """Overlap of words with the nearest gold answer, 0 to 1; where either has no words, 1.0 if both have none."""
    return _question(golds, prediction)[1]


def answer_scores(golds: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, float]:
    """`exact_match` and `f1`; where some questions have no gold answer, also `has_answer_*` and `no_answer_*`.

    Each of those means is over its own questions, and absent where there are none. Raises ValueError when the lengths
    differ.
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
    """The threshold with the highest F1 when an answer is withheld wherever its no-answer score is above it.

    `predictions` are the answers before any is withheld. The lowest such threshold is one of the scores, or below all
    of them: 0.0 if that is below. Unlike the official `find_best_thresh`, questions of equal score are answered or
    withheld together, since no threshold tells them apart. Raises ValueError when the lengths differ.
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
