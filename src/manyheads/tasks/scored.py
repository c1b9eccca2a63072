"""Spans whose scores are calibrated probabilities of being right (`metrics/calibration.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from manyheads.metrics.calibration import Scale
from manyheads.tasks.settings import DERIVED

Span = dict[str, Any]
"""With a `score`, among other keys."""


@dataclass(frozen=True, kw_only=True)
class ScoredSpans:
    """Settings of a task that answers spans."""

    temperature: Annotated[float, Gt(0), DERIVED] = 1.0
    """Divisor of the log-odds of scores; fitted on validation data, as is `score_bias`."""
    score_bias: Annotated[float, DERIVED] = 0.0
    """Added to the log-odds of scores."""

    @property
    def scale(self) -> Scale:
        """The calibration of scores."""
        return Scale(self.temperature, self.score_bias)

    def rescaled(self, spans: Sequence[Span], before: Scale) -> list[Span]:
        """Spans with their scores converted from another scale to this one."""
        score_N = self.scale.applied(before.undone(np.array([span["score"] for span in spans], np.float64)))
        return [{**span, "score": float(score)} for span, score in zip(spans, score_N, strict=True)]


def round_scores(spans: Sequence[Span]) -> list[Span]:
    """Spans for output: scores rounded to six decimals.

    >>> round_scores([{"text": "EU", "score": 0.12345678}])
    [{'text': 'EU', 'score': 0.123457}]
    """
    return [{**span, "score": round(span["score"], 6)} for span in spans]
