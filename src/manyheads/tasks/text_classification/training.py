"""Targets and loss of text classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.inputs import merge_windows, window_weights
from manyheads.tasks.text_classification.example import LabelledText

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.text_classification.task import TextClassification


def indicators(task: TextClassification, examples: Sequence[LabelledText]) -> np.ndarray:
    """`(B, K)`, 1.0 where a text has a label. Labels unknown to the head are ignored."""
    place = {label: k for k, label in enumerate(task.labels)}
    label_BK = np.zeros((len(examples), len(task.labels)))
    for row_K, example in zip(label_BK, examples, strict=True):
        row_K[[place[label] for label in example.labels if label in place]] = 1.0
    return label_BK


def targets(task: TextClassification, examples: Sequence[LabelledText], encodings: Encodings) -> dict[str, Array]:
    """`owner_S` text of each window, `share_S` its weight there, `label_BK` 1.0 where a text has a label."""
    owner_S, share_S = window_weights([asked[0] for asked in encodings])
    return {"owner_S": owner_S, "share_S": share_S, "label_BK": indicators(task, examples).astype(np.float32)}


def denominator(task: TextClassification, targets: Mapping[str, Array]) -> float:
    """Number of texts, or the sum of their class weights."""
    label_BK = np.asarray(targets["label_BK"])
    if task.label_weights and not task.multi_label:
        return float(np.asarray(task.label_weights)[label_BK.argmax(-1)].sum())
    return float(len(label_BK))


def reweighted(
    task: TextClassification, part: Sequence[Mapping[str, torch.Tensor]], whole: Sequence[Mapping[str, torch.Tensor]]
) -> TextClassification:
    """Label weights with which each label has the same total weight in the part as in the whole, or none if absent."""
    if task.multi_label:
        return task
    count_K, all_K = (sum(t["label_BK"].sum(0).double().cpu().numpy() for t in batches) for batches in (part, whole))
    weight_K = np.array(task.label_weights or [1.0] * len(task.labels))
    if task.label_weights and not isinstance(task.class_weights, dict):
        weight_K = weight_K * all_K / np.maximum(count_K, 1)
    return replace(task, label_weights=tuple((weight_K * (count_K > 0)).tolist()))


def loss(task: TextClassification, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """Mean cross entropy, chance loss log(K); or mean binary cross entropy, chance loss log(2)."""
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    label_BK = targets["label_BK"]
    logits_BK = merge_windows(output["logits_SK"], targets["owner_S"], targets["share_S"], len(label_BK))
    weight_K = logits_BK.new_tensor(task.label_weights) if task.label_weights else None
    if task.multi_label:
        return Loss(binary_cross_entropy_with_logits(logits_BK, label_BK, pos_weight=weight_K), float(np.log(2)))
    return Loss(cross_entropy(logits_BK, label_BK.argmax(-1), weight=weight_K), float(np.log(len(task.labels))))
