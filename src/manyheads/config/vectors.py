"""A folder of sentence-transformers as encoder: its pooling and dense layer are the defaults of the embedding heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.config.model import locate
from manyheads.config.schema import SentenceEmbeddingSection, TaskSection
from manyheads.errors import EncoderError
from manyheads.nn.sentence_folder import SentenceFolder, sentence_folder

if TYPE_CHECKING:
    from manyheads.config.files import RunFile
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task


def with_own_vectors(file: RunFile, task: Task[Any], section: TaskSection) -> Task[Any]:
    """The task with what its encoder's folder says of vectors, wherever the run file says nothing."""
    found = _folder(file, section)
    if found is None:
        return task
    settings: dict[str, Any] = {}
    if found.pooling is not None and "pooling" not in section.model_fields_set:
        settings["pooling"] = found.pooling
    if found.dense is not None and _keeps_dense(section):
        settings |= {"projection": found.dense.width, "activation": found.dense.activation}
    return replace(task, **settings)


def start_with_own_vectors(file: RunFile, model: MultiTaskModel, tasks: Mapping[str, Task[Any]]) -> None:
    """Put the weights of the folder's dense layer into the heads that have it."""
    import torch

    for name in tasks:
        section = file.run.tasks[name]
        found = _folder(file, section)
        if found is None or found.dense is None or not _keeps_dense(section):
            continue
        head: Any = model.heads[name]
        weights, linear = found.dense.read(), head.projection
        if weights["weight"].shape != linear.weight.shape:
            raise EncoderError(
                f"{found.dense.file} holds a layer of another width than the encoder beside it; it is damaged"
            )
        with torch.no_grad():
            linear.weight.copy_(weights["weight"])
            linear.bias.copy_(weights.get("bias", torch.zeros_like(linear.bias)))


def vector_notes(file: RunFile) -> list[str]:
    """What the folder's own vectors have and those of a head have not, for people."""
    notes = []
    for name, section in file.run.tasks.items():
        found = _folder(file, section)
        if found is None:
            continue
        left = list(found.left_out)
        if found.dense is not None and not _keeps_dense(section):
            left.append("its dense layer, because the run file sets projection or pooling")
        notes += [f"warning: {name}: {file.run.encoder.name} is a folder of sentence-transformers, of which the head leaves "
                  f"out {reason}" for reason in left]  # fmt: skip
    return notes


def _folder(file: RunFile, section: TaskSection) -> SentenceFolder | None:
    return sentence_folder(Path(locate(file).path_or_id)) if isinstance(section, SentenceEmbeddingSection) else None


def _keeps_dense(section: TaskSection) -> bool:
    """Whether the run file leaves pooling and projection to the folder."""
    return not {"pooling", "projection"} & section.model_fields_set
