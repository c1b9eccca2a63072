"""The model folder: save, load, verify. The only room that knows its format.

    manyheads.json       format version, tasks with settings and labels, sharing, sha256 and size of every file, versions
    encoder/             transformers config, tokenizer, model.safetensors: loads in plain transformers too
    heads.safetensors    `TASK.parameter`, and `_mix.TASK.parameter` of learned layer mixes
    branches.safetensors `BRANCH/parameter`: what tasks own of the encoder; absent when they share all of it
    adapters/NAME/       adapters kept apart, in peft's format; the folder may then do without encoder/model.safetensors
    metrics.json         scores by task and split
    run.yaml             the run file that made it
    README.md            model card

Safetensors and JSON only: nothing here can run code when loaded. `manyheads.json` is written last, so a folder that has
one is whole; every file is checked against it before it is read.
"""

from manyheads.bundle.folder import Bundle, Contents, is_finished, load_bundle, save_bundle
from manyheads.bundle.layers import Apart
from manyheads.bundle.manifest import (
    ADAPTER_FILES,
    ADAPTERS,
    BRANCHES,
    ENCODER,
    HEADS,
    MANIFEST,
    METRICS,
    RUN,
    SHARED,
    Base,
    manifest_hash,
    plain_name,
    read_manifest,
    sharing_of,
    verify,
)
from manyheads.bundle.near import near_models

__all__ = [
    "ADAPTERS",
    "ADAPTER_FILES",
    "BRANCHES",
    "ENCODER",
    "HEADS",
    "MANIFEST",
    "METRICS",
    "RUN",
    "SHARED",
    "Apart",
    "Base",
    "Bundle",
    "Contents",
    "is_finished",
    "load_bundle",
    "manifest_hash",
    "near_models",
    "plain_name",
    "read_manifest",
    "save_bundle",
    "sharing_of",
    "verify",
]
