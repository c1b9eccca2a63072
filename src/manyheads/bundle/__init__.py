"""The model folder: save, load, verify. Only this package knows its format.

    manyheads.json       format version, tasks with settings and labels, sharing, sha256 and size of every file, versions
    encoder/             transformers config, tokenizer, model.safetensors: plain transformers can load it too
    heads.safetensors    `TASK.parameter`, and `_mix.TASK.parameter` of learned layer mixes
    branches.safetensors `BRANCH/parameter`: what tasks own of the encoder; absent if they share all of it
    stores/TASK.safetensors  what a task answers with besides weights, such as its dictionary
    adapters/NAME/       adapters that are not merged, in peft's format; encoder/model.safetensors may then be absent
    metrics.json         scores by task and split
    run.yaml             the run file that made it
    README.md            model card

Safetensors and JSON only, so loading runs no code from the folder. `manyheads.json` is written last, so a folder that has
one is complete; every file is checked against it before it is read.
"""

from manyheads.bundle.copying import copy_model, write_new
from manyheads.bundle.encoder import UnmergedAdapters
from manyheads.bundle.exported import ExportedBundle, is_exported, load_exported, verify_exported
from manyheads.bundle.folder import Bundle, Contents, is_finished, load_bundle, save_bundle
from manyheads.bundle.manifest import (
    ADAPTER_FILES,
    ADAPTERS,
    BRANCHES,
    ENCODER,
    HEADS,
    MANIFEST,
    METRICS,
    REPORT,
    RUN,
    SHARED,
    manifest_hash,
    plain_name,
    read_manifest,
    was_refitted,
)
from manyheads.bundle.sharing import Base
from manyheads.bundle.stores import STORES, write_stores
from manyheads.bundle.suggestions import model_suggestions
from manyheads.bundle.tasks import tasks_of
from manyheads.bundle.verify import verify

__all__ = [
    "ADAPTERS",
    "ADAPTER_FILES",
    "BRANCHES",
    "ENCODER",
    "HEADS",
    "MANIFEST",
    "METRICS",
    "REPORT",
    "RUN",
    "SHARED",
    "STORES",
    "Base",
    "Bundle",
    "Contents",
    "ExportedBundle",
    "UnmergedAdapters",
    "copy_model",
    "is_exported",
    "is_finished",
    "load_bundle",
    "load_exported",
    "manifest_hash",
    "model_suggestions",
    "plain_name",
    "read_manifest",
    "save_bundle",
    "tasks_of",
    "verify",
    "verify_exported",
    "was_refitted",
    "write_new",
    "write_stores",
]
