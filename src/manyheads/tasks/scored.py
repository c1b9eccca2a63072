"""Spans whose scores are chances of being right, on a scale that validation data settles (`metrics/calibration.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from manyheads.metrics.calibration import Scale
from manyheads.tasks.settings import SETTLED

Span = dict[str, Any]
"""With a `score`, among other keys."""


@dataclass(frozen=True, kw_only=True)
class ScoredSpans:
    """Settings of a task that answers spans."""

    temperature: Annotated[float, Gt(0), SETTLED] = 1.0
    """The log-odds of scores are divided by it; fitted on validation data, as `score_bias`."""
    score_bias: Annotated[float, SETTLED] = 0.0
    """Added to the log-odds of scores."""

    @property
    def scale(self) -> Scale:
        """Of the scores."""
        return Scale(self.temperature, self.score_bias)

    def rescaled(self, spans: Sequence[Span], before: Scale) -> list[Span]:
        """Spans whose scores are on another scale, with their scores on this one."""
        score_N = self.scale.applied(before.undone(np.array([span["score"] for span in spans], np.float64)))
        return [{**span, "score": float(score)} for span, score in zip(spans, score_N, strict=True)]


def rounded(spans: Sequence[Span]) -> list[Span]:
    """Spans as they are written: scores with six decimals."""
    return [{**span, "score": round(span["score"], 6)} for span in spans]
