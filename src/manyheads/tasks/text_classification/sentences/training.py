"""Targets and loss of the sentences of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.text_classification.sentences.example import LabelledDocument
from manyheads.tasks.text_classification.sentences.tokens import locate_sentences, mean_over_tokens

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.text_classification.sentence_task import SentenceClassification


def targets(task: SentenceClassification, examples: Sequence[LabelledDocument], encodings: Encodings) -> dict[str, Array]:
    """`label_N` of each sentence, beside its tokens."""
    place = {label: k for k, label in enumerate(task.labels)}
    where = locate_sentences([example.sentences for example in examples], encodings)
    labels = [place[label] for e, count in zip(examples, where["sentences_B"], strict=True) for label in e.labels[:count]]
    return {**where, "label_N": np.array(labels, np.int64)}


def denominator(task: SentenceClassification, targets: Mapping[str, Array]) -> float:
    """Number of sentences, or the sum of their weights."""
    label_N = np.asarray(targets["label_N"])
    return float(np.asarray(task.label_weights)[label_N].sum() if task.label_weights else len(label_N))


def reweighted(
    task: SentenceClassification, part: Sequence[Mapping[str, torch.Tensor]], whole: Sequence[Mapping[str, torch.Tensor]]
) -> SentenceClassification:
    """As for texts: each label has the same total weight in the part as in the whole, or none if absent."""
    if task.decoder == "crf":
        return task
    labels = range(len(task.labels))
    indicators = [
        [{"label_BK": (some["label_N"][:, None] == some["label_N"].new_tensor(labels)).float()} for some in batches]
        for batches in (part, whole)
    ]
    return replace(task, label_weights=task.plain.reweighted(*indicators).label_weights)


def loss(task: SentenceClassification, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """Mean over sentences of cross entropy, or of the negative log-likelihood of a CRF; the chance loss is log(K)."""
    from torch.nn.functional import cross_entropy

    from manyheads.nn.crf import log_likelihood

    label_N, chance_loss = targets["label_N"], float(np.log(len(task.labels)))
    logits_NK = mean_over_tokens(output[task.scores_key], targets)
    if not len(label_N):
        return Loss(output[task.scores_key].sum() * 0.0 + logits_NK.sum(), chance_loss)
    if task.decoder == "crf":
        rules = (output["transitions_KK"], output["start_K"], output["end_K"])
        likelihood_B = log_likelihood(logits_NK, label_N, targets["sentences_B"].tolist(), rules)
        return Loss(-likelihood_B.sum() / len(label_N), chance_loss)
    weight_K = logits_NK.new_tensor(task.label_weights) if task.label_weights else None
    return Loss(cross_entropy(logits_NK, label_N, weight=weight_K), chance_loss)
