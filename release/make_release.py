"""`make release`: wheel, sdist, bill of materials and their sha256, from the last commit, each made twice and compared.

    python release/make_release.py dist --environment .venv

Runs with the tools of release/requirements.txt. Exit status 2 and one sentence when the release cannot be made.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from distributions import Commit, ReleaseError, build, changed_files, export, head_of
from sbom import sbom

SUMS = "SHA256SUMS"
REPOSITORY = Path(__file__).resolve().parents[1]


def made(commit: Commit, site_packages: Path, work: Path) -> dict[str, bytes]:
    """Every file of the release by its name, made in an empty folder."""
    export(REPOSITORY, commit, work / "tree")
    (work / "built").mkdir()
    files = {path.name: path.read_bytes() for path in build(work / "tree", work / "built", commit.time_s)}
    sdist = next(name for name in files if name.endswith(".tar.gz"))
    text = sbom(work / "tree", site_packages, commit.time_s, {name: sha256(data) for name, data in files.items()})
    return {**files, sdist.removesuffix(".tar.gz") + ".cdx.json": text.encode()}


def compare(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    """Raises ReleaseError that names what two builds do not have in common."""
    for name in sorted(first.keys() | second.keys()):
        one, other = first.get(name), second.get(name)
        if one is None or other is None:
            raise ReleaseError(f"only one of two builds made {name}")
        if one != other:
            place = next(
                (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
            )
            sizes = f"{len(one)} and {len(other)} bytes, first at byte {place}"
            raise ReleaseError(f"two builds of {name} differ: {sizes}; nothing was released")


def sums(files: dict[str, bytes]) -> str:
    """What `sha256sum --check` reads."""
    return "".join(f"{sha256(data)}  {name}\n" for name, data in sorted(files.items()))


def sha256(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def put(files: dict[str, bytes], folder: Path) -> None:
    """Put a release in the place of an earlier one. Raises ReleaseError for a folder that holds anything else."""
    folder.mkdir(parents=True, exist_ok=True)
    old = sorted(folder.iterdir())
    strange = [
        path.name for path in old if not (path.name == SUMS or path.name.startswith("manyheads-")) or path.is_dir()
    ]
    if strange:
        raise ReleaseError(f"{folder} holds {strange[0]}, which is of no release; give another folder, or empty it")
    for path in old:  # published together with the new one, it would be in no list of hashes
        path.unlink()
    for name, data in {**files, SUMS: sums(files).encode()}.items():
        (folder / name).write_bytes(data)


def site_packages_of(environment: Path) -> Path:
    """The folder of packages of a virtual environment. Raises ReleaseError when it is none, or of another Python."""
    folder = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    if not folder.is_dir():
        wanted = platform.python_version()
        raise ReleaseError(f"{environment} is no environment of Python {wanted}; run `make test` first")
    return folder.resolve()


def main(arguments: Sequence[str]) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of the release; an earlier one in it is replaced")
    parser.add_argument("--environment", type=Path, required=True, help="the project's own virtual environment")
    chosen = parser.parse_args(arguments)
    try:
        commit = head_of(REPOSITORY)
        site_packages = site_packages_of(chosen.environment)
        left_out = changed_files(REPOSITORY)
        if left_out:
            seen = f"{len(left_out)} changed files ({left_out[0]}, ...)"
            sys.stderr.write(f"make release: of the last commit; {seen} are not in it\n")
        with TemporaryDirectory() as one, TemporaryDirectory() as other:
            files = made(commit, site_packages, Path(one))
            compare(files, made(commit, site_packages, Path(other) / "another" / "depth"))
        put(files, chosen.output)
    except ReleaseError as error:
        sys.stderr.write(f"make release: {error}\n")
        return 2
    tools = f"Python {platform.python_version()}, zlib {zlib.ZLIB_RUNTIME_VERSION}, setuptools {version('setuptools')}"
    sys.stdout.write(f"{sums(files)}Built twice from {commit.hash}, equal byte for byte ({tools}): {chosen.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
