"""A release: what two builds must have in common, and what may be replaced by it."""

import hashlib
from pathlib import Path
from types import ModuleType

import pytest


def test_builds_that_differ_are_refused_with_the_file_and_the_place(make_release: ModuleType) -> None:
    with pytest.raises(Exception, match=r"two builds of a\.whl differ: 3 and 4 bytes, first at byte 2; nothing was"):
        make_release.compare({"a.whl": b"abc"}, {"a.whl": b"abXc"})
    with pytest.raises(Exception, match=r"first at byte 3"):
        make_release.compare({"a.whl": b"abc"}, {"a.whl": b"abcd"})
    with pytest.raises(Exception, match=r"only one of two builds made b\.whl"):
        make_release.compare({"a.whl": b""}, {"a.whl": b"", "b.whl": b""})


def test_release_replaces_an_earlier_one_and_lists_every_file_with_its_hash(
    make_release: ModuleType, tmp_path: Path
) -> None:
    make_release.put({"manyheads-0.1.whl": b"old"}, tmp_path / "dist")
    make_release.put({"manyheads-0.2.whl": b"new", "manyheads-0.2.cdx.json": b"{}"}, tmp_path / "dist")
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {
        "manyheads-0.2.whl", "manyheads-0.2.cdx.json", "SHA256SUMS",
    }  # fmt: skip
    lines = (tmp_path / "dist" / "SHA256SUMS").read_text().splitlines()
    assert lines == [f"{hashlib.sha256(data).hexdigest()}  {name}"
                     for name, data in (("manyheads-0.2.cdx.json", b"{}"), ("manyheads-0.2.whl", b"new"))]  # fmt: skip


def test_folder_with_anything_else_in_it_is_left_as_it_is(make_release: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    (tmp_path / "manyheads-0.1.whl").write_text("old")
    with pytest.raises(Exception, match=r"holds thesis\.tex, which is of no release"):
        make_release.put({"manyheads-0.2.whl": b"new"}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.tex", "manyheads-0.1.whl"}


def test_environment_that_is_none_is_refused(make_release: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="is no environment of Python"):
        make_release.site_packages_of(tmp_path)
