"""The wheel and the sdist, built so that the same commit gives the same bytes.

Decided here:
- What is built is the commit, exported by git: what lies uncommitted in the folder, or beside it, cannot get in.
- Times are those of the commit (SOURCE_DATE_EPOCH); modes are 644 and 755 whatever the umask; owners are nobody.
- setuptools writes a wheel that depends on nothing else. Its sdist holds the time and user of the build: it is packed anew.
- Deflate is not one algorithm: equal bytes are promised for the same Python and zlib, and `make release` prints both.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o644, 0o755
KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "SYSTEMROOT")
"""Of the environment. Others may steer setuptools, such as DIST_EXTRA_CONFIG."""


class ReleaseError(Exception):
    """The release cannot be made; the message is for the one who makes it."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What is released."""

    hash: str
    time_s: int
    """Since 1970, of the committer."""


def head_of(repository: Path) -> Commit:
    """The commit that is checked out. Raises ReleaseError outside of a git repository."""
    said = _git(repository, "log", "-1", "--format=%H %ct").decode().split()
    return Commit(said[0], int(said[1]))


def changed_files(repository: Path) -> list[str]:
    """Tracked files that are not as they were committed: they are not in the release."""
    return _git(repository, "diff", "--name-only", "HEAD").decode().splitlines()


def export(repository: Path, commit: Commit, tree: Path) -> None:
    """Write the files of a commit to a new folder, all with the same modes."""
    tree.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(_git(repository, "archive", "--format=tar", commit.hash))) as archive:
        archive.extractall(tree, filter="data")
    even_out(tree)


def even_out(tree: Path) -> None:
    """Give all files of a folder one mode and all folders another: the umask of a checkout would be in the wheel."""
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def build(tree: Path, into: Path, time_s: int) -> tuple[Path, ...]:
    """The sdist of a source tree and the wheel that comes of it, with the setuptools of this Python. Raises ReleaseError."""
    variables = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into.resolve()), str(tree.resolve())],
        cwd=tree, env={**variables, "SOURCE_DATE_EPOCH": str(time_s), "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        umask=0o022, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ReleaseError(f"the build of {tree} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    sdists, wheels = sorted(into.glob("*.tar.gz")), sorted(into.glob("*.whl"))
    if len(sdists) != 1 or len(wheels) != 1:
        found = ", ".join(path.name for path in sdists + wheels) or "nothing"
        raise ReleaseError(f"one sdist and one wheel were expected in {into}, seen: {found}")
    pack_anew(sdists[0], time_s)
    return (*sdists, *wheels)


def pack_anew(sdist: Path, time_s: int) -> None:
    """Write a .tar.gz again with its members in order of their names, and nothing of when, where and by whom."""
    packed = io.BytesIO()
    with (
        tarfile.open(sdist) as old,
        gzip.GzipFile("", "wb", 9, packed, mtime=time_s) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            if not (member.isfile() or member.isdir()):
                raise ReleaseError(f"{sdist.name} holds {member.name}, which is neither a file nor a folder; remove it")
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, time_s
            plain.mode = FOLDER_MODE if member.isdir() else FILE_MODE
            new.addfile(plain, old.extractfile(member) if member.isfile() else None)
    sdist.write_bytes(packed.getvalue())


def _git(repository: Path, *arguments: str) -> bytes:
    """What git answers. Raises ReleaseError with what it complains of."""
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise ReleaseError("git is not installed; a release is made of a commit") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ReleaseError(f"git {arguments[0]} failed in {repository} ({said}); a release is made of a commit")
    return done.stdout
