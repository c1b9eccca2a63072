"""Data sources among files and folders: single files, folders that a format reads as a whole, and saved data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from manyheads.data.formats.beir import judgements_in, texts_beside
from manyheads.data.formats.class_folders import labels_in, texts_in
from manyheads.data.formats.detection import FORMATS
from manyheads.data.formats.lines import bare_name
from manyheads.data.formats.preview import Preview
from manyheads.data.saved_datasets import DESCRIPTIONS, is_saved_dataset
from manyheads.errors import DataError
from manyheads.init.split_names import split_of, split_of_folders

MOST_FILES = 500
"""In all. A corpus of more is a folder that a format reads as a whole."""
FEW_TEXTS = 3
"""Texts that each label has at least, if folders are labels."""
ITS_OWN = frozenset({".yaml", ".yml", ".md", ".py", ".ipynb", ".html", ".png", ".zip", ".tar", ".pdf", ".sh", ".toml"})
"""Endings of files that hold no data."""


@dataclass(frozen=True, slots=True)
class Source:
    """One data source, with what its name says."""

    path: Path
    split: str | None
    """train, validation or test; None if the name does not say."""
    stem: str
    """The name without split and endings."""
    folder: Path
    """The folder, without one that stands for a split."""
    part: str | None = None
    """The split within a saved data set that has several."""


def find_sources(paths: Sequence[Path]) -> tuple[list[Source], list[Path]]:
    """All sources among files and folders, and files whose ending says that they hold no data.

    Raises DataError for a path that does not exist, and for too many files.
    """
    found: dict[tuple[Path, str | None], Source] = {}
    others: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist; give data files, or folders of them")
        for source in _sources(path, path if path.is_dir() else path.parent):
            if source.path.is_file() and Path(bare_name(source.path)).suffix in ITS_OWN:
                others.append(source.path)
            else:
                found.setdefault((source.path, source.part), source)
            if len(found) > MOST_FILES:
                raise DataError(f"{path} holds more than {MOST_FILES} data files; name those to train on")
    return list(found.values()), others


def _sources(path: Path, root: Path) -> Iterator[Source]:
    if is_saved_dataset(path):
        yield from _saved(path, root)
    elif path.is_file() or _has_classes(path):
        yield _named(path, root)
    else:
        inner = sorted(entry for entry in path.iterdir() if entry.name[0] not in "._")
        files = [entry for entry in inner if entry.is_file()]
        whole, second = _read_as_a_whole(path, files)
        if judgements_in(path):
            second = {*second, *texts_beside(path)}
        if whole:
            yield _named(path, root)
        yield from (_named(file, root) for file in files if file not in whole and file not in second)
        for folder in inner:
            if folder.is_dir():
                yield from _sources(folder, root)


def _has_classes(folder: Path) -> bool:
    """Whether a folder certainly has one for each label: none of them, and no file in them, is named after a split."""
    labels = labels_in(folder) if not any(folder.glob("*/*.ann")) else []
    names = [name for label in labels for name in (label.name, *(file.name for file in islice(texts_in(label), FEW_TEXTS)))]
    return len(names) >= len(labels) * (FEW_TEXTS + 1) > FEW_TEXTS + 1 and all(split_of(name)[0] is None for name in names)


def _read_as_a_whole(folder: Path, files: Sequence[Path]) -> tuple[set[Path], set[Path]]:
    """The files of a folder that are read with it, and second files of documents that are read alone.

    A folder is read as a whole if it has several documents of one format, whose names say no split.
    """
    for form in FORMATS:
        if not form.looks_like(Preview(folder)):
            continue
        documents = {form.files(file) for file in files if form.looks_like(Preview(file))}
        members = {file for document in documents for file in document}
        if len(documents) > 1 and all(split_of(document[0].name)[0] is None for document in documents):
            return members, set()
        return set(), {file for document in documents for file in sorted(document)[1:]}
    return set(), set()


def _named(path: Path, root: Path) -> Source:
    within = path.relative_to(root).parts[:-1] if path != root else ()
    folders = (root.resolve().name, *within)
    if path.is_dir():
        split, rest = split_of(path.resolve().name) if path == root else split_of_folders(path.relative_to(root).parts)
        name = rest if isinstance(rest, str) else (rest[-1] if rest else "")
        return Source(path, split, "" if split is not None else name.lower(), path.parent)
    split, stem = split_of(bare_name(path))
    outer, kept = split_of_folders(folders)
    if split is not None or outer is None:
        return Source(path, split, stem, path.parent)
    return Source(path, outer, stem, root.joinpath(*kept[1:]) if kept[:1] == folders[:1] else root.parent)


def _saved(path: Path, root: Path) -> Iterator[Source]:
    description = path / DESCRIPTIONS[0]
    if not description.is_file():
        yield _named(path, root)
        return
    try:
        splits = json.loads(description.read_text(encoding="utf-8"))["splits"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{description} is damaged; save the data set again") from None
    for name in splits:
        yield Source(path, split_of(str(name))[0], path.resolve().name.lower(), path.parent, str(name))
