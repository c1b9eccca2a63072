"""The folder of an exported ONNX graph: load and verify.

    manyheads.json   `"backend": "onnx"`; encoder, tasks, the source model, sha256 and size of every file
    model.onnx       the graph; `model.onnx.data` beside it if its weights are larger than 2 GB
    encoder/         the tokenizer's files
    stores/          as in the model folder
    metrics.json, run.yaml, README.md

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyheads.bundle.loaded import LoadedFolder, check_answers
from manyheads.bundle.manifest import CARD, ENCODER, MANIFEST, METRICS, read_manifest
from manyheads.bundle.stores import store_files, with_stores_of
from manyheads.bundle.tasks import tasks_of
from manyheads.bundle.verify import TOKENIZER, check_file, check_listed
from manyheads.errors import BundleError
from manyheads.onnx_backend import OnnxBackend

BACKEND = "onnx"
"""`backend` in the manifest."""
GRAPH = "model.onnx"
GRAPH_DATA = "model.onnx.data"


@dataclass(frozen=True, slots=True)
class ExportedBundle(LoadedFolder):
    """A loaded folder with an ONNX graph."""

    backend: OnnxBackend


def is_exported(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest describes an exported graph."""
    return manifest.get("backend") == BACKEND


def load_exported(folder: Path, *, threads: int | None = None, device: str = "cpu") -> ExportedBundle:
    """Verify and load an exported graph, which then runs with this many threads, or on a CUDA device.

    Raises BundleError, EncoderError for its tokenizer, or UsageError for a device that is not available.
    """
    from manyheads.text.tokenizer import Tokenizer

    manifest = read_manifest(folder)
    verify_exported(folder, manifest)
    tasks = with_stores_of(folder, tasks_of(manifest, folder / MANIFEST))
    tokenizer = Tokenizer.load(folder / ENCODER)
    graph = manifest["onnx"]
    row_by_row = graph.get("precision") == "int8"
    backend = OnnxBackend(
        folder / GRAPH, tasks, graph["pad_id"], threads=threads, row_by_row=row_by_row, device=device
    )
    exported = ExportedBundle(folder, manifest, tasks, tokenizer, int(manifest["encoder"]["max_length"]), backend)
    check_answers(exported, backend, (Exception,))  # the runtime has a dozen kinds of errors, none of them public
    return exported


def verify_exported(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise BundleError unless a folder holds an exported graph, and each file is there as it was written."""
    if not is_exported(manifest):
        raise BundleError(f"{folder / MANIFEST} does not describe an ONNX export")
    graph = manifest.get("onnx")
    if not isinstance(graph, dict) or type(graph.get("pad_id")) is not int or graph["pad_id"] < 0:
        raise BundleError(f"{folder / MANIFEST} has no 'onnx' with a 'pad_id'; it is damaged, export the model again")
    stores = store_files(tasks_of(manifest, folder / MANIFEST))
    check_listed(folder, manifest, {GRAPH, METRICS, TOKENIZER, *stores})
    for name, entry in manifest["files"].items():
        if name != CARD:
            check_file(folder, name, entry, max_depth=2)
    if (folder / GRAPH_DATA).exists() and GRAPH_DATA not in manifest["files"]:
        raise BundleError(f"{folder / GRAPH_DATA} does not belong to the folder, and could be read with it; remove it")
