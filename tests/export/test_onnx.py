"""ONNX graphs: names, metadata, and that they answer like the model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import manyheads as mh
from exporting import KINDS, ROWS, Exports
from manyheads.bundle import load_bundle
from manyheads.cli import main
from manyheads.errors import BundleError, UsageError
from manyheads.export import ExportRequest, export_model
from manyheads.export import onnx as onnx_module


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_answers_like_the_model_and_the_difference_is_reported(kind: str, exports: Exports) -> None:
    model, folder, lines = exports(kind)
    parity = [line for line in lines if line.startswith("parity: ")]
    assert re.fullmatch(r"parity: \d+ windows of 2 to 48 tokens of the model's validation data; "
                        r"largest difference \d\S* \(\w+/\w+\)", parity[0])  # fmt: skip
    manifest = json.loads((folder / "manyheads.json").read_text())
    assert manifest["onnx"]["largest_difference"] < 1e-4
    same_answers(mh.load(model).predict(ROWS), mh.load(folder).predict(ROWS))


def same_answers(expected: object, found: object, place: str = "answers") -> None:
    """Assert equality, except that numbers may differ by 1e-4."""
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


def test_the_graph_names_its_model_and_no_path_of_the_machine_that_wrote_it(exports: Exports) -> None:
    model, folder, _ = exports("hard")
    proto = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(proto)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["manyheads.model"] == load_bundle(model).hash
    assert list(json.loads(metadata["manyheads.tasks"])) == ["entities", "section", "answers", "similarity"]
    assert b".py" not in (folder / "model.onnx").read_bytes()
    assert b"/" + model.parts[1].encode() + b"/" not in (folder / "model.onnx").read_bytes()


def test_what_tasks_share_is_in_the_graph_once_and_runs_once(exports: Exports) -> None:
    products = {}
    for kind in ("hard", "private layers", "adapters of tasks"):
        proto = onnx.load(exports(kind)[1] / "model.onnx")
        products[kind] = sum(node.op_type in ("MatMul", "Gemm") for node in proto.graph.node)
        tables = [t for t in proto.graph.initializer if list(t.dims)[1:] == [32] and t.dims[0] > 70]
        assert len(tables) == 1, "one table of word embeddings"
    layer = 8  # query, key, value, scores, context, output, and two of the feed-forward part
    heads = products["hard"] - 2 * layer
    assert products["private layers"] == 3 * layer + heads
    assert products["adapters of tasks"] == 5 * layer + heads - 3, "and keys, which have no adapters, are computed once"
    proto = onnx.load(exports("adapters of tasks")[1] / "model.onnx")
    large = [t.name for t in proto.graph.initializer if sorted(t.dims) == [32, 64] and "embeddings" not in t.name]
    assert len(large) == 4, "feed-forward weights are shared by tasks that adapt queries and values alone"


def test_a_folder_is_written_completely_or_not_at_all(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, _ = exports("hard")
    with pytest.raises(UsageError, match="exists already; give another -o"):
        export_model(model, ExportRequest("onnx", folder), print)
    monkeypatch.setattr("manyheads.export.graph.write_graph", lambda *a: shutil.copy(folder / "model.onnx", a[2]))
    monkeypatch.setattr(onnx_module, "MAX_DIFFERENCE", 0.0)
    with pytest.raises(
        UsageError, match=r"the graph does not answer like the model: \w+/\w+ differs by .*nothing was written"
    ):
        export_model(model, ExportRequest("onnx", tmp_path / "new"), print)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="is an export already"):
        export_model(folder, ExportRequest("onnx", tmp_path / "new"), print)


def test_built_in_texts_are_used_if_the_validation_data_is_gone(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, _ = exports("hard")
    shutil.copytree(model, tmp_path / "far/model")
    monkeypatch.setattr("manyheads.export.graph.write_graph", lambda *a: shutil.copy(folder / "model.onnx", a[2]))
    lines: list[str] = []
    export_model(tmp_path / "far/model", ExportRequest("onnx", tmp_path / "new"), lines.append)
    assert "built-in texts (its validation data is not here)" in lines[1]
    with pytest.raises(UsageError, match=r"entities\.jsonl"):
        export_model(tmp_path / "far/model", ExportRequest("onnx", tmp_path / "int8", quantize="int8"), print)


@pytest.mark.long
def test_one_head_can_be_exported_alone(exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _, _ = exports("private layers")
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
        (["--to", "onnx", "-o", __file__ + "/out"], "test_onnx.py/out cannot be created (Not a directory); give a folder where"),
        (["--to", "tensorflow"], "there is no 'tensorflow'; choose from onnx, transformers, sentence-transformers"),
        (["--to", "onnx", "--quantize", "int4"], "there is no 'int4'; did you mean 'int8'?"),
    ],
)
def test_contradictory_options_are_refused_before_anything_is_done(
    arguments: list[str], message: str, exports: Exports, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["export", str(exports("hard")[0]), "-o", str(tmp_path / "out"), *arguments])
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
        export_model(exports("hard")[0], ExportRequest("onnx", tmp_path / "out"), print)
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
