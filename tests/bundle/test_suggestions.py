"""A path that is not a model folder: the error suggests model folders nearby."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.bundle import MANIFEST, read_manifest
from manyheads.errors import BundleError


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three model folders below the working folder."""
    for name in ("runs/clinic", "runs/news", "other/deep/unseen"):
        (tmp_path / name / "encoder").mkdir(parents=True)
        (tmp_path / name / MANIFEST).write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runs/clinics", r"runs/clinics is not a folder; .*; did you mean runs/clinic( or |\?)"),
        ("rusn/clinic", r"did you mean runs/clinic( or |\?)"),
        ("clinic", r"; did you mean runs/clinic( or |\?)|; there are models in runs/clinic, runs/news"),
        ("runs/xyzzy-quux", r"; there are models in runs/clinic, runs/news$"),
        ("runs", r"runs has no manyheads.json: .*; did you mean runs/news"),
        ("runs/news/encoder", r"has no manyheads.json: .*; did you mean runs/news\?"),
        ("runs/news/manyheads.json", r"is not a folder; .*; did you mean runs/news\?"),
    ],
)
def test_near_models_are_named(models: Path, name: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_manifest(Path(name))


def test_where_there_are_none_nothing_is_added(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"give the output folder of a finished training$"):
        read_manifest(tmp_path / "a/b")
