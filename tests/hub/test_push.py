"""Pushed models are the folder's files and nothing else, come back bit for bit, and what cannot be pushed sends nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants as constants
import pytest
from huggingface_hub.utils import close_session

import manyheads as mh
from hub.imitation import READER, WRITER, Hub
from manyheads.bundle import load_bundle, manifest_hash, read_manifest
from manyheads.cli import main
from manyheads.errors import BundleError, HubError, UsageError
from manyheads.hub.download import model_folder
from manyheads.hub.push import files_to_push, push_folder
from toys import SENTENCES

ROWS = [{"text": text, "question": "What lowered fever?"} for text in SENTENCES]

Trained = Callable[[str], Path]


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    """A copy of a model folder, with what a training leaves beside the model."""
    copy = tmp_path / "clinic"
    shutil.copytree(trained("hard"), copy)
    (copy / "checkpoints/step-3").mkdir(parents=True)
    for name in ("checkpoints/step-3/model.safetensors", "data.csv", "tensorboard.log", ".env"):
        (copy / name).write_bytes(b"private")
    return copy


def test_a_pushed_model_answers_bit_for_bit_like_its_folder(hub: Hub, folder: Path) -> None:
    assert push_folder(folder, "alice/clinic") == f"{hub.url}/alice/clinic"
    assert mh.load("alice/clinic").predict(ROWS) == mh.load(folder).predict(ROWS)


def test_exactly_the_files_of_the_model_are_pushed_in_one_commit(hub: Hub, folder: Path) -> None:
    push_folder(folder, "alice/clinic", message="A first model")
    pushed = hub.files("alice/clinic")
    named = {*read_manifest(folder)["files"], "manyheads.json"}
    assert "README.md" in named
    assert pushed.keys() - {".gitattributes"} == named
    assert all(pushed[name] == (folder / name).read_bytes() for name in named)
    assert list(hub.repos["alice/clinic"].messages.values()) == ["first", "A first model"]


@pytest.mark.long
def test_an_older_commit_still_gives_the_older_model(hub: Hub, folder: Path, trained: Trained) -> None:
    push_folder(folder, "alice/clinic")
    first = hub.repos["alice/clinic"].branches["main"]
    before = mh.load(folder).predict(ROWS)
    push_folder(trained("private layers"), "alice/clinic")
    assert load_bundle(model_folder("alice/clinic", first)).hash == manifest_hash(read_manifest(folder))
    assert mh.load("alice/clinic", revision=first).predict(ROWS) == before
    assert mh.load("alice/clinic").predict(ROWS) == mh.load(trained("private layers")).predict(ROWS) != before


def test_files_of_the_model_before_are_deleted_and_those_of_the_owner_stay(
    hub: Hub, folder: Path, trained: Trained
) -> None:
    push_folder(trained("private layers"), "alice/clinic")
    repo = hub.repos["alice/clinic"]
    files = {**hub.files("alice/clinic"), "LICENSE": b"mine", "encoder/vocab.json": b"{}"}
    repo.commit("main", files, "by hand")
    push_folder(folder, "alice/clinic")
    assert "branches.safetensors" in files
    assert hub.files("alice/clinic").keys().isdisjoint({"branches.safetensors", "encoder/vocab.json"})
    assert hub.files("alice/clinic")["LICENSE"] == b"mine"
    assert mh.load("alice/clinic").predict(ROWS) == mh.load(folder).predict(ROWS)


def test_a_name_alone_belongs_to_the_account_of_the_token_and_a_branch_is_created(hub: Hub, folder: Path) -> None:
    assert push_folder(folder, "clinic", revision="trial") == f"{hub.url}/alice/clinic/tree/trial"
    assert "manyheads.json" in hub.files("alice/clinic", "trial")
    assert "manyheads.json" not in hub.files("alice/clinic")
    assert model_folder("alice/clinic", "trial").name == hub.repos["alice/clinic"].branches["trial"]


def test_a_private_repository_is_private_and_a_public_one_is_not_written_to_as_if_it_were(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_folder(folder, "alice/secret", private=True)
    push_folder(folder, "alice/open")
    assert (hub.repos["alice/secret"].private, hub.repos["alice/open"].private) == (True, False)
    commits = len(hub.repos["alice/open"].commits)
    with pytest.raises(UsageError, match="alice/open exists already and is public; make it private on the Hub"):
        push_folder(folder, "alice/open", private=True)
    assert len(hub.repos["alice/open"].commits) == commits
    assert model_folder("alice/secret").is_dir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder.parent / "another-cache"))
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(BundleError, match="no model 'alice/secret'"):
        model_folder("alice/secret")


def test_an_interrupted_upload_changes_nothing_and_the_next_sends_only_what_is_missing(hub: Hub, folder: Path) -> None:
    hub.failing_uploads = 1
    with pytest.raises(HubError, match="alice/clinic: the upload did not finish; run the same command again"):
        push_folder(folder, "alice/clinic")
    assert hub.files("alice/clinic").keys() == {".gitattributes"}
    arrived = len(hub.objects)
    hub.requests.clear()
    push_folder(folder, "alice/clinic")
    assert arrived == 1  # of two large files
    assert sum(request.startswith("PUT") for request in hub.requests) == 1
    assert mh.load("alice/clinic").predict(ROWS) == mh.load(folder).predict(ROWS)


def uploads(hub: Hub) -> list[str]:
    return [request for request in hub.requests if any(word in request for word in ("PUT", "/commit/", "/batch"))]


@pytest.mark.parametrize(
    ("token", "repo", "said"),
    [
        ("hf_unknown", "alice/clinic", "the Hub does not accept the token; log in again"),
        (READER, "alice/clinic", "the token may not write to alice/clinic"),
        (WRITER, "bob/clinic", "the token may not write to bob/clinic"),
        (None, "alice/clinic", "there is no Hub token on this machine; run `hf auth login`, or set HF_TOKEN"),
        (WRITER, "alice/a b", "'alice/a b' is not the name of a Hub repository; write owner/name"),
        (WRITER, "a/b/c", "'a/b/c' is not the name of a Hub repository"),
    ],
)
def test_what_the_hub_would_refuse_is_said_in_one_sentence_before_anything_is_sent(
    token: str | None, repo: str, said: str, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    hub.create("alice/clinic", {})
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    assert main(["push", str(folder), repo]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {said}")
    assert shown.count("\n") == 1
    assert not uploads(hub)


def test_a_folder_that_is_not_a_whole_model_is_refused_without_a_request(
    hub: Hub, folder: Path, trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=r"has no manyheads\.json"):
        push_folder(tmp_path, "alice/clinic")
    with pytest.raises(UsageError, match="has only adapters, and their encoder is a folder on this machine"):
        push_folder(trained("adapters"), "alice/clinic")
    heads = folder / "heads.safetensors"
    heads.write_bytes(heads.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(BundleError, match=r"heads\.safetensors has changed since it was written"):
        push_folder(folder, "alice/clinic")
    assert not hub.requests


def test_a_card_that_is_a_link_to_a_file_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "key")
    with pytest.raises(UsageError, match=r"README\.md is a link to a file outside the model folder"):
        files_to_push(folder)


def test_an_edited_card_is_pushed_and_the_model_still_loads(hub: Hub, folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text().replace("---\n", "---\nlicense: mit\n", 1))
    push_folder(folder, "alice/clinic")
    assert b"license: mit" in hub.files("alice/clinic")["README.md"]
    assert mh.load("alice/clinic").predict(ROWS) == mh.load(folder).predict(ROWS)


def test_a_card_with_broken_metadata_is_refused_before_the_upload(hub: Hub, folder: Path) -> None:
    (folder / "README.md").write_text("---\ntags: [\n---\n")
    with pytest.raises(
        UsageError, match=r"the Hub refuses the model, and nothing was pushed: Invalid metadata in README\.md"
    ):
        push_folder(folder, "alice/clinic")
    assert not uploads(hub)


def test_without_a_network_the_error_says_so(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    close_session()
    with pytest.raises(HubError, match="the Hub cannot be reached, or refuses; nothing was pushed") as raised:
        push_folder(folder, "alice/clinic")
    assert raised.value.exit_status == 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        push_folder(folder, "alice/clinic")


def test_a_dry_run_lists_the_files_and_asks_nobody(hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(folder), "alice/clinic", "--dry-run"]) == 0
    *files, last = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in files] == files_to_push(folder)
    assert last.endswith("MB for alice/clinic; nothing was sent")
    assert not hub.requests


def test_the_command_pushes_with_the_settings_of_the_environment(hub: Hub, folder: Path) -> None:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": WRITER,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }
    command = [
        sys.executable,
        "-m",
        "manyheads",
        "push",
        str(folder),
        "alice/clinic",
        "--private",
        "--message",
        "By command",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"pushed: {hub.url}/alice/clinic\n")
    assert hub.repos["alice/clinic"].private
    assert json.loads(hub.files("alice/clinic")["manyheads.json"]) == read_manifest(folder)
