"""An embedding head as sentence-transformers modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from manyheads.tasks.stock import SentenceModule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from manyheads.tasks.sentence_embedding.task import SentenceEmbedding


def sentence_modules(task: SentenceEmbedding, head: Any, width: int) -> Sequence[SentenceModule]:
    """Pooling, and projection, LayerNorm and normalisation if the head has them."""
    modules = [SentenceModule("Pooling", {
        "word_embedding_dimension": width, "pooling_mode_cls_token": task.pooling == "cls",
        "pooling_mode_mean_tokens": task.pooling == "mean", "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    })]  # fmt: skip
    if isinstance(head.projection, nn.Linear):
        linear = head.projection
        activation = "activation.Tanh" if task.activation == "tanh" else "linear.Identity"
        config = {"in_features": linear.in_features, "out_features": linear.out_features, "bias": True,
                  "activation_function": f"torch.nn.modules.{activation}"}  # fmt: skip
        weights = {"linear.weight": linear.weight, "linear.bias": linear.bias}
        modules.append(SentenceModule("Dense", config, weights))
    if isinstance(head.norm, nn.LayerNorm):
        weights = {"norm.weight": head.norm.weight, "norm.bias": head.norm.bias}
        modules.append(SentenceModule("LayerNorm", {"dimension": head.norm.normalized_shape[0]}, weights))
    if task.normalize:
        modules.append(SentenceModule("Normalize"))
    return modules
