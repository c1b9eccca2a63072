"""The whole model, or one head of it, as an ONNX graph in a folder for `load`, `predict`, `evaluate` and `serve`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from manyheads.bundle import ENCODER, METRICS, RUN, load_exported, was_refitted, write_stores
from manyheads.bundle.exported import BACKEND, GRAPH
from manyheads.bundle.manifest import CARD, FORMAT, file_entries, versions, write_manifest
from manyheads.config.files import load_run
from manyheads.config.output import portable_run
from manyheads.errors import ConfigError, UsageError
from manyheads.export.cards import GraphSummary, graph_card
from manyheads.export.folder import write_folder
from manyheads.export.parity import compare, own_tables, windows_of
from manyheads.hub.facts import ModelFacts, kept_facts
from manyheads.hub.metadata import metadata
from manyheads.onnx_backend import ONE_TRUNK, OnnxBackend
from manyheads.predict import TorchBackend
from manyheads.tasks import describe

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.export.request import ExportRequest, Log
    from manyheads.tasks.base import Task

MAX_DIFFERENCE = 1e-4
"""Of any output of a float32 graph, as `parity.relative_difference` measures it."""


def export_onnx(bundle: Bundle, request: ExportRequest, log: Log) -> None:
    """Write the folder. Raises UsageError if the exporter cannot write the model, or the graph answers differently."""
    _check_installed()
    from manyheads.export.graph import write_graph
    from manyheads.export.int8 import quantize, validation_data

    tasks = bundle.tasks if request.task is None else {request.task: bundle.tasks[request.task]}
    model = TorchBackend(bundle.model, torch.device("cpu"))
    pad_id = bundle.model.encoder.pad_id
    scored_on = validation_data(bundle, tasks, request, log) if request.quantize is not None else {}

    def fill(folder: Path) -> None:
        log(f"writing the graph of {len(tasks)} head{'s' if len(tasks) > 1 else ''}")
        write_graph(bundle.model, tasks, folder / GRAPH, _metadata(bundle, tasks))
        tables = own_tables(bundle)
        windows = windows_of(bundle, tables)
        found = compare(model, OnnxBackend(folder / GRAPH, tasks, pad_id), windows, tasks)
        log(found.line(bool(tables)))
        found.check(MAX_DIFFERENCE, "the graph")
        summary = GraphSummary("float32", found, {}, _metrics(bundle, tasks))
        if request.quantize is not None:
            cost = quantize(folder / GRAPH, bundle, tasks, scored_on, request, log)
            found = compare(model, OnnxBackend(folder / GRAPH, tasks, pad_id, row_by_row=True), windows, tasks)
            log(found.line(bool(tables)).replace("parity:", "int8:"))
            metrics = {name: {"validation": scores} for name, scores in cost.metrics.items()}
            summary = GraphSummary(request.quantize, found, cost.scores, metrics)
        _write_rest(folder, bundle, tasks, summary, request.output)
        load_exported(folder)  # as its users will
        log(f"{sum(path.stat().st_size for path in folder.rglob('*')) / 1e6:.1f} MB")

    write_folder(request.output, fill)


def _metadata(bundle: Bundle, tasks: Mapping[str, Task[Any]]) -> dict[str, str]:
    """Metadata of the graph."""
    return {
        "manyheads.model": bundle.hash,
        "manyheads.format": str(FORMAT),
        ONE_TRUNK: str(not bundle.model.branches).lower(),
        "manyheads.tasks": json.dumps({name: describe(task) for name, task in tasks.items()}),
    }


def _write_rest(folder: Path, bundle: Bundle, tasks: Mapping[str, Task[Any]], summary: GraphSummary, output: Path) -> None:
    """Write everything but the graph, the manifest last. `output`: where the folder will be."""
    from manyheads.export.graph import OPSET

    run = _run(bundle, output)
    bundle.tokenizer.save(folder / ENCODER)
    (folder / METRICS).write_text(json.dumps(summary.metrics, indent=2) + "\n", encoding="utf-8")
    (folder / RUN).write_text(run, encoding="utf-8")
    base_model, _ = kept_facts(bundle.manifest)
    facts = ModelFacts(output.resolve().name, tasks, dict(summary.metrics), bundle.max_length, run, base_model)
    (folder / CARD).write_text(f"{metadata(facts)}\n{graph_card(bundle, tasks, summary)}", encoding="utf-8")
    write_stores(folder, tasks)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "format": FORMAT,
        "backend": BACKEND,
        "encoder": dict(bundle.manifest["encoder"]),
        "tasks": {name: describe(task) for name, task in tasks.items()},
        "onnx": {
            "source": bundle.hash, "precision": summary.precision, "opset": OPSET, "pad_id": bundle.model.encoder.pad_id,
            "largest_difference": summary.difference.largest, "scores": summary.scores,
        },
        "files": file_entries(folder, [path.relative_to(folder).as_posix() for path in files]),
        "versions": {**versions(), **_onnx_versions()},
        **({"refitted": True} if was_refitted(bundle.manifest) else {}),
    }  # fmt: skip
    write_manifest(folder, manifest)


def _metrics(bundle: Bundle, tasks: Mapping[str, Task[Any]]) -> dict[str, Any]:
    """The model's scores of the tasks; combined ones too if all tasks are exported."""
    metrics = json.loads((bundle.folder / METRICS).read_text(encoding="utf-8"))
    return {
        name: splits for name, splits in metrics.items() if name in tasks or (name == "_all" and tasks is bundle.tasks)
    }


def _run(bundle: Bundle, folder: Path) -> str:
    """The model's run file, with paths to the data that work from another folder."""
    path = bundle.folder / RUN
    try:
        return portable_run(load_run(path), folder)
    except ConfigError:  # of another version, kept unchanged
        return path.read_text(encoding="utf-8")


def _onnx_versions() -> dict[str, str]:
    import onnx
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def _check_installed() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UsageError(f"--to onnx needs {', '.join(missing)}; pip install 'path/to/manyheads[export]'")
