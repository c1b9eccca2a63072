"""A folder for each label, with a file for each text: IMDB, 20 Newsgroups, `load_files` of scikit-learn.

    reviews/pos/0_9.txt
    reviews/neg/1_2.txt

Decided here: a text is a file without an ending, or ending in .txt; other files are not read, nor are those beside the
folders of the labels. Texts in folders such as `unsup` have no label, and are skipped and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manyheads.data.formats.format import Format, RowSchema
from manyheads.data.formats.labelled import NO_LABEL
from manyheads.data.formats.lines import LONGEST_LINE_BYTES, whole
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import RawRow

UNLABELLED = ("unsup", "unlabeled", "unlabelled")
ENDINGS = ("", ".txt")


def labels_in(folder: Path) -> list[Path]:
    """The folders of labels: those directly below, if each of them holds texts and no folder. Any folder may be given."""
    try:
        inner = sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] not in "._")
        good = all(next(texts_in(label), None) and not any(map(Path.is_dir, label.iterdir())) for label in inner)
    except OSError:
        return []
    return inner if good else []


def texts_in(folder: Path) -> Iterator[Path]:
    """The files of the texts of a label, in no order."""
    return (file for file in folder.iterdir() if file.suffix in ENDINGS and file.name[0] != "." and file.is_file())


def looks_like(preview: Preview) -> bool:
    """A folder with several folders of texts in it."""
    return preview.path.is_dir() and len(labels_in(preview.path)) > 1


def read(path: Path, _: RowSchema) -> Iterator[RawRow]:
    """Texts, label by label. Raises DataError for a text that is empty, too long, or not UTF-8."""
    for label in labels_in(path):
        skip = NO_LABEL if label.name in UNLABELLED else None
        for file in sorted(texts_in(label)):
            yield RawRow({"text": whole(file, LONGEST_LINE_BYTES), "label": label.name}, f"{file}:1", skip=skip)


def files(path: Path) -> tuple[Path, ...]:
    """All texts."""
    return tuple(file for label in labels_in(path) for file in sorted(texts_in(label)))


FORMAT = Format("class-folders", "a folder for each label", (("text", "label"),), looks_like, read, files=files)
