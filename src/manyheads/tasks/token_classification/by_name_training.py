"""Targets and loss of entities by name: where entities of any type are, and which description each is nearest to.

Decided here (numbers: docs/decisions.md):
- Three losses are added up: of the tags of known labels, as in an ordinary head; of the words where an entity of any type
  begins or continues; and of the label of each entity among those that a step asks for, or none of them.
- Of the words outside of gold entities, those with the highest losses do not count where entities are found: they may be of
  a type that nobody annotated.
- A share of the texts brings along the description of a label, its own or any, drawn by a hash of the text, so descriptions
  cost a fixed part of a step's tokens. Of the labels that a step's texts bring, it asks for a number between one and all:
  entities of the others have none, as those of a type that nobody asks for.
- What all entities share says nothing about their types: the mean direction of those of each known label is taken off. It
  follows the vectors by a loss of its own, which moves nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.by_name.draws import generator_of, some_of
from manyheads.tasks.token_classification import training
from manyheads.text.entities import EntityExample

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.token_classification.by_name_task import EntitiesByName

SCALE = 20.0
"""On cosines at first, as for sentence embeddings."""
OWN = 0.5
"""Of the texts that bring a description and have entities, the share that brings a label of its own."""
UNCOUNTED = 0.2
"""Share of the words outside of gold entities whose loss does not count."""
EDGES, LABELS = 0.5, 0.2
"""Factors on the losses of edges and of labels. With 1 for both, known types lose 4 points of F1 in 40 steps."""


def label_to_read(task: EntitiesByName, example: EntityExample) -> list[int]:
    """The label whose description is encoded along with a text, or none."""
    generator = generator_of([example.text])
    if not task.label_texts or generator.random() >= task.described:
        return []
    own = sorted({task.label_places[label] for _, _, label in example.spans})
    if own and generator.random() < OWN:
        return [int(generator.choice(own))]
    return [int(generator.integers(len(task.labels)))]


def targets(task: EntitiesByName, examples: Sequence[EntityExample], encodings: Encodings) -> dict[str, Array]:
    """Those of the tags, and:

    `asked_M` labels that are asked for; `row_R` sequences that describe them, `name_R` the label of each among M;
    `inside_Q`, `of_Q` words in entities and the entity of each; `present_L` labels of entities, `label_N` that of each among
    these, `choice_N` its place among those asked for, from 1, or 0.
    """
    rows, labels, row = list[int](), list[int](), 0
    for example, asked in zip(examples, encodings, strict=True):
        row += len(asked[0])
        for label, windows in zip(label_to_read(task, example), asked[1:], strict=True):
            rows += range(row, row + len(windows))
            labels += [label] * len(windows)
            row += len(windows)
    asked_M = np.array(some_of(labels, generator_of(example.text for example in examples)), np.int64)
    label_R = np.array(labels, np.int64)
    here_R = np.isin(label_R, asked_M)
    own = training.targets(task, examples, encodings)
    words_S = own["words_S"]
    inside_Q, of_Q, label_N = gold_entities(own["tag_PN"][:, 0], np.repeat(np.arange(len(words_S)), words_S))
    present_L, place_N = np.unique(label_N, return_inverse=True)
    choice_K = np.zeros(len(task.labels), np.int64)
    choice_K[asked_M] = 1 + np.arange(len(asked_M))
    return {
        **own, "asked_M": asked_M, "row_R": np.array(rows, np.int64)[here_R],
        "name_R": np.searchsorted(asked_M, label_R[here_R]),
        "inside_Q": inside_Q, "of_Q": of_Q, "present_L": present_L, "label_N": place_N.astype(np.int64),
        "choice_N": choice_K[label_N],
    }  # fmt: skip


def gold_entities(tag_P: Array, window_P: Array) -> tuple[Array, Array, Array]:
    """Words in entities, the entity of each, and the label of each entity, from tags in windows.

    >>> [found.tolist() for found in gold_entities(np.array([0, 1, 2, 3, 2]), np.zeros(5))]
    [[1, 2, 3, 4], [0, 0, 1, 2], [0, 1, 0]]
    """
    label_P = (tag_P + 1) // 2
    before_P, window_before_P = (np.concatenate([[-1], some_P])[:-1] for some_P in (label_P, window_P))
    begins_P = (label_P > 0) & ((tag_P % 2 == 1) | (label_P != before_P) | (window_P != window_before_P))
    inside_Q = np.flatnonzero(label_P)
    return inside_Q, np.cumsum(begins_P)[inside_Q] - 1, label_P[begins_P] - 1


def loss(task: EntitiesByName, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """The weighted sum of the losses, each a mean over its own units; so is the chance loss."""
    own = training.loss(task, output, targets)
    values = own.values + EDGES * edge_loss(output, targets)
    chance = own.chance_loss + EDGES * float(np.log(3))
    if "vector_TX" not in output:  # tags and edges alone, solved on the frozen encoder
        return Loss(values, chance)
    values = values + LABELS * label_loss(task, output, targets)
    return Loss(values, chance + LABELS * float(np.log(1 + len(targets["asked_M"]))))


def edge_loss(output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross entropy over words of outside, begin and inside; the most surprising words outside do not count."""
    import torch
    from torch.nn.functional import cross_entropy

    tag_P = targets["tag_PN"][:, 0]
    edge_P = torch.where(tag_P == 0, 0, 2 - tag_P % 2)
    logits_P2 = output["edge_T2"][targets["piece_P"]]
    loss_P = cross_entropy(torch.cat([logits_P2.new_zeros((len(logits_P2), 1)), logits_P2], 1), edge_P, reduction="none")
    outside_O = loss_P[tag_P == 0]
    counted_O = outside_O.topk(len(outside_O) - int(UNCOUNTED * len(outside_O)), largest=False).values
    return (loss_P[tag_P > 0].sum() + counted_O.sum()) / max(1, len(loss_P))


def label_loss(task: EntitiesByName, output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross entropy of the labels of entities, and the squared distance of the centre from where it should be."""
    from torch.nn.functional import cross_entropy, normalize

    entities, asked = len(targets["choice_N"]), len(targets["asked_M"])
    vector_QX = output["vector_TX"][targets["piece_P"][targets["inside_Q"]]]
    unit_NX = normalize(means(vector_QX, targets["of_Q"], entities), dim=1)
    unit_RD = normalize(output["name_SD"][targets["row_R"]], dim=1)
    name_MD = normalize(means(unit_RD, targets["name_R"], asked), dim=1)
    logits_NC = choice_logits(output, unit_NX, name_MD)
    value = cross_entropy(logits_NC, targets["choice_N"], reduction="sum") / max(1, entities)
    labels = len(targets["present_L"])
    mean_LX = means(unit_NX.detach(), targets["label_N"], labels)
    return value + (output["centre_X"] - mean_LX).square().sum() / max(1, labels)


def choice_logits(output: Output, unit_NX: torch.Tensor, name_MD: torch.Tensor) -> torch.Tensor:
    """Logits of none of the labels, and of each, for entities with vectors of length 1, `(N, 1 + M)`."""
    import torch
    from torch.nn.functional import normalize

    cosine_NM = normalize(unit_NX - output["centre_X"].detach(), dim=1) @ name_MD.T
    return torch.cat([output["none_1"].expand(len(unit_NX), 1), output["scale_1"] * cosine_NM], 1)


def means(vector_QX: torch.Tensor, of_Q: torch.Tensor, count: int) -> torch.Tensor:
    """The mean of the vectors of each group, `(count, X)`; 0 for one without any."""
    sums_NX = vector_QX.new_zeros((count, vector_QX.shape[1])).index_add(0, of_Q, vector_QX)
    sizes_N = vector_QX.new_zeros(count).index_add(0, of_Q, vector_QX.new_ones(len(of_Q)))
    return sums_NX / sizes_N.clamp(min=1)[:, None]
