"""A folder of sentence-transformers as encoder: its pooling and dense layer are the defaults of the embedding heads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import EncoderError
from manyheads.nn.sentence_folder import sentence_folder

if TYPE_CHECKING:
    from manyheads.tasks.sentence_embedding.task import SentenceEmbedding


def settled_by_encoder(task: SentenceEmbedding, folder: Path, given: Collection[str]) -> SentenceEmbedding:
    """The task with what its encoder's folder says of vectors, wherever the run file says nothing."""
    found = sentence_folder(folder)
    if found is None:
        return task
    settings: dict[str, Any] = {}
    if found.pooling is not None and "pooling" not in given:
        settings["pooling"] = found.pooling
    if found.dense is not None and _keeps_dense(given):
        settings |= {"projection": found.dense.width, "activation": found.dense.activation}
    return replace(task, **settings)


def start_from_encoder(folder: Path, given: Collection[str], head: Any) -> None:
    """Put the weights of the folder's dense layer into a head that has it."""
    import torch

    found = sentence_folder(folder)
    if found is None or found.dense is None or not _keeps_dense(given):
        return
    weights, linear = found.dense.read(), head.projection
    if weights["weight"].shape != linear.weight.shape:
        raise EncoderError(
            f"{found.dense.file} holds a layer of another width than the encoder beside it; it is damaged"
        )
    with torch.no_grad():
        linear.weight.copy_(weights["weight"])
        linear.bias.copy_(weights.get("bias", torch.zeros_like(linear.bias)))


def encoder_notes(folder: Path, given: Collection[str]) -> list[str]:
    """What the folder's own vectors have and those of a head have not."""
    found = sentence_folder(folder)
    if found is None:
        return []
    left = list(found.left_out)
    if found.dense is not None and not _keeps_dense(given):
        left.append("its dense layer, because the run file sets projection or pooling")
    return [f"is a folder of sentence-transformers, of which the head leaves out {reason}" for reason in left]


def _keeps_dense(given: Collection[str]) -> bool:
    """Whether the run file leaves pooling and projection to the folder."""
    return not {"pooling", "projection"} & set(given)
