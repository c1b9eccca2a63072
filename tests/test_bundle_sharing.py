"""Model folders of tasks that own layers or adapters: what is in them, where their base is, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import manyheads as mh
from manyheads.bundle import ADAPTERS, BRANCHES, MANIFEST
from manyheads.cli import main
from manyheads.errors import BundleError
from manyheads.nn import resolve_encoder
from manyheads.start import train_run
from manyheads.training.progress import Quiet
from toys import SENTENCES, trained_projects, write_project

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"
)  # peft's own model asks for it
KINDS = {
    "hard": [],
    "soft": ["sharing={shared_layers: 1, groups: {tokens: [entities, answers], texts: [section, similarity]}}"],
    "separate": ["sharing.shared_layers=0"],
    "mix": ["sharing.layer_mix=true"],
    "merged": ["lora={adapters: per-task, layers: [1]}"],
    "apart": ["lora={save: apart}"],
    "apart with biases": ["lora={save: apart, bias: all}"],
    "apart per task": ["lora={save: apart, adapters: per-task, layers: [1]}"],
    "only": ["lora={save: adapter-only, rank: 2, bias: lora_only}"],
    "only per task": ["lora={save: adapter-only, adapters: per-task, rank: 2}"],
}
ROWS = [{"text": text, "question": "What lowered fever?"} for text in SENTENCES[:3]]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Callable[[str], Path]:
    """A project with its encoder `enc` beside it and a trained `model` in it, of each kind once."""
    return trained_projects(tmp_path_factory, toy_encoder, KINDS)


@pytest.fixture
def copied(projects: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the project of a kind, for tests that break it; returns its model folder."""

    def copy(kind: str) -> Path:
        shutil.copytree(projects(kind), tmp_path / "copy")
        return tmp_path / "copy" / "model"

    return copy


def resealed(model: Path, change: Callable[[dict[str, Any]], Any] = lambda manifest: None) -> None:
    """Give files that were changed their right hashes, as someone who forges a folder would."""
    manifest = json.loads((model / MANIFEST).read_text())
    for name, facts in manifest["files"].items():
        if (model / name).exists():
            data = (model / name).read_bytes()
            facts.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    change(manifest)
    (model / MANIFEST).write_text(json.dumps(manifest))


def answers(model: Path) -> Any:
    return json.loads(json.dumps(mh.load(model).predict(ROWS)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_says_what_is_shared_and_answers_the_same_when_all_is_moved(
    kind: str,
    projects: Callable[[str], Path],
    copied: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    here = projects(kind) / "model"
    expected = answers(here)
    moved = copied(kind)
    monkeypatch.chdir(tmp_path)
    assert answers(moved) == expected
    names = {str(path.relative_to(here)) for path in here.rglob("*.safetensors")}
    assert (BRANCHES in names) == (kind in {"soft", "separate", "merged"})
    assert ("encoder/model.safetensors" in names) == (not kind.startswith("only"))
    listed = json.loads((here / MANIFEST).read_text())["files"]
    assert names <= set(listed)
    adapters = {name.split("/")[1] for name in names if name.startswith(ADAPTERS)}
    per_task = {"entities", "section", "answers", "similarity"} if "per task" in kind else {"shared"}
    assert adapters == (per_task if kind.startswith(("apart", "only")) else set())


def test_an_adapter_kept_apart_makes_peft_s_model_of_the_folder_s_own_encoder(projects: Callable[[str], Path]) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    folder = projects("apart") / "model"
    stock = AutoModel.from_pretrained(folder / "encoder", add_pooling_layer=False)
    merged = PeftModel.from_pretrained(stock, folder / "adapters/shared").merge_and_unload().state_dict()
    ours = mh.load(folder).bundle.model.encoder.model.state_dict()
    assert ours.keys() == merged.keys()
    assert all(torch.allclose(value, merged[key], atol=1e-6) for key, value in ours.items())


@pytest.mark.parametrize("kind", ["apart", "apart per task", "only", "only per task"])
def test_the_base_weights_are_those_before_training_bit_by_bit(kind: str, projects: Callable[[str], Path]) -> None:
    folder = projects(kind)
    base = load_file(folder / "enc/model.safetensors")
    file = folder / ("enc" if kind.startswith("only") else "model/encoder") / "model.safetensors"
    saved = load_file(file)
    assert all(torch.equal(value, base[key]) for key, value in saved.items())


def test_owned_layers_are_what_makes_a_folder_larger(projects: Callable[[str], Path]) -> None:
    weights = load_file(projects("soft") / "model" / BRANCHES)
    assert {key.partition("/")[0] for key in weights} == {"texts"}
    assert all(key.startswith("texts/model.encoder.layer.1.") for key in weights)
    separate = load_file(projects("separate") / "model" / BRANCHES)
    whole = load_file(projects("separate") / "model/encoder/model.safetensors")
    assert len(separate) == 3 * len(whole)
    merged = load_file(projects("merged") / "model" / BRANCHES)
    assert {key.partition("attention.self.")[2] for key in merged} == {"query.weight", "value.weight"}


@pytest.mark.parametrize("kind", ["only", "only per task"])
def test_a_folder_of_adapters_is_small_and_names_its_base_with_hashes(
    kind: str, projects: Callable[[str], Path]
) -> None:
    folder = projects(kind)
    manifest = json.loads((folder / "model" / MANIFEST).read_text())
    base = manifest["sharing"]["base"]
    weights = folder / "enc/model.safetensors"
    assert base["name"] == "../enc"
    assert base["files"] == {"model.safetensors": hashlib.sha256(weights.read_bytes()).hexdigest()}
    adapter = sum(facts["bytes"] for name, facts in manifest["files"].items() if name.startswith(ADAPTERS))
    assert adapter < 0.5 * weights.stat().st_size, "at width 32; see tests/nn/test_lora.py for a real size"
    assert not list((folder / "model/encoder").glob("*.safetensors"))


def test_a_base_that_is_not_there_is_asked_for_by_name(copied: Callable[[str], Path]) -> None:
    model = copied("only")
    expected = answers(model)
    enc = model.parent / "enc"
    enc.rename(model.parent / "elsewhere")
    with pytest.raises(BundleError, match=r"without the weights of their base '\.\./enc'.*Put the \.safetensors files"):
        mh.load(model)
    shutil.copy(model.parent / "elsewhere/model.safetensors", model / "encoder")
    assert answers(model) == expected, "the base may be put into the folder itself"


@pytest.mark.parametrize("kind", ["only", "soft"])
def test_a_saved_copy_needs_no_base_elsewhere(kind: str, copied: Callable[[str], Path], tmp_path: Path) -> None:
    model = mh.load(copied(kind))
    copy = model.save(tmp_path / "saved/copy")
    (model.folder.parent / "enc").rename(tmp_path / "gone")
    assert mh.load(copy).bundle.hash == model.bundle.hash
    assert answers(copy) == json.loads(json.dumps(model.predict(ROWS)))


def test_another_base_is_refused(copied: Callable[[str], Path]) -> None:
    model = copied("only per task")
    weights = load_file(model.parent / "enc/model.safetensors")
    key = "encoder.layer.0.output.dense.bias"
    save_file({**weights, key: weights[key] + 1e-3}, model.parent / "enc/model.safetensors", {"format": "pt"})
    with pytest.raises(BundleError, match=r"holds adapters for '\.\./enc', but the weights in .*enc are others"):
        mh.load(model)
    shutil.copy(model.parent / "enc/model.safetensors", model / "encoder")
    with pytest.raises(BundleError, match=r"the weights in .*model/encoder are others"):
        mh.load(model)


def test_a_base_on_the_hub_is_fetched_checked_or_said_to_be_missing(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_encoder: Path
) -> None:
    model = copied("only")
    expected = answers(model)
    resealed(model, lambda manifest: manifest["sharing"]["base"].update(name="someone/toy", revision="v1"))
    shutil.copytree(model, tmp_path / "far/away")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"base 'someone/toy': .*tried the folder someone/toy.*the hub"):
        mh.load(tmp_path / "far/away")
    asked = []

    def hub(name: str, revision: str | None) -> str:
        asked.append((name, revision))
        return str(toy_encoder)

    monkeypatch.setattr(resolve_encoder, "_from_hub", hub)
    assert answers(tmp_path / "far/away") == expected
    assert asked[0] == ("someone/toy", "v1")


def test_weights_left_by_a_broken_run_are_not_taken_for_the_base(tmp_path: Path, toy_encoder: Path) -> None:
    run = write_project(tmp_path, toy_encoder)
    stale = tmp_path / "model/encoder/model.safetensors"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half a file")
    train_run(run, tmp_path / "model", ["training.steps=1", "lora.save=adapter-only"], Quiet())
    assert not stale.exists()
    assert mh.load(tmp_path / "model").predict(ROWS)


def test_a_folder_from_before_there_was_sharing_loads(copied: Callable[[str], Path]) -> None:
    model = copied("hard")
    expected = answers(model)
    resealed(model, lambda manifest: manifest.pop("sharing"))
    assert answers(model) == expected
    assert main(["info", str(model)]) == 0


def _set(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        inner = manifest["sharing"]
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


def _called(name: str) -> Callable[[dict[str, Any]], None]:
    """The first branch and its adapter under another name."""

    def change(manifest: dict[str, Any]) -> None:
        sharing = manifest["sharing"]
        sharing["branches"][name] = sharing["branches"].pop("entities")
        sharing["adapters"] = [name if one == "entities" else one for one in sharing["adapters"]]

    return change


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "only per task",
            _called("../../enc"),
            r"sharing\.branches has the name '\.\./\.\./enc'; names start with a letter",
        ),
        ("only per task", _called("/etc"), r"sharing\.branches has the name '/etc'"),
        ("only per task", _called("a.b"), r"sharing\.branches has the name 'a\.b'"),
        ("only per task", _called("elsewhere"), r"does not list adapters/elsewhere/adapter_config\.json"),
        ("only per task", _called("type"), "does not list adapters/type"),
        ("only", _set("adapters", value=["../x"]), r"sharing\.adapters has the name '\.\./x'"),
        ("only", _set("adapters", value=["other"]), "names 'other', but adapters can only be those of shared"),
        ("only", _set("adapters", value=[["shared"]]), "the model folder is damaged"),
        ("only", _set("adapters", value=7), "'sharing' that cannot be read"),
        (
            "only per task",
            _set("adapters", value=["shared"]),
            "names 'shared', but adapters can only be those of answers",
        ),
        ("only", _set("base", value={"name": "x"}), "'sharing' that cannot be read"),
        ("only", _set("base", value=["x"]), "'sharing' that cannot be read"),
        ("only", _set("base", "name", value=""), "without a name or files"),
        ("only", _set("base", "files", value={}), "without a name or files"),
        ("only", _set("base", value=None), r"does not list encoder/model\.safetensors"),
        ("soft", _set("branches", value=[1]), "'sharing' that cannot be read"),
        ("soft", _set("branches", "texts", value={"tasks": ["section"]}), "'sharing' that cannot be read"),
        ("soft", _set("branches", "texts", "start", value=-1), "texts starts at layer -1"),
        ("soft", _set("branches", "texts", "start", value="1"), "texts starts at layer '1'"),
        ("soft", _set("branches", "texts", "start", value=2), "starts at layer 2, but the encoder has 2 layers"),
        (
            "soft",
            _set("branches", "texts", "tasks", value=["sections"]),
            "'sections' is in a branch, but there is no such",
        ),
        ("soft", _set("branches", "texts", "tasks", value=["section", "section"]), "'section' is in two branches"),
        ("soft", _set("branches", value={}), r"lists branches\.safetensors, but no task owns that file"),
        ("apart", _set("adapters", value=[]), "lists adapters/shared/adapter_config.json, but no task owns that file"),
        ("soft", lambda manifest: manifest.pop("sharing"), r"lists branches\.safetensors, but"),
        ("hard", lambda manifest: manifest["encoder"].pop("max_length"), "has entries that cannot be read"),
        ("hard", lambda manifest: manifest["tasks"].update(section=[]), "has entries that cannot be read"),
        ("hard", lambda manifest: manifest["files"].update({"x": 7}), "has entries that cannot be read"),
        ("soft", lambda manifest: manifest["files"].pop(BRANCHES), r"does not list branches\.safetensors"),
        ("hard", lambda manifest: manifest.update(sharing=[]), "'sharing' that cannot be read"),
        (
            "hard",
            lambda manifest: manifest["tasks"].update({"../x": manifest["tasks"]["section"]}),
            r"the name '\.\./x'",
        ),
        ("mix", _set("layer_mix", value=False), "does not fit the tasks"),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused(
    kind: str, change: Callable[[dict[str, Any]], None], message: str, copied: Callable[[str], Path]
) -> None:
    model = copied(kind)
    resealed(model, change)
    with pytest.raises(BundleError, match=message):
        mh.load(model)


def _weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        save_file(change(load_file(file)), file)

    return damage


def _cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


BIAS = "texts/model.encoder.layer.1.output.dense.bias"


@pytest.mark.parametrize(
    ("kind", "name", "damage", "message"),
    [
        ("soft", BRANCHES, _cut_short, r"branches\.safetensors cannot be read"),
        ("soft", BRANCHES, _weights(lambda w: {**w, BIAS: w[BIAS][:3].clone()}), f"does not fit the encoder at {BIAS}"),
        ("soft", BRANCHES, _weights(lambda w: {**w, "texts/nothing": w[BIAS].clone()}), "at texts/nothing"),
        ("soft", BRANCHES, _weights(lambda w: {"others" + k[5:]: v for k, v in w.items()}), "has no weights of 'texts'"),
        ("soft", BRANCHES, _weights(lambda w: {**w, "others/x": w[BIAS].clone()}), "has weights of 'others', which"),
        ("soft", BRANCHES, _weights(lambda w: {k.replace("layer.1", "layer.0"): v for k, v in w.items()}), r"layer\.0"),
        ("soft", "heads.safetensors", _cut_short, r"heads\.safetensors cannot be read"),
        ("only", "adapters/shared/adapter_model.safetensors", _cut_short, "is not an adapter that can be read"),
        ("only", "adapters/shared/adapter_config.json", lambda file: file.write_text("{}"), "the adapter .* cannot be read"),
        ("only", "adapters/shared/adapter_model.safetensors", lambda file: file.unlink(), "is missing"),
        ("apart", "adapters/shared/adapter_model.safetensors", _weights(lambda w: {k.replace("layer.1", "layer.9"): v for k, v in w.items()}), "it belongs to another base"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_even_with_the_right_hashes(
    kind: str, name: str, damage: Callable[[Path], None], message: str, copied: Callable[[str], Path]
) -> None:
    model = copied(kind)
    damage(model / name)
    if (model / name).exists():
        with pytest.raises(BundleError, match="sha256 differs"):
            mh.load(model)
    resealed(model)
    with pytest.raises(BundleError, match=message):
        mh.load(model)


@pytest.mark.parametrize(
    ("kind", "shown", "absent"),
    [
        ("hard", ["encoder   enc, "], ["branch ", "adapter ", "base ", "mix "]),
        ("soft", ["branch    texts: section, similarity from layer 1 up", "parameters of branches"], ["adapter "]),
        ("mix", ["mix       each head reads a learned mix"], ["branch "]),
        ("apart", ["adapter   shared, ", "not merged"], ["branch ", "base "]),
        ("only per task", ["weights not in this folder", "branch    answers: answers from layer 0 up",
                           "adapter   section, 512 parameters", "base      ../enc"], ["parameters of branches"]),
    ],
)  # fmt: skip
def test_info_shows_who_owns_what_and_which_base_is_wanted(
    kind: str, shown: list[str], absent: list[str], projects: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = projects(kind) / "model"
    assert main(["info", str(model)]) == 0
    lines = capsys.readouterr().out
    for part in shown:
        assert part in lines
    for part in absent:
        assert f"\n{part}" not in lines
    if "base      ../enc" in shown:
        assert hashlib.sha256((projects(kind) / "enc/model.safetensors").read_bytes()).hexdigest() in lines


def test_info_of_a_folder_of_adapters_does_not_need_the_base(
    copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = copied("only")
    shutil.rmtree(model.parent / "enc")
    assert main(["info", str(model)]) == 0
    assert "base      ../enc" in capsys.readouterr().out
    assert main(["predict", str(model)]) == 2
    assert "Put the .safetensors files of the base into" in capsys.readouterr().err
