"""The identity of a run: a checkpoint can be resumed with the same run file, data and base weights only."""

from __future__ import annotations

import difflib
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from manyheads.errors import CheckpointError

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.parts import Part

FREE = ("save_every", "keep_checkpoints", "workers", "shard_layers", "report_to")
"""Keys under `training` that affect no result, and may change when a run resumes."""
NOT_SETTINGS = ("_name_or_path", "transformers_version")
"""Keys of an encoder's configuration about its location and the software that wrote it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The run file, data and fixed weights of a run."""

    run: str
    """Its run file as YAML, overrides applied, without the keys in FREE."""
    data: Mapping[str, str]
    """A sha256 of the rows of each `TASK.SPLIT` used in training."""
    base: str
    """A sha256 of the weights that are not trained, of the encoder's configuration and of the tokenizer."""

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint, with the environment, which affects the last bits of results only."""
        return {"run": self.run, "data": dict(self.data), "base": self.base, "environment": environment()}

    def check(self, saved: Any) -> list[str]:
        """Notes on a changed environment. Raises CheckpointError for another run, with what has changed."""
        try:
            run, data, base, then = saved["run"], dict(saved["data"]), saved["base"], dict(saved["environment"])
            before, now = run.splitlines(), self.run.splitlines()
        except (KeyError, TypeError, ValueError, AttributeError):
            raise CheckpointError("the checkpoint does not say which run it is of") from None
        if before != now:
            changed = list(difflib.unified_diff(before, now, "the checkpoint's", "now", n=1, lineterm=""))
            raise CheckpointError("the run file has changed since the checkpoint was made; change it back, or choose "
                                  "another output folder to start a new run:\n" + "\n".join(changed))  # fmt: skip
        for name in sorted({*data, *self.data}):
            if data.get(name) != self.data.get(name):
                raise CheckpointError(f"the data of {name} has changed since the checkpoint was made; put it back, or "
                                      "choose another output folder to start a new run")  # fmt: skip
        if base != self.base:
            raise CheckpointError("the encoder's weights or tokenizer have changed since the checkpoint was made; put "
                                  "them back, or choose another output folder to start a new run")  # fmt: skip
        here = environment()
        differing = [f"{key} {then.get(key)} (now {here[key]})" for key in here if then.get(key) != here[key]]
        if not differing:
            return []
        return [f"the checkpoint was made with {', '.join(differing)}: results may differ in their last digits"]


def essential(run: str) -> str:
    """A run file without the keys in FREE."""
    values = yaml.safe_load(run)
    training = {key: value for key, value in values.get("training", {}).items() if key not in FREE}
    return str(yaml.safe_dump({**values, "training": training}, sort_keys=False, allow_unicode=True))


def environment() -> dict[str, Any]:
    """What the last bits of a result depend on besides the run itself."""
    import torch
    import torch.distributed as dist

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": device,
            "processes": dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1}  # fmt: skip


def base_hash(model: MultiTaskModel, parts: Sequence[Part], tokenizer: Tokenizer) -> str:
    """A sha256 of all weights that no part trains, the encoder's configuration (with its dropout) and the tokenizer."""
    import torch

    trained = {id(parameter) for part in parts for parameter in part.parameters}
    digest = hashlib.sha256(tokenizer.definition.encode())
    settings = {key: value for key, value in model.encoder.config.to_dict().items() if key not in NOT_SETTINGS}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, parameter in model.named_parameters():
        if id(parameter) not in trained:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
