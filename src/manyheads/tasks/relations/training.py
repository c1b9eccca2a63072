"""Targets and loss of relations: a yes or no for each label of each candidate pair of gold entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.relations.candidates import candidates, gold_pairs
from manyheads.tasks.spans import SpanExample, found_spans, range_means_in_torch, spans_of_examples

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.relations.task import Relations


def targets(task: Relations, examples: Sequence[SpanExample], encodings: Encodings) -> dict[str, Array]:
    """Candidate pairs of N spans: `head_P`, `tail_P`, their words between and distance, and `gold_PK`."""
    words = spans_of_examples(examples, encodings)
    spans = [[one.span for one in example.spans] for example in examples]
    pairs = candidates(task, spans, words)
    label = {name: k for k, name in enumerate(task.labels)}
    gold_PK = np.zeros((len(pairs.head_P), len(label)), np.float32)
    at = {pair: p for p, pair in enumerate(zip(pairs.head_P.tolist(), pairs.tail_P.tolist(), strict=True))}
    base = 0
    for example in examples:
        for head, tail, name in gold_pairs(example):
            p = at.get((head + base, tail + base))
            if p is not None and name in label:
                gold_PK[p, label[name]] = 1.0
        base += len(example.spans)
    return {
        "row_W": words.row_W, "bounds": words.bounds, "first_N": words.first_N, "stop_N": words.stop_N,
        "type_N": pairs.type_N, "head_P": pairs.head_P, "tail_P": pairs.tail_P, "between_2P": pairs.between_2P,
        "distance_P": pairs.distance_P, "crowd_P": pairs.crowd_P, "gold_PK": gold_PK,
    }  # fmt: skip


def loss(task: Relations, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """Mean binary cross entropy over pairs and labels.

    A pair with an end that the entity task finds with other boundaries counts half, and with the boundaries found the other
    half. Few pairs are related, so the chance loss is the entropy of the labels' frequencies, not log(2), which a constant
    beats.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    gold_PK = targets["gold_PK"]
    if not len(gold_PK):
        sums = [value.sum() for value in output.values() if value.is_floating_point()]
        return Loss(sum(sums[1:], sums[0]) * 0.0, task.chance_loss)
    logits_PK = pair_logits(output, targets)
    place_V, first_V, stop_V = (torch.from_numpy(part).to(logits_PK.device) for part in found_spans(output, targets))
    if not len(place_V):
        return Loss(binary_cross_entropy_with_logits(logits_PK, gold_PK), task.chance_loss)
    moved = {**targets, "first_N": targets["first_N"].index_copy(0, place_V, first_V),
             "stop_N": targets["stop_N"].index_copy(0, place_V, stop_V)}  # fmt: skip
    there_N = torch.zeros_like(targets["first_N"]).index_fill(0, place_V, 1)
    other_P = (there_N[targets["head_P"]] + there_N[targets["tail_P"]]) > 0
    logits_PK = torch.cat([logits_PK, pair_logits(output, moved)[other_P]])
    loss_M = binary_cross_entropy_with_logits(logits_PK, torch.cat([gold_PK, gold_PK[other_P]]), reduction="none").mean(1)
    weight_P = 1.0 - 0.5 * other_P.to(loss_M.dtype)
    return Loss((loss_M * torch.cat([weight_P, weight_P[other_P]])).sum() / len(gold_PK), task.chance_loss)


def pair_logits(output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Logits `(P, K)` of the labels of pairs."""
    head, tail, between = output["ends_TX"][targets["row_W"]].chunk(3, 1)
    first_N, stop_N = targets["first_N"], targets["stop_N"]
    head_P, tail_P, type_N = targets["head_P"], targets["tail_P"], targets["type_N"]
    hidden_PR = (
        range_means_in_torch(head, first_N, stop_N)[head_P]
        + range_means_in_torch(tail, first_N, stop_N)[tail_P]
        + range_means_in_torch(between, *targets["between_2P"])
        + output["head_type_LR"][type_N[head_P]]
        + output["tail_type_LR"][type_N[tail_P]]
        + output["distance_BR"][targets["distance_P"]]
        + output["crowd_CR"][targets["crowd_P"]]
    )
    return hidden_PR.relu() @ output["output_KR"].T + output["bias_K"]
