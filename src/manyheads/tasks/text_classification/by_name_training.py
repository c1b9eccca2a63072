"""Targets and loss of labels by name: a text is nearer to the description of its label than to those of other labels.

Decided here:
- A step compares its texts with the labels of all of them. Each text brings the description of its own label and of
  `negatives` others, drawn by a hash of the text, so descriptions cost a fixed part of a step's tokens however many labels
  there are. Of a label that several texts bring, the mean vector counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.by_name.draws import generator_of
from manyheads.tasks.inputs import merge_windows, window_weights
from manyheads.tasks.text_classification.example import LabelledText
from manyheads.tasks.text_classification.training import indicators

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.text_classification.by_name_task import ClassificationByName


def labels_to_read(task: ClassificationByName, example: LabelledText) -> list[int]:
    """Labels whose descriptions are encoded along with a text: its own, and some others."""
    own = task.label_places[example.labels[0]]
    draw = generator_of([example.text]).permutation(len(task.labels) - 1)[: task.negatives]
    return [own, *(draw + (draw >= own)).tolist()]


def targets(task: ClassificationByName, examples: Sequence[LabelledText], encodings: Encodings) -> dict[str, Array]:
    """Windows of texts and descriptions (`owner_S`, `share_S`), the rows of B texts among them (`text_B`), those of
    descriptions (`row_N`) with their labels (`name_N`) among the M of the batch (`label_M`), and the right one (`gold_B`).
    """
    owner_S, share_S = window_weights([source for asked in encodings for source in asked])
    sizes = np.array([len(asked) for asked in encodings])
    text_B = np.cumsum(sizes) - sizes
    read = [labels_to_read(task, example) for example in examples]
    label_M, name_N = np.unique(np.concatenate(read), return_inverse=True)
    return {
        "owner_S": owner_S, "share_S": share_S, "text_B": text_B, "label_M": label_M, "name_N": name_N.astype(np.int64),
        "row_N": np.setdiff1d(np.arange(sizes.sum()), text_B),
        "gold_B": np.searchsorted(label_M, [labels[0] for labels in read]),
        "label_BK": indicators(task, examples).astype(np.float32),
    }  # fmt: skip


def loss(task: ClassificationByName, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """Mean cross entropy over the labels of the batch; the chance loss is the log of their number."""
    from torch.nn.functional import cross_entropy, normalize

    name_N, row_N, text_B, label_M = (targets[key] for key in ("name_N", "row_N", "text_B", "label_M"))
    windows = targets["owner_S"], targets["share_S"], len(text_B) + len(row_N)
    unit_XD = normalize(merge_windows(output["vector_SD"], *windows), dim=1)
    fitted_BM = merge_windows(output["fitted_SK"], *windows)[text_B][:, label_M]
    sums_MD = unit_XD.new_zeros((len(label_M), unit_XD.shape[1])).index_add(0, name_N, unit_XD[row_N])
    logits_BM = output["scale_1"] * (unit_XD[text_B] @ normalize(sums_MD, dim=1).T) + fitted_BM
    weight_M = logits_BM.new_tensor(task.label_weights)[label_M] if task.label_weights else None
    return Loss(cross_entropy(logits_BM, targets["gold_B"], weight=weight_M), float(np.log(max(2, len(label_M)))))
