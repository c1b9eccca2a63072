"""Sentence embedding taught by the cosines of a teacher's vectors, whose width plays no part.

Decided here: each pair's cosine is to be the teacher's, by the mean squared difference (Reimers & Gurevych 2020). Where pairs
are contrasted with one another (in-batch negatives) and the teacher has vectors, the distribution of each first text over
all second ones is, with the objective's own scale: one loss in one unit with that of gold pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manyheads.errors import RowError
from manyheads.tasks.base import Array, Item, Loss, Output, Row, Task, merged
from manyheads.tasks.distillation import Distillation, Soft

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.sentence_embedding.task import Pair, SentenceEmbedding
    from manyheads.text.pack import Encoding

NO_LABEL = ("score", "label")


class VectorDistillation(Distillation["Pair"]):
    """`vector_XD`, of length 1, for each text of an example; or `cosine_P` of the first text with each other one."""

    def __init__(self, task: SentenceEmbedding) -> None:
        self.task = task

    @property
    def terms(self) -> Any:
        """Nothing."""
        return None

    def check_teacher(self, teacher: Task[Any]) -> None:
        """Any vectors will do."""

    def unlabelled(self, row: Row) -> Pair:
        """`text_a`, `text_b`, and `negative` where it has one."""
        return self.task.read({key: value for key, value in row.items() if key not in NO_LABEL})

    def of_model(self, teacher: Task[Any], example: Pair, items: Sequence[Item]) -> Soft:
        """The vectors that it answers."""
        vector_XD = np.stack(teacher.decode(items)).astype(np.float64)
        return {"vector_XD": (vector_XD / np.maximum(np.linalg.norm(vector_XD, axis=-1, keepdims=True), 1e-12)).astype(
            np.float32
        )}  # fmt: skip

    def of_row(self, row: Row, example: Pair) -> Soft:
        """`cosine`, and `negative_cosine` where there is a negative."""
        keys = ["cosine", *(["negative_cosine"] if example.negative is not None else [])]
        for key in keys:
            value = row.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
                raise RowError(f"'{key}' must be a number from -1 to 1, seen {value!r:.80}")
        return {"cosine_P": np.array([row[key] for key in keys], np.float32)}

    def targets(
        self,
        examples: Sequence[Pair],
        encodings: Sequence[Sequence[Sequence[Encoding]]],
        softs: Sequence[Soft],
    ) -> dict[str, Array]:
        """`cosine_B`, `cosine_N` of hard negatives, and where pairs are contrasted `cosine_BC`; places of the texts."""
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
        """Pairs."""
        return float(len(targets["a_B"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean over pairs and over Matryoshka widths. Uninformed is the scale where pairs are contrasted, else 1."""
        vector_XD = merged(output["vector_SD"], targets["owner_S"], targets["share_S"], len(targets["identity_X"]))
        widths = [*(w for w in self.task.matryoshka if w < vector_XD.shape[1]), vector_XD.shape[1]]
        losses = [self._of_width(vector_XD[:, :width], targets) for width in widths]
        chance_loss = self.task.scale if "cosine_BC" in targets else 1.0
        return Loss(sum(losses[1:], losses[0]) / len(losses), chance_loss)

    def _of_width(self, vector_XD: torch.Tensor, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
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
    """Of the first text with each other one."""
    if "cosine_P" in soft:
        return soft["cosine_P"]
    return soft["vector_XD"][1:] @ soft["vector_XD"][0]
