"""int8: what is replaced, how close it stays to the model, and which losses of scores are refused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import manyheads as mh
from exporting import KINDS, TEXTS, Exports
from manyheads.bundle import load_bundle
from manyheads.cli import main
from manyheads.errors import UsageError
from manyheads.export import ExportRequest, export_model
from manyheads.export.int8 import quantize, validation_data
from manyheads.export.parity import own_tables
from manyheads.onnx_backend import OnnxBackend
from manyheads.text.pack import Source


def test_int8_replaces_the_products_of_the_encoder_and_is_gated_by_scores(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, _ = exports("hard")
    bundle, graph = load_bundle(model), tmp_path / "model.onnx"
    shutil.copy(folder / "model.onnx", graph)
    request = ExportRequest("onnx", tmp_path / "out", quantize="int8", allow_drop=True)
    lines: list[str] = []
    tables = validation_data(bundle, bundle.tasks, request, lines.append)
    cost = quantize(graph, bundle, bundle.tasks, tables, request, lines.append)
    assert set(cost.scores) == set(cost.metrics) == set(bundle.tasks)
    assert re.fullmatch(
        r"entities: \d\.\d{4} in float32, \d\.\d{4} in int8 \([+-]\d+\.\d\d points on \d+ rows\)", lines[1]
    )
    counts: dict[str, int] = {}
    for node in onnx.load(graph).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    assert counts["MatMulInteger"] == 12, "six products of each layer"
    assert counts["MatMul"] + counts.get("Gemm", 0) == 4 + 5, "attention twice a layer, four heads, inner words"
    assert list(tmp_path.iterdir()) == [graph]
    shutil.copy(folder / "model.onnx", graph)
    scores = iter([dict.fromkeys(bundle.tasks, 0.9), {**dict.fromkeys(bundle.tasks, 0.8951), "section": 0.894}])
    monkeypatch.setattr("manyheads.export.int8.quantization._scores", lambda *_: next(scores))
    for task in bundle.tasks.values():
        monkeypatch.setattr(type(task), "main_score", lambda _, score: score)
    with pytest.raises(
        UsageError, match=r"int8 costs more than 0\.5 points of section 0\.60 \(on \d+ rows\); nothing was written"
    ):
        quantize(graph, bundle, bundle.tasks, tables, replace(request, allow_drop=False), lines.append)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_close_to_the_model_however_tasks_share(kind: str, exports: Exports, tmp_path: Path) -> None:
    model, folder, _ = exports(kind)
    bundle, graph = load_bundle(model), tmp_path / "model.onnx"
    shutil.copy(folder / "model.onnx", graph)
    exact = OnnxBackend(graph, bundle.tasks, 0)
    lines: list[str] = []
    request = ExportRequest("onnx", tmp_path / "out", quantize="int8", allow_drop=True)
    quantize(graph, bundle, bundle.tasks, own_tables(bundle), request, lines.append)
    assert re.fullmatch(
        r"int8: \d+ inputs of linear layers, \d+ of them smoothed \(SmoothQuant\), calibrated on [\d,]+ tokens", lines[0]
    )
    onnx.checker.check_model(onnx.load(graph))
    rounded = OnnxBackend(graph, bundle.tasks, 0, row_by_row=True)
    windows = [window for found in bundle.tokenizer.encode([Source(text) for text in TEXTS], 48) for window in found]
    outputs = [backend.run(windows, list(bundle.tasks)) for backend in (exact, rounded)]
    for name, parts in outputs[0].items():
        for key, value in parts.items():
            apart = np.sqrt(np.square(outputs[1][name][key] - value).mean() / np.square(value).mean())
            assert apart < 0.02, f"{name}/{key}"
    alone = [rounded.run([window], list(bundle.tasks)) for window in windows]
    for name, parts in outputs[1].items():
        for key, level in bundle.tasks[name].outputs.items():
            if level != "constant":
                assert np.array_equal(parts[key], np.concatenate([found[name][key] for found in alone])), (
                    "whatever else is in the pack"
                )


def test_int8_needs_validation_data_of_each_task(exports: Exports, tmp_path: Path) -> None:
    model, _, _ = exports("hard")
    run = model.parent / "fewer.yaml"
    text = (model.parent / "run.yaml").read_text()
    run.write_text(re.sub(r"  similarity:.*?(?=training:)", "", text, flags=re.DOTALL))
    bundle, request = load_bundle(model), ExportRequest("onnx", tmp_path / "out", quantize="int8", data=run)
    with pytest.raises(UsageError, match=r"fewer\.yaml has no validation data for similarity.*--allow-drop"):
        validation_data(bundle, bundle.tasks, request, print)
    others = {name: task for name, task in bundle.tasks.items() if name != "similarity"}
    assert set(validation_data(bundle, others, request, print)) == set(others), "that of no other task is needed"
    request, lines = replace(request, data=tmp_path / "none.yaml"), list[str]()
    with pytest.raises(UsageError, match=r"none\.yaml: there is no such run file; .*--data.*--allow-drop"):
        export_model(model, request, lines.append)
    assert lines == [], "before anything is written"
    request = replace(request, allow_drop=True)
    assert validation_data(bundle, bundle.tasks, request, lines.append) == {}
    assert [line.partition(":")[0] for line in lines] == ["validation data cannot be read", *bundle.tasks]


def test_an_export_finds_its_data_from_any_folder_and_has_the_scores_of_int8(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, _ = exports("hard")
    monkeypatch.setattr("manyheads.export.graph.write_graph", lambda *a: shutil.copy(folder / "model.onnx", a[2]))
    output, report = tmp_path / "some/where/else", tmp_path / "scores.json"
    export_model(model, ExportRequest("onnx", output, quantize="int8", allow_drop=True), print)
    metrics = json.loads((output / "metrics.json").read_text())
    assert {(name, *splits) for name, splits in metrics.items()} == {
        (name, "validation") for name in mh.load(model).tasks
    }
    assert main(["evaluate", str(output), "--split", "validation", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert {name: found[name] for name in metrics} == metrics
