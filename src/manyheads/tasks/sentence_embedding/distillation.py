"""Sentence embeddings learned from the cosines of a teacher's vectors, which may have another width.

Decided here: the loss is the mean squared difference of cosines (Reimers & Gurevych 2020). If pairs are contrasted (in-batch
negatives) and the teacher has vectors, it is instead the cross entropy of each first text's distribution over all second
texts, with the objective's own scale, and so in the same unit as the loss of gold pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import RowError
from manyheads.metrics.vectors import unit_rows
from manyheads.tasks.base import Array, Encodings, Item, Loss, Output, Row, Task
from manyheads.tasks.distillation import KEPT, Distillation, Soft
from manyheads.tasks.sentence_embedding.example import Pair, read_pair
from manyheads.tasks.sentence_embedding.training import mean_over_widths

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.sentence_embedding.task import SentenceEmbedding

NO_LABEL = ("score", "label")


class VectorDistillation(Distillation[Pair]):
    """Soft labels are `vector_XD`, of length 1, for each text; or `cosine_P` of the first text with each other one."""

    def __init__(self, task: SentenceEmbedding) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """None: soft labels depend on no setting."""
        return None

    def check_teacher(self, teacher: Task[Any]) -> None:
        """Any vectors are accepted."""

    def unlabelled(self, row: Row) -> Pair:
        """`text_a`, `text_b`, and `negative` if present."""
        return read_pair({key: value for key, value in row.items() if key not in NO_LABEL})

    def rows_of_texts(self, texts: Sequence[str]) -> Sequence[Row]:
        """Each text with the one after it."""
        return [{"text_a": one, "text_b": two} for one, two in pairwise(texts)]

    def of_model(
        self, teacher: Task[Any], example: Pair, items: Sequence[Item], became: Mapping[str, str | None] = KEPT
    ) -> Soft:
        """The vectors it answers."""
        vector_XD = np.stack(teacher.decode(items)).astype(np.float64)
        return {"vector_XD": unit_rows(vector_XD).astype(np.float32)}

    def of_row(self, row: Row, example: Pair) -> Soft:
        """`cosine`, and `negative_cosine` if there is a negative."""
        keys = ["cosine", *(["negative_cosine"] if example.negative is not None else [])]
        for key in keys:
            value = row.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
                raise RowError(f"'{key}' must be a number from -1 to 1, seen {value!r:.80}")
        return {"cosine_P": np.array([row[key] for key in keys], np.float32)}

    def targets(self, examples: Sequence[Pair], encodings: Encodings, softs: Sequence[Soft]) -> dict[str, Array]:
        """`cosine_B`, `cosine_N` of hard negatives, and `cosine_BC` if pairs are contrasted; rows of the texts."""
        placed = self.task.targets(examples, encodings)
        pairs = [_cosines(soft) for soft in softs]
        cosines = {
            "cosine_B": np.array([cosine_P[0] for cosine_P in pairs], np.float32),
            "cosine_N": np.array([cosine_P[1] for cosine_P in pairs if len(cosine_P) > 1], np.float32),
        }
        if self.task.objective == "in-batch-negatives" and all("vector_XD" in soft for soft in softs):
            vectors = [soft["vector_XD"] for soft in softs]
            a_BD = np.stack([vector_XD[0] for vector_XD in vectors])
            candidates = [vector_XD[1] for vector_XD in vectors] + [v[2] for v in vectors if len(v) > 2]
            cosines["cosine_BC"] = a_BD @ np.stack(candidates).T
        return {key: placed[key] for key in placed if key not in ("score_B", "label_B")} | cosines

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of pairs."""
        return self.task.denominator(targets)

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean over pairs and Matryoshka widths. The chance loss is the scale if pairs are contrasted, else 1."""
        mean = mean_over_widths(self.task, output, targets, lambda vector_XD: self._objective(vector_XD, targets))
        return Loss(mean, self.task.scale if "cosine_BC" in targets else 1.0)

    def _objective(self, vector_XD: torch.Tensor, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        from manyheads.nn import pair_losses

        a_BD, b_BD = vector_XD[targets["a_B"]], vector_XD[targets["b_B"]]
        negative_ND = vector_XD[targets["negative_N"]]
        if "cosine_BC" in targets:
            other_CD = torch.cat([b_BD, negative_ND])
            return pair_losses.similarity_distillation(a_BD, other_CD, targets["cosine_BC"], scale=self.task.scale)
        first_PD = torch.cat([a_BD, a_BD[targets["negative_of_N"]]])
        cosine_P = torch.cat([targets["cosine_B"], targets["cosine_N"]])
        return pair_losses.cosine_mse(first_PD, torch.cat([b_BD, negative_ND]), cosine_P)


def _cosines(soft: Soft) -> Array:
    """Cosines of the first text with each other one."""
    if "cosine_P" in soft:
        return soft["cosine_P"]
    return soft["vector_XD"][1:] @ soft["vector_XD"][0]
