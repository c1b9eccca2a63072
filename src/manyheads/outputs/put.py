"""Documents to files, atomically: one file, a folder of files, or the pair of files of one brat document."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from manyheads.durable import UNFINISHED, put_in_place, sync, writing_bytes
from manyheads.errors import UsageError
from manyheads.outputs.documents import Document
from manyheads.outputs.formats.format import WriteFormat, Writing

PAIR, TEXT = ".ann", ".txt"
"""Endings of a brat document in place of a folder."""


def put_blocks(path: Path, file: IO[bytes], blocks: Iterable[bytes]) -> None:
    """Write blocks to an open file, gzipped if its name ends in `.gz`."""
    if path.name.lower().endswith(".gz"):
        with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
            packed.writelines(blocks)
    else:
        file.writelines(blocks)


def write_documents(
    path: Path | None, file: IO[bytes] | None, target: WriteFormat, documents: Iterable[Document], writing: Writing
) -> None:
    """Write documents without what the format cannot hold, which is counted. `file`: that of `output_file`, or a stream."""
    held = target.documents(documents, writing)
    if target.encode is not None and file is not None:
        put_blocks(path or Path(), file, target.encode(held, writing))
    elif target.files is not None and path is not None:
        files = target.files(held, writing)
        if path.suffix == PAIR:
            _put_pair(path, files)
        else:
            put_folder(path, files)


@contextmanager
def output_file(path: Path, target: WriteFormat | None) -> Iterator[IO[bytes] | None]:
    """The output, open for writing; None for a format of several files. Raises UsageError if it cannot be written."""
    if target is not None and target.files is not None:
        yield None
    else:
        with writing_bytes(path) as file:
            yield file


def check_folder(path: Path) -> None:
    """Raise UsageError for an output folder, or a pair of files, that exists; a folder may be empty."""
    if path.suffix == PAIR:
        taken = [file for file in (path, path.with_suffix(TEXT)) if file.exists()]
    else:
        taken = [path] if path.exists() and (not path.is_dir() or any(path.iterdir())) else []
    if taken:
        raise UsageError(f"-o {taken[0]} exists; give a new name, or remove it first")


def put_folder(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a folder of files. Raises UsageError if it exists or cannot be written; after any error it does not exist."""
    check_folder(path)
    unfinished = path.with_name(path.name + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); give a folder in an existing one") from None
    try:
        for name, content in files:
            file = unfinished / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        sync(unfinished)
        put_in_place(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put_pair(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """The two files of one document, under the name of the output. Raises UsageError if there are more documents."""
    found = list(files)
    if len(found) != 2:
        raise UsageError(f"-o {path} is one document, but there are {len(found) // 2}; give a folder, with --to brat")
    for name, content in found:
        with writing_bytes(path.with_suffix(Path(name).suffix)) as file:
            file.write(content)
