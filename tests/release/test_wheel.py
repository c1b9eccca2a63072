"""The wheel and the sdist: the same bytes from the same sources, and nothing in them that is not meant."""

import os
import shutil
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

import manyheads

REPOSITORY = Path(__file__).parents[2]
TIME_S = 1_700_000_001
STRAY = ("tests/test_stray.py", "benchmarks/stray.py", "runs/demo/heads.safetensors", "corpus/stray.json",
         "src/manyheads/stray.bin", ".env")  # fmt: skip
"""Files that stand in the tree and have no place in a release."""


@dataclass(frozen=True)
class Built:
    tree: Path
    sdist: Path
    wheel: Path

    @property
    def names(self) -> set[str]:
        return set(zipfile.ZipFile(self.wheel).namelist())

    @property
    def dist_info(self) -> str:
        return f"manyheads-{manyheads.__version__}.dist-info"

    @property
    def metadata(self) -> Message:
        return Parser().parsestr(zipfile.ZipFile(self.wheel).read(f"{self.dist_info}/METADATA").decode())


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the project's folder holds, as far as a build could look at it."""
    if (
        find_spec("build") is None
        or find_spec("setuptools") is None
        or int(metadata.version("setuptools").split(".")[0]) < 77
    ):
        pytest.skip("the build backend, setuptools 77 or newer, is not installed; the extra `dev` has it")
    tree = tmp_path_factory.mktemp("sources") / "tree"
    shutil.copytree(REPOSITORY / "src", tree / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for path in REPOSITORY.iterdir():
        if path.is_file() and (path.suffix in (".md", ".toml", ".txt", ".in") or path.name == "LICENSE"):
            shutil.copy(path, tree)
    for name in STRAY:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("no part of a release")
    return tree


@pytest.fixture(scope="module")
def built(sources: Path, distributions: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _built(sources, tmp_path_factory.mktemp("one"), distributions)


def _built(sources: Path, into: Path, distributions: ModuleType) -> Built:
    tree = shutil.copytree(sources, into / "tree")
    distributions.even_out(tree)
    return Built(tree, *distributions.build(tree, into, TIME_S))


@pytest.mark.long
def test_two_builds_at_other_places_times_modes_and_settings_are_equal_byte_for_byte(
    sources: Path, built: Built, distributions: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(sources, tmp_path / "elsewhere" / "deeper")
    for path in other.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o640)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    before = os.umask(0o077)
    try:
        again = _built(other, tmp_path / "into", distributions)
    finally:
        os.umask(before)
    assert again.wheel.name == built.wheel.name
    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.sdist.name == built.sdist.name
    assert again.sdist.read_bytes() == built.sdist.read_bytes()


def test_wheel_holds_the_modules_the_declared_data_and_nothing_else(built: Built) -> None:
    package = built.tree / "src" / "manyheads"
    meant = {*package.rglob("*.py"), package / "py.typed", *(package / "demo" / "corpus").iterdir()}
    meant |= {*(package / "serve" / "playground").iterdir(), *(package / "html").glob("*.css")}
    meant |= set((package / "demo").glob("*.yaml"))
    meant |= {path for path in (package / "init" / "projects").rglob("*") if path.is_file()}
    facts = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE")
    expected = {path.relative_to(built.tree / "src").as_posix() for path in meant}
    assert built.names == expected | {f"{built.dist_info}/{name}" for name in facts}


def test_wheel_says_that_it_is_typed(built: Built) -> None:
    assert "manyheads/py.typed" in built.names
    assert "Typing :: Typed" in built.metadata.get_all("Classifier", [])


def test_wheel_names_its_licence_and_brings_its_text(built: Built) -> None:
    assert built.metadata["License-Expression"] == "Apache-2.0"
    assert built.metadata.get_all("License-File") == ["LICENSE"]
    with zipfile.ZipFile(built.wheel) as wheel:
        assert wheel.read(f"{built.dist_info}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()


def test_version_of_the_wheel_is_that_of_the_package(built: Built) -> None:
    assert built.metadata["Version"] == manyheads.__version__
    assert built.wheel.name == f"manyheads-{manyheads.__version__}-py3-none-any.whl"


def test_sdist_holds_what_a_build_needs_and_none_of_the_tests_runs_or_benchmarks(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {"pyproject.toml", "LICENSE", "README.md", "SECURITY.md", "src/manyheads/py.typed"} <= names
    assert not names & set(STRAY)
    assert {name.partition("/")[0] for name in names if "/" in name} == {"src"}


def test_sdist_tells_nothing_of_the_user_and_the_time_of_the_build(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", TIME_S)}
    assert {m.mode for m in members if m.isfile()} == {0o644}
    assert [m.name for m in members] == sorted(m.name for m in members)


def test_link_in_a_sdist_is_refused(distributions: ModuleType, tmp_path: Path) -> None:
    link = tarfile.TarInfo("manyheads-1/outside")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with tarfile.open(tmp_path / "manyheads-1.tar.gz", "w:gz") as archive:
        archive.addfile(link)
    with pytest.raises(distributions.ReleaseError, match="neither a file nor a folder"):
        distributions.pack_anew(tmp_path / "manyheads-1.tar.gz", TIME_S)


def test_failing_build_is_told_with_what_the_backend_says(
    distributions: ModuleType, sources: Path, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(distributions.ReleaseError, match=r"(?s)the build of .* failed.*version"):
        distributions.build(tmp_path / "tree", tmp_path / "into", TIME_S)


def test_folder_that_is_no_repository_is_refused(distributions: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(distributions.ReleaseError, match="a release is made of a commit"):
        distributions.head_of(tmp_path)


def test_backend_of_the_release_tools_is_pinned_and_allowed_by_the_project() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    lines = (REPOSITORY / "release" / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for text in project["build-system"]["requires"]:
        assert Requirement(text).specifier.contains(pins[Requirement(text).name])
