"""Targets and loss of entities by name: words are nearer to the description of their label than to that of any other.

Decided here:
- The tags of known labels have the loss of an ordinary head. Beside it, a step asks for some labels by their descriptions
  alone; words of the others are then outside of any span, as are words of a label that nobody described.
- A share of the texts brings along the description of one label, its own or any, drawn by a hash of the text. So
  descriptions cost a fixed part of a step's tokens however many labels there are.
- Of the labels that a step's texts bring, it asks for a number between one and all of them: labels are held out at random,
  and what is found must follow from what is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manyheads.nn.multiword_pieces import word_scores_in_torch
from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.by_name.draws import generator_of, some_of
from manyheads.tasks.token_classification import training
from manyheads.text.entities import EntityExample

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.token_classification.by_name_task import EntitiesByName

OWN = 0.5
"""Of the texts that bring a description and have entities, the share that brings a label of its own."""


def label_to_read(task: EntitiesByName, example: EntityExample) -> list[int]:
    """The label whose description is encoded along with a text, or none."""
    generator = generator_of([example.text])
    if not task.label_texts or generator.random() >= task.described:
        return []
    own = sorted({task.labels.index(label) for _, _, label in example.spans})
    if own and generator.random() < OWN:
        return [int(generator.choice(own))]
    return [int(generator.integers(len(task.labels)))]


def targets(task: EntitiesByName, examples: Sequence[EntityExample], encodings: Encodings) -> dict[str, Array]:
    """Those of the tags; the sequences of descriptions (`row_N`) with their labels (`name_N`) among the M asked for
    (`asked_M`), and the gold tag of each word among theirs (`named_P`).
    """
    rows, labels, first = list[int](), list[int](), 0
    for example, asked in zip(examples, encodings, strict=True):
        first += len(asked[0])
        for label, windows in zip(label_to_read(task, example), asked[1:], strict=True):
            rows += range(first, first + len(windows))
            labels += [label] * len(windows)
            first += len(windows)
    asked_M = np.array(some_of(labels, generator_of(example.text for example in examples)), np.int64)
    here_N = np.isin(labels, asked_M)
    tag_K = np.zeros(1 + 2 * len(task.labels), np.int64)
    tag_K[1 + 2 * asked_M], tag_K[2 + 2 * asked_M] = 1 + 2 * np.arange(len(asked_M)), 2 + 2 * np.arange(len(asked_M))
    own = training.targets(task, examples, encodings)
    return {
        **own, "row_N": np.array(rows, np.int64)[here_N], "asked_M": asked_M, "named_P": tag_K[own["tag_PN"][:, 0]],
        "name_N": np.searchsorted(asked_M, np.array(labels, np.int64)[here_N]),
    }  # fmt: skip


def loss(task: EntitiesByName, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """The loss of the tags, and the mean cross entropy over words of the tags of the labels asked for; as for chance."""
    from torch.nn.functional import cross_entropy, normalize

    own = training.loss(task, output, targets)
    if "vector_TX" not in output:  # of the tags alone, to be solved on the frozen encoder
        return own
    named_P, name_SD = targets["named_P"], output["name_SD"]
    labels = len(targets["asked_M"])
    if not labels or not len(named_P):
        unused = (output[key].sum() for key in ("vector_TX", "edge_T2", "scale_1"))
        return Loss(own.values + 0.0 * sum(unused), own.chance_loss)
    sums_MD = name_SD.new_zeros((labels, name_SD.shape[1]))
    sums_MD = sums_MD.index_add(0, targets["name_N"], normalize(name_SD[targets["row_N"]], dim=1))
    scores_TK = tag_scores(output, normalize(sums_MD, dim=1))
    scores_PK = word_scores_in_torch(scores_TK, {}, targets["piece_P"], targets["inner_I"], targets["place_I"])
    return Loss(own.values + cross_entropy(scores_PK, named_P), own.chance_loss + float(np.log(1 + 2 * labels)))


def tag_scores(output: Output, vector_MD: torch.Tensor) -> torch.Tensor:
    """Scores of `O`, and of `B-` and `I-` of M labels, `(T, 1 + 2 M)`: 0, and cosines plus those of the two edges."""
    import torch
    from torch.nn.functional import normalize

    cosine_TM = output["scale_1"] * (normalize(output["vector_TX"], dim=1) @ vector_MD.T)
    named_TK = (cosine_TM[:, :, None] + output["edge_T2"][:, None, :]).flatten(1)
    return torch.cat([named_TK.new_zeros((len(named_TK), 1)), named_TK], 1)
