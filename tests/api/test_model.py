"""What `Model` says of itself, its copies, its devices, and what exports lack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import manyheads as mh
from exporting import Exports
from manyheads.errors import BundleError, UsageError
from toys import SENTENCES


@pytest.fixture(scope="module")
def model(young_model: Path) -> mh.Model:
    return mh.load(young_model)


def test_a_model_tells_tasks_types_labels_scores_encoder_size_and_device(model: mh.Model) -> None:
    lines = repr(model).splitlines()
    assert lines[0].startswith(f"Model('{model.folder}'): ")
    assert lines[0].endswith(" MB, on cpu")
    assert "windows of 48 tokens" in lines[0]
    told = {line.split()[0]: line.split() for line in lines[1:]}
    assert list(told) == list(model.tasks)
    score = model.metrics["section"]["test"]["macro_f1"]
    assert told["section"][1:] == ["text-classification", "3", "labels", "macro_f1", f"{score:.3f}", "(test)"]
    page = model._repr_html_()
    assert all(task.kind in page for task in model.tasks.values())
    assert f"{100 * score:.1f}" in page


def test_scores_and_report_are_those_of_the_folder(model: mh.Model, tmp_path: Path) -> None:
    assert model.metrics == json.loads((model.folder / "metrics.json").read_text())
    assert model.report == model.folder / "report.html"
    copy = model.save(tmp_path / "copy")
    (copy / "report.html").unlink()
    assert mh.load(copy).report is None


def test_a_copy_is_the_same_model_and_what_is_in_the_way_is_kept(model: mh.Model, tmp_path: Path) -> None:
    copy = model.save(tmp_path / "new/copy")
    assert mh.load(copy).bundle.hash == model.bundle.hash
    assert mh.load(copy).predict(SENTENCES) == model.predict(SENTENCES)
    before = sorted(copy.rglob("*"))
    with pytest.raises(UsageError, match=r"copy exists already; give a new folder, or remove it"):
        model.save(copy)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/inner"):
        with pytest.raises(UsageError, match=r"exists already|cannot be written"):
            model.save(path)
    assert sorted(copy.rglob("*")) == before


def test_a_folder_that_changed_is_not_copied(young_model: Path, tmp_path: Path) -> None:
    model = mh.load(mh.load(young_model).save(tmp_path / "model"))
    heads = model.folder / "heads.safetensors"
    heads.write_bytes(heads.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match="has changed since it was written"):
        model.save(tmp_path / "copy")
    manifest = json.loads((model.folder / "manyheads.json").read_text())
    (model.folder / "manyheads.json").write_text(json.dumps({**manifest, "versions": {}}))
    with pytest.raises(BundleError, match="holds another model since this one was loaded"):
        model.save(tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_devices_are_chosen_by_name_or_by_what_there_is(young_model: Path) -> None:
    import torch

    best = torch.accelerator.current_accelerator(check_available=True)
    model = mh.load(young_model, device="auto")
    assert model.device.partition(":")[0] == ("cpu" if best is None else best.type)
    expected = mh.load(young_model).predict_proba(SENTENCES)
    assert model.to("cpu").predict_proba(SENTENCES) == pytest.approx(expected, abs=1e-6)
    for change in (model.to, lambda name: mh.load(young_model, device=name)):
        with pytest.raises(UsageError, match="there is no device 'tpu'; this machine has cpu"):
            change("tpu")


def test_a_move_takes_the_torch_module_along_and_bf16_weights_stay(
    young_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr("manyheads.inference.loaded.torch_device", torch.device)
    model = mh.load(young_model)
    module = model.torch_module
    model.to("meta")  # a device that every machine has
    assert {value.device.type for value in (*module.parameters(), *module.buffers())} == {"meta"}
    assert model.device == "meta"
    rounded = mh.load(young_model, precision="bf16")
    with pytest.raises(UsageError, match="rounded to bf16 for the CPU, so the model cannot move; load it again"):
        rounded.to("meta")


def test_from_pretrained_is_load(young_model: Path) -> None:
    assert mh.Model.from_pretrained(str(young_model)).bundle.hash == mh.load(young_model).bundle.hash
    with pytest.raises(UsageError, match="is a local folder, which has no revision 'v1'"):
        mh.load(young_model, revision="v1")


def test_a_push_is_of_the_model_s_folder(model: mh.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr("manyheads.hub.push.push_folder", lambda *args, **more: given.append((args, more)) or "url")
    assert model.push_to_hub("me/it", private=True, revision="v1") == "url"
    assert given == [((model.folder, "me/it"), {"private": True, "token": None, "revision": "v1", "message": None})]


@pytest.mark.long
def test_an_export_does_everything_that_needs_no_torch_and_says_what_does(exports: Exports, tmp_path: Path) -> None:
    original, folder, _ = exports("hard")
    model, torched = mh.load(folder, device="auto"), mh.load(original)
    assert model.device == model.to("cpu").device == "cpu"
    assert model.predict_proba(SENTENCES) == pytest.approx(torched.predict_proba(SENTENCES), abs=1e-4)
    assert model.word_probabilities(SENTENCES)[0].probabilities == pytest.approx(
        torched.word_probabilities(SENTENCES)[0].probabilities, abs=1e-4
    )
    assert next(model.predict(iter(SENTENCES), stream=True)).keys() == {"windows", "tasks"}
    copy = mh.load(model.save(tmp_path / "copy"))
    assert copy.bundle.hash == model.bundle.hash
    assert copy.predict(SENTENCES) == model.predict(SENTENCES)
    assert "on cpu" in repr(model)
    assert "macro_f1" in repr(torched) or "section" in repr(torched)
    with pytest.raises(UsageError, match="is an ONNX export, which has no hidden states; load the original model"):
        model.hidden_states(SENTENCES)
    with pytest.raises(UsageError, match="is an ONNX export, which has no torch module; load the original model"):
        _ = model.torch_module
    with pytest.raises(UsageError, match="is an ONNX export, which runs on the CPU or on CUDA, not on 'mps'"):
        model.to("mps")


def test_importing_the_package_and_its_types_loads_nothing_heavy() -> None:
    code = "import sys, manyheads as mh; print(mh.Row, [n for n in ('torch', 'numpy', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "manyheads.api.results.Row" in done.stdout
