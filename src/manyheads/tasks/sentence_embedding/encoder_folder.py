"""Sentence-transformers folders as encoders: their pooling, dense layer and prompts are the defaults of embedding heads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import EncoderError
from manyheads.nn.sentence_folder import sentence_folder

if TYPE_CHECKING:
    from manyheads.tasks.sentence_embedding.task import SentenceEmbedding


def with_encoder_settings(task: SentenceEmbedding, folder: Path, given: Collection[str]) -> SentenceEmbedding:
    """The task with pooling, dense layer and prompts from its encoder's folder, unless the run file sets them."""
    found = sentence_folder(folder)
    if found is None:
        return task
    settings: dict[str, Any] = {}
    if found.pooling is not None and "pooling" not in given:
        settings["pooling"] = found.pooling
    if found.dense is not None and _keeps_dense(given):
        settings |= {"projection": found.dense.width, "activation": found.dense.activation}
    if not {"prompts", "default_prompt_name"} & set(given):
        settings |= {"prompts": dict(found.prompts), "default_prompt_name": found.default_prompt_name}
    return replace(task, **settings)


def load_encoder_weights(folder: Path, given: Collection[str], head: Any) -> None:
    """Copy the weights of the folder's dense layer, if the head has it. Raises EncoderError."""
    import torch

    found = sentence_folder(folder)
    if found is None or found.dense is None or not _keeps_dense(given):
        return
    weights, linear = found.dense.read(), head.projection
    if weights["weight"].shape != linear.weight.shape:
        raise EncoderError(
            f"{found.dense.file} holds a layer of another width than the encoder; it is damaged"
        )
    with torch.no_grad():
        linear.weight.copy_(weights["weight"])
        linear.bias.copy_(weights.get("bias", torch.zeros_like(linear.bias)))


def encoder_notes(folder: Path, given: Collection[str]) -> list[str]:
    """Parts of the folder's own vectors that those of a head lack."""
    found = sentence_folder(folder)
    if found is None:
        return []
    left = list(found.left_out)
    if found.dense is not None and not _keeps_dense(given):
        left.append("its dense layer, because the run file sets projection or pooling")
    return [f"is a sentence-transformers folder, of which the head leaves out {reason}" for reason in left]


def _keeps_dense(given: Collection[str]) -> bool:
    """Whether the run file sets neither pooling nor projection."""
    return not {"pooling", "projection"} & set(given)
