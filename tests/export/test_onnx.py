"""The graph: what it is called, what it says of itself, and that it answers as the model; what int8 may cost."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import manyheads as mh
from exporting import KINDS, ROWS, TEXTS, Exports
from manyheads.bundle import load_bundle
from manyheads.cli import main
from manyheads.errors import BundleError, UsageError
from manyheads.export import Export, export_model
from manyheads.export import int8 as int8_module
from manyheads.export import onnx as onnx_module
from manyheads.export.parity import Difference, check, own_tables
from manyheads.onnx_backend import OnnxBackend
from manyheads.text.pack import Source


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_answers_as_the_model_and_says_how_far_they_were_apart(kind: str, exports: Exports) -> None:
    model, folder, lines = exports(kind)
    said = [line for line in lines if line.startswith("parity: ")]
    assert re.fullmatch(r"parity: \d+ windows of 2 to 48 tokens of the model's validation data; "
                        r"largest difference \d\S* \(\w+/\w+\)", said[0])  # fmt: skip
    manifest = json.loads((folder / "manyheads.json").read_text())
    assert manifest["onnx"]["largest_difference"] < 1e-4
    same_answers(mh.load(model).predict(ROWS), mh.load(folder).predict(ROWS))


def same_answers(expected: object, found: object, place: str = "answers") -> None:
    """Equal but for numbers, which may differ by 1e-4."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert list(expected) == list(found) or set(expected) == set(found), place
        for key, value in expected.items():
            same_answers(value, found[key], f"{place}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(expected) == len(found), place
        for i, (one, two) in enumerate(zip(expected, found, strict=True)):
            same_answers(one, two, f"{place}[{i}]")
    elif isinstance(expected, float):
        assert abs(expected - found) < 1e-4, place  # type: ignore[operator]
    else:
        assert expected == found, place


def test_inputs_and_outputs_are_named_and_rows_and_length_are_free(exports: Exports) -> None:
    _, folder, _ = exports("hard")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    free = ["rows", "length"]
    assert {value.name: value.shape for value in session.get_inputs()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), free
    )
    assert {value.name: value.shape for value in session.get_outputs()} == {
        "entities/emissions_TK": ["rows", "length", 5], "entities/transitions_KK": [5, 5], "entities/start_K": [5],
        "entities/end_K": [5], "entities/inner_TR": ["rows", "length", 32], "entities/places_MR": [63, 32],
        "entities/inner_RK": [32, 5], "section/logits_SK": ["rows", 3], "answers/start_T": ["rows", "length"],
        "answers/end_T": ["rows", "length"], "similarity/vector_SD": ["rows", 16],
    }  # fmt: skip
    for shape in [(1, 1), (1, 9), (5, 1), (3, 48)]:
        ids = np.full(shape, 7, np.int64)
        found = session.run(None, {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0})
        assert found[0].shape == (*shape, 5)
        assert all(np.isfinite(value).all() for value in found)


def test_the_graph_names_its_model_and_no_place_on_the_machine_that_wrote_it(exports: Exports) -> None:
    model, folder, _ = exports("hard")
    proto = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(proto)
    said = {entry.key: entry.value for entry in proto.metadata_props}
    assert said["manyheads.model"] == load_bundle(model).hash
    assert list(json.loads(said["manyheads.tasks"])) == ["entities", "section", "answers", "similarity"]
    assert b".py" not in (folder / "model.onnx").read_bytes()
    assert b"/" + model.parts[1].encode() + b"/" not in (folder / "model.onnx").read_bytes()


def test_what_tasks_share_is_in_the_graph_once_and_runs_once(exports: Exports) -> None:
    products = {}
    for kind in ("hard", "private tops", "adapters of tasks"):
        proto = onnx.load(exports(kind)[1] / "model.onnx")
        products[kind] = sum(node.op_type in ("MatMul", "Gemm") for node in proto.graph.node)
        tables = [t for t in proto.graph.initializer if list(t.dims)[1:] == [32] and t.dims[0] > 70]
        assert len(tables) == 1, "one table of word embeddings"
    layer = 8  # query, key, value, scores, context, output, and two of the feed-forward part
    heads = products["hard"] - 2 * layer
    assert products["private tops"] == 3 * layer + heads
    assert products["adapters of tasks"] == 5 * layer + heads - 3, "and keys, which nobody adapts, are computed once"
    proto = onnx.load(exports("adapters of tasks")[1] / "model.onnx")
    large = [t.name for t in proto.graph.initializer if sorted(t.dims) == [32, 64] and "embeddings" not in t.name]
    assert len(large) == 4, "feed-forward weights are shared by tasks that adapt queries and values alone"


def test_a_folder_is_there_whole_or_not_at_all(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, _ = exports("hard")
    with pytest.raises(UsageError, match="is there already; give another -o"):
        export_model(model, Export("onnx", folder), print)
    monkeypatch.setattr("manyheads.export.graph.write_graph", lambda *a: shutil.copy(folder / "model.onnx", a[2]))
    monkeypatch.setattr(onnx_module, "MOST_APART", 0.0)
    with pytest.raises(
        UsageError, match=r"the graph does not answer as the model does: \w+/\w+ differs by .*nothing was written"
    ):
        export_model(model, Export("onnx", tmp_path / "new"), print)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="is an export already"):
        export_model(folder, Export("onnx", tmp_path / "new"), print)


def test_numbers_that_are_none_are_a_difference() -> None:
    for largest in (float("nan"), float("inf"), 2e-4):
        with pytest.raises(UsageError, match="differs by"):
            check(Difference(largest, "a/b", 1, 1, 1), 1e-4, "the graph")


def test_texts_of_its_own_serve_where_the_validation_data_is_gone(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, _ = exports("hard")
    shutil.copytree(model, tmp_path / "far/model")
    monkeypatch.setattr("manyheads.export.graph.write_graph", lambda *a: shutil.copy(folder / "model.onnx", a[2]))
    lines: list[str] = []
    export_model(tmp_path / "far/model", Export("onnx", tmp_path / "new"), lines.append)
    assert "built-in texts (its validation data is not here)" in lines[1]
    with pytest.raises(UsageError, match=r"entities\.jsonl"):
        export_model(tmp_path / "far/model", Export("onnx", tmp_path / "int8", quantize="int8"), print)


def test_int8_replaces_the_products_of_the_encoder_and_is_gated_by_scores(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, _ = exports("hard")
    bundle, graph = load_bundle(model), tmp_path / "model.onnx"
    shutil.copy(folder / "model.onnx", graph)
    wanted = Export("onnx", tmp_path / "out", quantize="int8", allow_drop=True)
    lines: list[str] = []
    tables = int8_module.scored_on(bundle, bundle.tasks, wanted, lines.append)
    cost = int8_module.quantized(graph, bundle, bundle.tasks, tables, wanted, lines.append)
    assert set(cost.headlines) == set(cost.metrics) == set(bundle.tasks)
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
    answers = iter([dict.fromkeys(bundle.tasks, 0.9), {**dict.fromkeys(bundle.tasks, 0.8951), "section": 0.894}])
    monkeypatch.setattr(int8_module, "_scores", lambda *_: next(answers))
    for task in bundle.tasks.values():
        monkeypatch.setattr(type(task), "headline", lambda _, score: score)
    with pytest.raises(
        UsageError, match=r"int8 costs more than 0\.5 points of section 0\.60 \(on \d+ rows\); nothing was written"
    ):
        int8_module.quantized(graph, bundle, bundle.tasks, tables, replace(wanted, allow_drop=False), lines.append)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_near_the_model_whatever_tasks_share(kind: str, exports: Exports, tmp_path: Path) -> None:
    model, folder, _ = exports(kind)
    bundle, graph = load_bundle(model), tmp_path / "model.onnx"
    shutil.copy(folder / "model.onnx", graph)
    exact = OnnxBackend(graph, bundle.tasks, 0)
    lines: list[str] = []
    wanted = Export("onnx", tmp_path / "out", quantize="int8", allow_drop=True)
    int8_module.quantized(graph, bundle, bundle.tasks, own_tables(bundle), wanted, lines.append)
    assert re.fullmatch(
        r"int8: \d+ inputs of products, \d+ of them divided by channel, chosen on [\d,]+ tokens", lines[0]
    )
    onnx.checker.check_model(onnx.load(graph))
    rounded = OnnxBackend(graph, bundle.tasks, 0, alone=True)
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
                    "in any company"
                )


def test_int8_wants_validation_data_of_each_task(exports: Exports, tmp_path: Path) -> None:
    model, _, _ = exports("hard")
    run = model.parent / "fewer.yaml"
    text = (model.parent / "run.yaml").read_text()
    run.write_text(re.sub(r"  similarity:.*?(?=training:)", "", text, flags=re.DOTALL))
    bundle, wanted = load_bundle(model), Export("onnx", tmp_path / "out", quantize="int8", data=run)
    with pytest.raises(UsageError, match=r"fewer\.yaml has no validation data for similarity.*--allow-drop"):
        int8_module.scored_on(bundle, bundle.tasks, wanted, print)
    others = {name: task for name, task in bundle.tasks.items() if name != "similarity"}
    assert set(int8_module.scored_on(bundle, others, wanted, print)) == set(others), "that of no other task is needed"
    wanted, lines = replace(wanted, data=tmp_path / "none.yaml"), list[str]()
    with pytest.raises(UsageError, match=r"none\.yaml: there is no such run file; .*--data.*--allow-drop"):
        export_model(model, wanted, lines.append)
    assert lines == [], "before anything is written"
    wanted = replace(wanted, allow_drop=True)
    assert int8_module.scored_on(bundle, bundle.tasks, wanted, lines.append) == {}
    assert [line.partition(":")[0] for line in lines] == ["validation data cannot be read", *bundle.tasks]


def test_an_export_anywhere_finds_its_data_and_int8_says_its_own_scores(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, _ = exports("hard")
    monkeypatch.setattr("manyheads.export.graph.write_graph", lambda *a: shutil.copy(folder / "model.onnx", a[2]))
    output, scores = tmp_path / "some/where/else", tmp_path / "scores.json"
    export_model(model, Export("onnx", output, quantize="int8", allow_drop=True), print)
    said = json.loads((output / "metrics.json").read_text())
    assert {(name, *splits) for name, splits in said.items()} == {(name, "validation") for name in mh.load(model).tasks}
    assert main(["evaluate", str(output), "--split", "validation", "--json", str(scores)]) == 0
    found = json.loads(scores.read_text())
    assert {name: found[name] for name in said} == said


def test_one_head_can_be_exported_alone(exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _, _ = exports("private tops")
    output = tmp_path / "section"
    assert main(["export", str(model), "--to", "onnx", "--task", "section", "-o", str(output)]) == 0
    assert f"exported: {output}" in capsys.readouterr().out
    loaded = mh.load(output)
    assert list(loaded.tasks) == ["section"]
    assert set(json.loads((output / "metrics.json").read_text())) == {"section"}
    same_answers([row["tasks"]["section"] for row in mh.load(model).predict(ROWS[:5], ["section"])],
                 [row["tasks"]["section"] for row in loaded.predict(ROWS[:5])])  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx", "--task", "nothing"], "the model has no task 'nothing'; its tasks are entities"),
        (["--to", "transformers", "--quantize", "int8"], "--quantize is for --to onnx"),
        (["--to", "transformers", "--data", "x.yaml"], "--data is for --to onnx"),
        (["--to", "sentence-transformers", "--allow-drop"], "--allow-drop is for --to onnx"),
        (["--to", "transformers"], "exports one head, and the model has several (entities, section, answers); choose"),
        (["--to", "tensorflow"], "invalid choice: 'tensorflow'"),
        (["--to", "onnx", "--quantize", "int4"], "invalid choice: 'int4'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    arguments: list[str], message: str, exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["export", str(exports("hard")[0]), *arguments, "-o", str(tmp_path / "out")])
    except SystemExit as leaving:
        status = int(str(leaving.code))
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_the_exporter_cannot_follow_is_refused_with_the_reason(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr("torch.onnx.export", refuse)
    with pytest.raises(UsageError, match=r"this model \(bert\) cannot be written as an ONNX graph: no such operator$"):
        export_model(exports("hard")[0], Export("onnx", tmp_path / "out"), print)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.onnx", "manyheads.json", "encoder/tokenizer.json", "metrics.json"])
def test_a_damaged_folder_is_refused(name: str, exports: Exports, tmp_path: Path) -> None:
    shutil.copytree(exports("hard")[1], tmp_path / "copy")
    path = tmp_path / "copy" / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BundleError, match=r"copy|damaged"):
        mh.load(tmp_path / "copy")
    path.unlink()
    with pytest.raises(BundleError, match=r"is missing|has no manyheads\.json"):
        mh.load(tmp_path / "copy")
