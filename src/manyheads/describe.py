"""Description of a model folder, from its manifest; no weights are loaded."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from manyheads.bundle import (
    ADAPTER_FILES,
    ADAPTERS,
    BRANCHES,
    ENCODER,
    HEADS,
    METRICS,
    STORES,
    is_exported,
    manifest_hash,
    read_manifest,
    verify,
    verify_exported,
)
from manyheads.evaluate import warning_lines
from manyheads.tasks import restore


def model_description(folder: Path) -> dict[str, Any]:
    """Tasks, labels, sharing, scores, sizes and hashes. Raises BundleError for a damaged folder."""
    manifest = read_manifest(folder)
    files: dict[str, Any] = manifest["files"]
    if is_exported(manifest):
        verify_exported(folder, manifest)
        facts = {"onnx": manifest["onnx"]}
    else:
        sharing = verify(folder, manifest)
        weights = [name for name in files if name.endswith(".safetensors") and not name.startswith(f"{STORES}/")]
        parameters = {name: _parameters(folder / name) for name in weights}
        facts = {"sharing": sharing.to_json(), "parameters": parameters}
    return {
        "folder": str(folder),
        "hash": manifest_hash(manifest),
        "encoder": manifest["encoder"],
        "tasks": manifest["tasks"],
        **facts,
        "files": files,
        "bytes": sum(entry["bytes"] for entry in files.values()),
        "versions": manifest.get("versions", {}),
        "metrics": json.loads((folder / METRICS).read_text(encoding="utf-8")),
    }


def description_lines(description: dict[str, Any]) -> list[str]:
    """The description as readable lines."""
    encoder = description["encoder"]
    if "onnx" in description:
        onnx = description["onnx"]
        return [
            f"model     {description['folder']}",
            f"hash      {description['hash']}",
            f"encoder   {encoder['name']}, windows of {encoder['max_length']} tokens",
            f"graph     ONNX, {onnx['precision']}, exported from model {onnx['source']}",
            *_common_lines(description),
        ]
    heads = description["parameters"].get(HEADS, 0)
    return [
        f"model     {description['folder']}",
        f"hash      {description['hash']}",
        f"encoder   {encoder['name']}, {_encoder_size(description)}, windows of {encoder['max_length']} tokens",
        *_sharing_lines(description),
        f"heads     {len(description['tasks'])}, {heads:,} parameters",
        *_common_lines(description),
    ]


def _common_lines(description: dict[str, Any]) -> list[str]:
    """Size, versions, tasks with scores, and files."""
    lines = [
        f"size      {description['bytes'] / 1e6:.1f} MB",
        f"made by   {', '.join(f'{name} {version}' for name, version in description['versions'].items())}",
        "",
    ]
    for name, task in description["tasks"].items():
        labels = task.get("labels") or []
        shown = ", ".join(labels[:12]) + (f" … ({len(labels)} labels)" if len(labels) > 12 else "")
        lines.append(f"{name}: {task['type']}{': ' + shown if labels else ''}")
        lines += [f"    {condition}" for condition in restore(task).threshold_notes()]
        for split, metrics in description["metrics"].get(name, {}).items():
            lines.append(f"    {split}: " + "  ".join(f"{metric} {value:.4f}" for metric, value in metrics.items()))
    warnings = warning_lines(description["metrics"])
    lines += ["", *(f"warning: {line}" for line in warnings)] if warnings else []
    return [*lines, "", *(f"{entry['sha256']}  {name}" for name, entry in description["files"].items())]


def _encoder_size(description: dict[str, Any]) -> str:
    """Number of parameters of the shared encoder, if its weights are in the folder."""
    if description["sharing"]["base"]:
        return "weights not in this folder"
    parameters = description["parameters"]
    return f"{sum(size for name, size in parameters.items() if name.startswith(f'{ENCODER}/')):,} parameters"


def _sharing_lines(description: dict[str, Any]) -> list[str]:
    """Private parts of the encoder; empty if tasks share all of it."""
    sharing, parameters = description["sharing"], description["parameters"]
    branches, base = sharing["branches"], sharing["base"]
    lines = [f"branch    {name}: {', '.join(b['tasks'])} from layer {b['start']} up" for name, b in branches.items()]
    if BRANCHES in parameters:
        lines.append(f"          {parameters[BRANCHES]:,} parameters of branches")
    for name in sharing["adapters"]:
        size = parameters[f"{ADAPTERS}/{name}/{ADAPTER_FILES[1]}"]
        lines.append(f"adapter   {name}, {size:,} parameters, not merged")
    if base:
        revision = f" at revision {base['revision']}" if base["revision"] else ""
        lines.append(f"base      {base['name']}{revision}; required in addition to this folder:")
        lines += [f"          {sha256}  {name}" for name, sha256 in base["files"].items()]
    if sharing["layer_mix"]:
        lines.append("mix       each head reads a learned mix of all layers")
    return lines


def _parameters(path: Path) -> int:
    """Number of parameters in a safetensors file."""
    from manyheads.nn.safetensors_header import read_header

    return sum(prod(tensor.shape) for tensor in read_header(path).values())
