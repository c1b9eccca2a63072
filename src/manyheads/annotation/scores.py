"""How much a row would teach: uncertainty of a model, or disagreement of several.

Decided here:
- A row's score is the mean over its tasks. Tasks that decide nothing (vectors, numbers) have no say.
- The score of several choices about one text (the tags of its words) is their mean, so long texts have no advantage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import RowError, UsageError
from manyheads.metrics.uncertainty import disagreement, entropy, margin, sequence_uncertainty

if TYPE_CHECKING:
    from manyheads.predict import Predictor
    from manyheads.tasks.base import Array, EncoderInput

MEASURES = ("margin", "entropy", "confidence", "disagreement")


@dataclass(frozen=True, slots=True)
class Scored:
    """The score of a row, with what `Candidate` keeps."""

    score: float
    residual: Array | None


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores rows by the answers of one model or a committee of several."""

    predictors: Sequence[Predictor]
    tasks: Sequence[str]
    """Tasks with choices, of every model."""
    measure: str

    def inputs(self, row: Any) -> dict[str, EncoderInput] | RowError:
        """What the encoder reads of a row."""
        return self.predictors[0].inputs_of(row, self.tasks)

    def scores(self, inputs: Sequence[Mapping[str, EncoderInput]]) -> list[Scored]:
        """The score of each row, from its inputs."""
        found: list[list[Scored]] = [[] for _ in inputs]
        for task in self.tasks:
            places = [i for i, entry in enumerate(inputs) if task in entry]
            asked = [inputs[i][task] for i in places]
            members = [_chances(predictor, task, asked) for predictor in self.predictors]
            for place, chances in zip(places, zip(*members, strict=True), strict=True):
                found[place].append(self._scored(np.stack(_aligned(chances, task))))
        return [Scored(float(np.mean([one.score for one in some])), some[0].residual if len(some) == 1 else None)
                for some in found]  # fmt: skip

    def _scored(self, chance_MUK: Array) -> Scored:
        chance_UK = chance_MUK.mean(0)
        if self.measure == "disagreement":
            score = _of_choices(disagreement(chance_MUK))
        elif self.measure == "confidence":
            score = sequence_uncertainty(chance_UK)
        else:
            score = _of_choices((entropy if self.measure == "entropy" else margin)(chance_UK))
        return Scored(score, _residual(chance_UK) if len(chance_UK) == 1 else None)


def _of_choices(value_U: Array) -> float:
    return float(value_U.mean()) if len(value_U) else 0.0


def _residual(chance_UK: Array) -> Array:
    residual_K = chance_UK[0].astype(np.float32)
    residual_K[residual_K.argmax()] -= 1
    return residual_K


def _chances(predictor: Predictor, task: str, inputs: Sequence[EncoderInput]) -> list[Array]:
    choices = predictor.tasks[task].choices
    assert choices is not None, "tasks without choices are left out"
    return choices.probabilities(predictor.items(task, inputs)) if inputs else []


def _aligned(chances: Sequence[Array], task: str) -> Sequence[Array]:
    """The choices of all models about one text. Raises UsageError if they are not about the same things."""
    if len({chance.shape for chance in chances}) > 1:
        shapes = " and ".join(" x ".join(map(str, chance.shape)) for chance in chances)
        raise UsageError(f"the models do not make the same choices for task '{task}' ({shapes}, choices by alternatives); "
                         "give models that were trained with the same labels and tokenizer")  # fmt: skip
    return chances
