"""The whole model, or one head of it, as an ONNX graph in a folder that `load`, `predict`, `evaluate` and `serve` take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from manyheads.bundle import METRICS, RUN
from manyheads.bundle.manifest import CARD, ENCODER, FORMAT, sha256_of, versions, was_refitted, write_manifest
from manyheads.config.build import portable_run
from manyheads.config.files import load_run
from manyheads.errors import ConfigError, UsageError
from manyheads.export.cards import graph_card
from manyheads.export.folder import write_folder
from manyheads.export.parity import Difference, check, difference, own_tables, windows_of
from manyheads.onnx_backend import BACKEND, GRAPH, ONE_TRUNK, OnnxBackend, load_exported
from manyheads.predict import TorchBackend
from manyheads.tasks import describe

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.export.command import Export, Say
    from manyheads.tasks.base import Task

MOST_APART = 1e-4
"""Largest difference of any output that a float32 graph may have."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of a graph in its folder."""

    precision: str
    apart: Difference
    scores: Mapping[str, Any]
    """Of int8: `{task: {"float32": score, "int8": score}}` on validation data."""
    metrics: Mapping[str, Any]
    """`{task: {split: metrics}}`: the model's, or what the int8 graph was found to have."""
    run: str
    """The run file, for the folder that it will stand in."""
    opset: int


def export_onnx(bundle: Bundle, wanted: Export, say: Say) -> None:
    """Write the folder. Raises UsageError for a model that cannot be written, or a graph that answers otherwise."""
    _check_installed()
    from manyheads.export.graph import OPSET, write_graph
    from manyheads.export.int8 import quantized, scored_on

    tasks = bundle.tasks if wanted.task is None else {wanted.task: bundle.tasks[wanted.task]}
    model = TorchBackend(bundle.model, torch.device("cpu"))
    pad_id = bundle.model.encoder.pad_id
    deciding = scored_on(bundle, tasks, wanted, say) if wanted.quantize is not None else {}

    def fill(folder: Path) -> None:
        say(f"writing the graph of {len(tasks)} head{'s' if len(tasks) > 1 else ''}")
        metadata = {
            "manyheads.model": bundle.hash,
            "manyheads.format": str(FORMAT),
            ONE_TRUNK: str(not bundle.model.branches).lower(),
            "manyheads.tasks": json.dumps({name: describe(task) for name, task in tasks.items()}),
        }
        write_graph(bundle.model, tasks, folder / GRAPH, metadata)
        graph = OnnxBackend(folder / GRAPH, tasks, pad_id)
        tables = own_tables(bundle)
        own_data, windows = bool(tables), windows_of(bundle, tables)
        found = difference(model, graph, windows, tasks)
        say(found.line(own_data))
        check(found, MOST_APART, "the graph")
        scores: Mapping[str, Any] = {}
        metrics = _metrics(bundle, tasks)
        if wanted.quantize is not None:
            cost = quantized(folder / GRAPH, bundle, tasks, deciding, wanted, say)
            scores, metrics = cost.headlines, {name: {"validation": found} for name, found in cost.metrics.items()}
            found = difference(model, OnnxBackend(folder / GRAPH, tasks, pad_id, alone=True), windows, tasks)
            say(found.line(own_data).replace("parity:", "int8:"))
        facts = Facts(wanted.quantize or "float32", found, scores, metrics, _run(bundle, wanted.output), OPSET)
        _write_rest(folder, bundle, tasks, pad_id, facts)
        load_exported(folder)  # as whoever gets the folder will
        say(f"{sum(path.stat().st_size for path in folder.rglob('*')) / 1e6:.1f} MB")

    write_folder(wanted.output, fill)


def _write_rest(folder: Path, bundle: Bundle, tasks: Mapping[str, Task[Any]], pad_id: int, facts: Facts) -> None:
    """Everything beside the graph, the manifest last."""
    bundle.tokenizer.save(folder / ENCODER)
    (folder / METRICS).write_text(json.dumps(facts.metrics, indent=2) + "\n", encoding="utf-8")
    (folder / RUN).write_text(facts.run, encoding="utf-8")
    (folder / CARD).write_text(graph_card(bundle, tasks, facts), encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "format": FORMAT,
        "backend": BACKEND,
        "encoder": dict(bundle.manifest["encoder"]),
        "tasks": {name: describe(task) for name, task in tasks.items()},
        "onnx": {
            "source": bundle.hash, "precision": facts.precision, "opset": facts.opset, "pad_id": pad_id,
            "largest_difference": facts.apart.largest, "scores": facts.scores,
        },
        "files": {
            path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in files
        },
        "versions": {**versions(), **_versions()},
        **({"refitted": True} if was_refitted(bundle.manifest) else {}),
    }  # fmt: skip
    write_manifest(folder, manifest)


def _metrics(bundle: Bundle, tasks: Mapping[str, Task[Any]]) -> dict[str, Any]:
    """The model's scores of the tasks, and the combined ones of all of them."""
    metrics = json.loads((bundle.folder / METRICS).read_text(encoding="utf-8"))
    return {
        name: splits for name, splits in metrics.items() if name in tasks or (name == "_all" and tasks is bundle.tasks)
    }


def _run(bundle: Bundle, folder: Path) -> str:
    """The model's run file, with paths that lead to the data from another folder."""
    path = bundle.folder / RUN
    try:
        return portable_run(load_run(path), folder)
    except ConfigError:  # of another version: it is kept as it is
        return path.read_text(encoding="utf-8")


def _versions() -> dict[str, str]:
    import onnx
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def _check_installed() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UsageError(f"--to onnx needs {', '.join(missing)}; pip install 'manyheads[export]'")
