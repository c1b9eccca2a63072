"""Targets and loss of entity linking: a mention is nearer to a name of its concept than to the other names of its batch.

Decided here:
- The name is a synonym other than the mention's own text where there is one, chosen by a hash of text and place: the mentions
  of a concept meet different names.
- Hard negatives are names of other concepts whose spelling resembles the mention.
- Names of a concept that the mention is linked to are never its negatives, whatever example they come from.
- Mentions that the entity task finds with other boundaries are trained with half of the weight (`tasks/spans.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from manyheads.tasks.base import Array, Encodings, Loss, Output
from manyheads.tasks.entity_linking.mentions import piece_stops, span_means
from manyheads.tasks.entity_linking.terms import normalised
from manyheads.tasks.spans import SpanExample, found_spans, range_means_in_torch, spans_of_examples

if TYPE_CHECKING:
    import torch

    from manyheads.tasks.entity_linking.dictionary import Dictionary
    from manyheads.tasks.entity_linking.task import EntityLinking

SCALE = 20.0
"""On cosines, as for in-batch negatives of sentence embeddings."""


def trained_mentions(task: EntityLinking, example: SpanExample) -> list[tuple[int, list[int]]]:
    """Places of the entities that have an identifier in the dictionary, and their concepts."""
    if task.dictionary is None:
        return []
    linked = ((place, task.dictionary.places(one.links)) for place, one in enumerate(example.spans))
    return [(place, concepts) for place, concepts in linked if concepts]


def names_to_read(task: EntityLinking, example: SpanExample) -> list[int]:
    """Names that are encoded along with a text, each once: one for each mention, and hard negatives."""
    names: list[int] = []
    for place, concepts in trained_mentions(task, example):
        names += [_positive(task, example, place, concepts), *_negatives(task, example, place, concepts)]
    return list(dict.fromkeys(names))


def _dictionary(task: EntityLinking) -> Dictionary:
    assert task.dictionary is not None, "mentions to train need a dictionary"
    return task.dictionary


def _mention(example: SpanExample, place: int) -> str:
    return example.text[example.spans[place].start : example.spans[place].end]


def _positive(task: EntityLinking, example: SpanExample, place: int, concepts: Sequence[int]) -> int:
    """A name of the first concept."""
    dictionary, own = _dictionary(task), normalised(_mention(example, place))
    names = list(dictionary.names_of(concepts[0]))
    others = [name for name in names if normalised(dictionary.names[name]) != own] or names
    draw = blake2b(f"{place}\0{example.text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return others[int.from_bytes(draw, "big") % len(others)]


def _negatives(task: EntityLinking, example: SpanExample, place: int, concepts: Sequence[int]) -> list[int]:
    """The names of other concepts that resemble the mention most, one of each concept."""
    dictionary = _dictionary(task)
    found: dict[int, int] = {}
    for name in dictionary.spelled(_mention(example, place)).tolist():
        concept = int(dictionary.concept_of_name[name])
        if concept not in concepts:
            found.setdefault(concept, name)
        if len(found) == task.negatives:
            break
    return list(found.values())


def targets(task: EntityLinking, examples: Sequence[SpanExample], encodings: Encodings) -> dict[str, Array]:
    """For N mentions their words (`row_W`, `stop_W`, `first_N`, `stop_N`), the tokens of M names, which of them is the
    mention's (`name_N`), and which names may be its negatives (`other_NM`)."""
    words = spans_of_examples(examples, encodings)
    windows = [window for asked in encodings for window in asked[0]]
    stop_W = piece_stops(words, windows)
    texts = np.array([sum(map(len, asked[0])) for asked in encodings], np.int64)
    every = np.array([sum(len(window) for source in asked for window in source) for asked in encodings], np.int64)
    begin = np.cumsum(every) - every
    shift_W = np.repeat(begin - (np.cumsum(texts) - texts), np.diff(words.bounds))
    first_M, stop_M, row, spans = list[int](), list[int](), list[int](), list[int]()
    concept_M, allowed, base = list[int](), list[list[int]](), 0
    for i, (example, asked) in enumerate(zip(examples, encodings, strict=True)):
        names = names_to_read(task, example)
        ends = begin[i] + texts[i] + np.cumsum([0, *(sum(map(len, source)) for source in asked[1:])])
        first_M += ends[:-1].tolist()
        stop_M += ends[1:].tolist()
        at = {name: len(concept_M) + k for k, name in enumerate(names)}
        concept_M += [int(_dictionary(task).concept_of_name[name]) for name in names]
        for place, concepts in trained_mentions(task, example):
            if words.stop_N[base + place] > words.first_N[base + place]:
                row.append(at[_positive(task, example, place, concepts)])
                allowed.append(concepts)
                spans.append(base + place)
        base += len(example.spans)
    others = [np.isin(concept_M, concepts, invert=True) for concepts in allowed]
    return {
        "row_W": words.row_W + shift_W, "stop_W": stop_W + shift_W, "bounds": words.bounds,
        "first_N": words.first_N[spans].astype(np.int64), "stop_N": words.stop_N[spans].astype(np.int64),
        "first_M": np.array(first_M, np.int64), "stop_M": np.array(stop_M, np.int64), "name_N": np.array(row, np.int64),
        "other_NM": np.array(others, bool).reshape(len(spans), len(concept_M)),
    }  # fmt: skip


def loss(task: EntityLinking, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
    """Mean cross entropy of each mention's name among it and its negatives, over scaled cosines.

    The chance loss is the scale, which multiplies the gradient.
    """
    import torch
    from torch.nn.functional import cross_entropy, normalize

    vector_TD, name_N = output["vector_TX"], targets["name_N"]
    if not len(name_N):
        return Loss(vector_TD.sum() * 0.0, SCALE)
    first_N, stop_N = targets["first_N"], targets["stop_N"]
    place_V, first_V, stop_V = (torch.from_numpy(part).to(name_N.device) for part in found_spans(output, targets))
    first_L, stop_L = torch.cat([first_N, first_V]), torch.cat([stop_N, stop_V])
    mention_LD = span_means(vector_TD, targets["row_W"], targets["stop_W"], first_L, stop_L)
    name_MD = range_means_in_torch(vector_TD, targets["first_M"], targets["stop_M"])
    cosine_LM = normalize(mention_LD, dim=1) @ normalize(name_MD, dim=1).T
    own_L = torch.cat([name_N, name_N[place_V]])
    seen_LM = torch.cat([targets["other_NM"], targets["other_NM"][place_V]]).scatter(1, own_L[:, None], True)
    logits_LM = (SCALE * cosine_LM).masked_fill(~seen_LM, float("-inf"))
    loss_L = cross_entropy(logits_LM, own_L, reduction="none")
    weight_N = loss_L.new_ones(len(name_N)).index_fill(0, place_V, 0.5)
    return Loss((loss_L * torch.cat([weight_N, weight_N[place_V]])).sum() / len(name_N), SCALE)
