"""Records of a run: of each step and of each evaluation, for the log, the progress bar, the guard and callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.training.guard import Skip


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step. Losses are the tasks' normalised means before weighting; a bad step has none.

    >>> import manyheads as mh
    >>> rates: list[float] = []
    >>> follow = lambda record: rates.append(record.rate) if isinstance(record, mh.StepRecord) else None
    >>> model = mh.train("run.yaml", output="runs/watched", overrides=["training.steps=2"], callbacks=follow)
    >>> len(rates)
    2
    """

    step: int
    phase: str
    losses: Mapping[str, float]
    weights: Mapping[str, float]
    """Factors on the losses or gradients of the tasks."""
    tokens: Mapping[str, int]
    rate: float
    """Learning rate of the encoder's top layer."""
    gradient_norm: float
    packs: int
    skip: Skip | None = None
    """Set for a bad step, which changes nothing."""
    pulls: Mapping[str, float] = field(default_factory=dict)
    """How fast each task moves the shared parameters, 1 as if it trained alone; empty where norms are unknown."""


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """One evaluation on validation data.

    >>> import manyheads as mh
    >>> mh.EvaluationRecord(200, {}, {"section": 0.91}, combined=0.91, best=True).line()
    'step 200: validation  section 0.9100  combined 0.9100  (best)'
    """

    step: int
    """Steps done."""
    metrics: Mapping[str, Metrics]
    """All metrics of each task."""
    main_scores: Mapping[str, float]
    """The main metric of each task."""
    combined: float
    best: bool
    """Whether these are the best weights so far."""
    left_out: str | None = None
    """What the combined score leaves out."""

    def line(self) -> str:
        """The scores as a line of text."""
        shown = "  ".join(f"{name} {value:.4f}" for name, value in self.main_scores.items())
        of = f" ({self.left_out.partition(';')[0]})" if self.left_out else ""
        return f"step {self.step}: validation  {shown}  combined {self.combined:.4f}{of}{'  (best)' if self.best else ''}"
