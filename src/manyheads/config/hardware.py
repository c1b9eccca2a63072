"""How a run uses its hardware: device, compilation, padding of packs, sharding, and the cache of frozen layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from manyheads.data.cache import cache_folder
from manyheads.errors import UsageError
from manyheads.text.pack import STEADY, eighth_of

if TYPE_CHECKING:
    import torch

    from manyheads.balance import Balancer
    from manyheads.config.files import RunFile
    from manyheads.config.schema import Training
    from manyheads.model import MultiTaskModel
    from manyheads.training.distributed.team import Team
    from manyheads.training.frozen import Frozen
    from manyheads.training.precision import Precision

MIN_COMPILED_STEPS = 200
"""With `compile: auto`, runs of more steps compile their layers; in shorter ones it costs more than it saves."""


def device_of(name: str) -> torch.device:
    """The device for `training.device`. Raises UsageError if CUDA is requested but not available."""
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("training.device is cuda, but no CUDA device is available; use auto or cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def compiled_layers(training: Training, model: MultiTaskModel, device: torch.device, steps: int) -> int:
    """Compile the layers as `training.compile` says; returns their number. `steps`: steps that benefit from it.

    Raises UsageError if compilation is required but not possible.
    """
    if not training.compile or (training.compile == "auto" and (device.type != "cuda" or steps <= MIN_COMPILED_STEPS)):
        return 0
    from manyheads.nn.cuda.compiled import can_compile, compile_layers

    if device.type != "cuda":
        raise UsageError("training.compile is true, which needs a CUDA device; use auto or false on a CPU")
    if not can_compile():
        if training.compile == "auto":
            return 0
        raise UsageError("training.compile is true, but Triton or a C compiler (gcc, clang) is missing; "
                         "install them, or use auto or false")  # fmt: skip
    return sum(map(compile_layers, [model.encoder, *(branch.encoder for branch in model.branches)]))


def multiple_of(training: Training, per_step: int, precision: Precision, *, compiled: bool) -> int:
    """Multiple to which the tokens of a pack are padded, where every new shape would be compiled; 1: no padding."""
    if compiled:
        return STEADY
    half = precision.dtype is not None and precision.device.type == "cpu"
    return eighth_of(min(per_step, training.max_tokens_per_pack or per_step)) if half else 1


def shards_layers(file: RunFile, balancer: Balancer, precision: Precision, team: Team) -> bool:
    """Whether the encoder's layers are sharded over the processes; never with a single process.

    With sharding the frozen-layer cache is off: a process with a cache hit would not run the layers with the others.
    Raises UsageError for settings that exclude sharding, even with a single process.
    """
    training, sharing = file.run.training, file.run.sharing
    if not training.shard_layers:
        return False
    by_gradients = balancer.mode != "losses"
    reasons = {
        "lora, which leaves little to shard": file.run.lora is not None,
        "sharing.shared_layers: all processes must run all layers": sharing.shared_layers is not None,
        f"training.balancing {training.balancing.method}, which needs the gradients of whole layers": by_gradients,
        "training.compile: true": training.compile is True,
        "training.anchor, which keeps a second encoder in every process": training.anchor > 0,
        "training.precision fp16; use bf16 or float32": precision.scaled,
    }
    for reason, hit in reasons.items():
        if hit:
            raise UsageError(f"training.shard_layers cannot be combined with {reason}; leave one of them out")
    return team.size > 1


def frozen_cache(training: Training, precision: Precision) -> Callable[[MultiTaskModel, int], Frozen | None] | None:
    """Factory of the disk cache for outputs of frozen layers; None on a GPU, which computes them faster than it reads."""
    from manyheads.training.frozen import Frozen
    from manyheads.training.frozen_store import open_store

    if not training.frozen_store_gb or precision.device.type != "cpu":
        return None

    def cached(model: MultiTaskModel, layer: int) -> Frozen | None:
        try:
            limit = int(training.frozen_store_gb * 1e9)
            return Frozen(model, layer, open_store(cache_folder(), model.encoder, layer, str(precision), limit))
        except OSError:  # the cache cannot be written: compute everything
            return None

    return cached
