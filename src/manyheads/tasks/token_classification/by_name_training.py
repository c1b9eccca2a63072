"""Targets and loss of entities by name: where entities of any type are, and which description each is nearest to.

Decided here (numbers: docs/decisions.md):
- Four losses are added up: of the tags of known labels, as in an ordinary head; of the words where an entity of any type
  begins or continues; of the label of each entity among those that a step asks for, or none of them; and of phrases.
- Of the words outside of gold entities, those with the highest losses do not count where entities are found: they may be of
  a type that nobody annotated.
- A share of the texts brings along the description of a label, its own or any, drawn by a hash of the text, so descriptions
  cost a fixed part of a step's tokens. Of the labels that a step's texts bring, it asks for a number between one and all:
  entities of the others are of none, as those of a type that nobody asks for.
- The same texts bring some of their own words, read alone. The vector of these words in the text is to be nearest to that
  of the phrase, among all phrases of the step, so vectors of words lie where those of descriptions do. Phrases do not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.by_name.draws import generator_of, some_of
from manyheads.tasks.token_classification import training
from manyheads.text.entities import EntityExample
from manyheads.text.units import units

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.token_classification.by_name_task import EntitiesByName

SCALE = 20.0
"""On cosines at first, and on those of phrases, as for sentence embeddings."""
OWN = 0.5
"""Of texts with entities that bring a description and a phrase, the share that brings a label and an entity of its own."""
MOST_WORDS = 3
"""Of a phrase that is no entity."""
UNCOUNTED = 0.2
"""Share of the words outside of gold entities whose loss does not count."""
PHRASES = 0.3
"""Factor on the loss of phrases."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the encoder reads along with a text: the description of a label, and a phrase of the text."""

    label: int
    first: int
    """Its first unit."""
    stop: int
    phrase: str


def reading(task: EntitiesByName, example: EntityExample) -> Reading | None:
    """What is read along with a text; None for most texts."""
    generator = generator_of([example.text])
    if not task.label_texts or generator.random() >= task.described:
        return None
    offsets_U2 = units(example.text, task.unit, example.words)
    label, (start, end) = int(generator.integers(len(task.labels))), (0, 0)
    if example.spans and generator.random() < OWN:
        start, end, name = example.spans[int(generator.integers(len(example.spans)))]
        label = task.labels.index(name)
    inside = np.flatnonzero((offsets_U2[:, 0] < end) & (offsets_U2[:, 1] > start))
    if not len(inside):
        first = int(generator.integers(max(1, len(offsets_U2))))
        inside = np.arange(first, min(first + int(generator.integers(1, MOST_WORDS, endpoint=True)), len(offsets_U2)))
    if not len(inside):
        return None  # a text without words
    first, last = int(inside[0]), int(inside[-1])
    return Reading(label, first, last + 1, example.text[offsets_U2[first, 0] : offsets_U2[last, 1]])


def targets(task: EntitiesByName, examples: Sequence[EntityExample], encodings: Encodings) -> dict[str, Array]:
    """Those of the tags, and:

    `label_M` labels that are asked for; `row_R` sequences that describe them, `name_R` the label of each among M;
    `entity_Q`, `of_Q` words in entities and the entity of each; `choice_N` the label of each entity, from 1, or 0 for none;
    `phrase_H` sequences of phrases; `word_V`, `in_V` words and the phrase of each; `twin_HH` which phrases are the same.
    """
    where = training.locate_units(task, examples, encodings)
    unit_P, window_P = where.pop("unit_P"), np.repeat(np.arange(len(where["words_S"])), where["words_S"])
    tag_PN = training.tags_of_units(task, examples)[unit_P]
    read = [reading(task, example) for example in examples]
    rows, labels, phrase_rows, words, phrases = list[int](), list[int](), list[int](), list[Array](), list[str]()
    row, unit = 0, 0
    for example, asked, one in zip(examples, encodings, read, strict=True):
        row += len(asked[0])
        if one is not None:
            description, phrase = asked[1], asked[2]
            rows += range(row, row + len(description))
            labels += [one.label] * len(description)
            phrase_rows.append(row + len(description))
            row += len(description) + len(phrase)
            words.append(np.flatnonzero((unit_P >= unit + one.first) & (unit_P < unit + one.stop)))
            phrases.append(one.phrase.casefold())
        unit += len(units(example.text, task.unit, example.words))
    label_M = np.array(some_of(labels, generator_of(example.text for example in examples)), np.int64)
    label_R = np.array(labels, np.int64)
    here_R = np.isin(label_R, label_M)
    inside_Q, of_Q, label_N = gold_entities(tag_PN[:, 0], window_P)
    choice_K = np.zeros(len(task.labels), np.int64)
    choice_K[label_M] = 1 + np.arange(len(label_M))
    same_H = np.array(phrases, object)
    return {
        **where, "tag_PN": tag_PN, "label_M": label_M, "row_R": np.array(rows, np.int64)[here_R],
        "name_R": np.searchsorted(label_M, label_R[here_R]),
        "entity_Q": inside_Q, "of_Q": of_Q, "choice_N": choice_K[label_N],
        "phrase_H": np.array(phrase_rows, np.int64), "word_V": np.concatenate([*words, np.zeros(0, np.int64)]),
        "in_V": np.repeat(np.arange(len(words)), [len(some) for some in words]),
        "twin_HH": (same_H[:, None] == same_H[None, :]).astype(bool).reshape(len(words), len(words)),
    }  # fmt: skip


def gold_entities(tag_P: Array, window_P: Array) -> tuple[Array, Array, Array]:
    """Words in entities, the entity of each, and the label of each entity, from tags in windows.

    >>> [found.tolist() for found in gold_entities(np.array([0, 1, 2, 3, 2]), np.zeros(5))]
    [[1, 2, 3, 4], [0, 0, 1, 2], [0, 1, 0]]
    """
    label_P = (tag_P + 1) // 2
    before_P = np.concatenate([[0], label_P[:-1]])
    first_P = np.concatenate([[True], window_P[1:] != window_P[:-1]])[: len(tag_P)]
    begins_P = (label_P > 0) & ((tag_P % 2 == 1) | (label_P != before_P[: len(tag_P)]) | first_P)
    inside_Q = np.flatnonzero(label_P)
    return inside_Q, np.cumsum(begins_P)[inside_Q] - 1, label_P[begins_P] - 1


def loss(task: EntitiesByName, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """The sum of the four losses, each a mean over its own units; so is the chance loss."""
    from torch.nn.functional import cross_entropy, normalize

    own = training.loss(task, output, targets)
    if "vector_TX" not in output or not len(targets["tag_PN"]):  # the tags alone, solved on the frozen encoder
        unused = [output[key].sum() * 0.0 for key in ("vector_TX", "edge_T2", "scale_1", "none_1") if key in output]
        return Loss(sum(unused, own.values), own.chance_loss)
    values, chance = own.values + edge_loss(output, targets), own.chance_loss + float(np.log(3))
    unit_SD = normalize(output["name_SD"], dim=1)
    vector_PX = output["vector_TX"][targets["piece_P"]]
    entities, labels, phrases = (len(targets[key]) for key in ("choice_N", "label_M", "phrase_H"))
    vector_NX = means(vector_PX[targets["entity_Q"]], targets["of_Q"], entities)
    name_MD = normalize(means(unit_SD[targets["row_R"]], targets["name_R"], labels), dim=1)
    logits_NC = choice_logits(output, vector_NX, name_MD)
    values = values + cross_entropy(logits_NC, targets["choice_N"], reduction="sum") / max(1, entities)
    vector_HX = means(vector_PX[targets["word_V"]], targets["in_V"], phrases)
    logits_HH = SCALE * (normalize(vector_HX, dim=1) @ unit_SD[targets["phrase_H"]].detach().T)
    own_H = logits_HH.new_ones(phrases).diag().bool()
    logits_HH = logits_HH.masked_fill(targets["twin_HH"] & ~own_H, float("-inf"))
    values = values + PHRASES * cross_entropy(logits_HH, own_H.long().argmax(1), reduction="sum") / max(1, phrases)
    return Loss(values, chance + float(np.log(1 + labels) + PHRASES * np.log(max(1, phrases))))


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
    return (loss_P[tag_P > 0].sum() + counted_O.sum()) / len(loss_P)


def choice_logits(output: Output, vector_NX: torch.Tensor, name_MD: torch.Tensor) -> torch.Tensor:
    """Logits of none of the labels, and of each, for entities with these vectors, `(N, 1 + M)`."""
    import torch
    from torch.nn.functional import normalize

    cosine_NM = normalize(vector_NX, dim=1) @ name_MD.T
    return torch.cat([output["none_1"].expand(len(vector_NX), 1), output["scale_1"] * cosine_NM], 1)


def means(vector_QX: torch.Tensor, of_Q: torch.Tensor, count: int) -> torch.Tensor:
    """The mean of the vectors of each group, `(count, X)`; 0 for one without any."""
    sums_NX = vector_QX.new_zeros((count, vector_QX.shape[1])).index_add(0, of_Q, vector_QX)
    sizes_N = vector_QX.new_zeros(count).index_add(0, of_Q, vector_QX.new_ones(len(of_Q)))
    return sums_NX / sizes_N.clamp(min=1)[:, None]
