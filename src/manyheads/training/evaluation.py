"""Scores of the model in training on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manyheads.errors import StoppedError
from manyheads.evaluate import Metrics, calibrate, with_stores
from manyheads.predict import Backend, Predictor, TorchBackend
from manyheads.tasks.base import Array
from manyheads.text.pack import Encoding
from manyheads.training.plan import Plan
from manyheads.training.stop import Stop


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of one evaluation."""

    metrics: Mapping[str, Metrics]
    main_scores: Mapping[str, float]
    """The main metric of each task."""
    score: float
    """The combined score."""


def evaluate(plan: Plan, stop: Stop) -> Evaluation | None:
    """Evaluate the model in training; None when a signal interrupts it."""
    try:
        tasks, metrics = calibrate(with_stores(predictor_of(plan, stop), plan.validation), plan.validation)
    except StoppedError:
        return None
    plan.selection.check(metrics)
    main_scores = {name: tasks[name].main_score(values) for name, values in metrics.items()}
    return Evaluation(metrics, main_scores, plan.selection.score(tasks, metrics))


@dataclass(frozen=True, slots=True)
class _Interruptible:
    """A backend that looks for signals before each pass."""

    backend: Backend
    stop: Stop

    @property
    def one_trunk(self) -> bool:
        return self.backend.one_trunk

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, Array]]:
        self.stop.check()
        return self.backend.run(encodings, names)


def predictor_of(plan: Plan, stop: Stop) -> Predictor:
    """A predictor on the model in training. It raises StoppedError when `stop` is asked."""
    backend = TorchBackend(plan.model, next(plan.model.parameters()).device)
    return Predictor(_Interruptible(backend, stop), plan.tasks, plan.tokenizer, max_length=plan.max_length)
