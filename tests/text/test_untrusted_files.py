"""Files of strangers: pipes, links, sizes, and JSON that two readers would understand differently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manyheads.text.untrusted_files import checked_size, is_text, leaves_folder, read_object


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "the name 'a' is given twice"),
        ('{"x": {"a": 1, "a": 2}}', "the name 'a' is given twice"),
        ("[]", "is not a JSON object"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        (b'{"a": "\xff"}', "is not UTF-8 at byte 8"),
    ],
)
def test_json_that_is_no_plain_object_is_refused(tmp_path: Path, text: str | bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=reason):
        read_object(path)


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, {"b": "é"}]}', encoding="utf-8")
    assert read_object(path) == {"a": [1, {"b": "é"}]}
    with pytest.raises(ValueError, match="has 23 bytes, more than the limit of 20"):
        read_object(path, 20)


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(ValueError, match="is not a regular file"):
            checked_size(path, 10)
    with pytest.raises(FileNotFoundError):
        checked_size(tmp_path / "none", 10)


def test_links_may_stay_in_their_folder_or_lead_to_the_blobs_of_the_hub(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "hub/snapshots/abc", tmp_path / "hub/blobs"
    for folder in (snapshot, blobs, tmp_path / "other"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    links = {"inside": "file", "blob": "../../blobs/file", "outside": "../../../other/file", "loop": "loop"}
    for name, target in links.items():
        (snapshot / name).symlink_to(target)
    assert {name: leaves_folder(snapshot, snapshot / name) for name in links} == {
        "inside": False, "blob": False, "outside": True, "loop": False,
    }  # fmt: skip
    assert leaves_folder(blobs, blobs / "../snapshots/abc/file")


def test_text_is_made_of_characters() -> None:
    assert is_text("é", 1)
    assert not any(is_text(value, 3) for value in ("", "abcd", "a\ud800", 7, None, ["a"]))
