"""The split that the name of a file or folder stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPLITS = {
    "train": "train", "training": "train", "trn": "train",
    "dev": "validation", "devel": "validation", "development": "validation", "valid": "validation",
    "validation": "validation", "val": "validation", "testa": "validation", "eval": "validation",
    "test": "test", "testing": "test", "tst": "test", "testb": "test",
}  # fmt: skip
ENDINGS = frozenset({"ann", "arrow", "bio", "conll", "conllu", "conllup", "csv", "iob", "iob2", "json", "jsonl", "ndjson",
                     "parquet", "pubtator", "spacy", "tsv", "txt", "xmi", "xml"})  # fmt: skip
_GLUED = re.compile(r"(?P<before>[a-z]*\d+)?(?P<split>train|dev|valid|val|test)(?P<after>set|data|file)?\d?")
_SHARD = re.compile(r"-\d{5}-of-\d{5}")


def split_of(name: str) -> tuple[str | None, str]:
    """The split in the name of a file, and the rest of the name, which files of one data set share.

    >>> split_of("stsb-en-train.csv"), split_of("eng.testa"), split_of("wnut17train.conll"), split_of("latest.csv")
    (('train', 'stsb-en'), ('validation', 'eng'), ('train', 'wnut17'), (None, 'latest'))
    """
    words = [word for word in re.split(r"[^a-z0-9]+", _SHARD.sub("", name.lower())) if word]
    if len(words) > 1 and words[-1] in ENDINGS:
        words.pop()
    for place in reversed(range(len(words))):
        split, rest = _split_of_word(words[place])
        if split is not None:
            return split, "-".join([*words[:place], *([rest] if rest else []), *words[place + 1 :]])
    return None, "-".join(words)


def _split_of_word(word: str) -> tuple[str | None, str]:
    if word in SPLITS:
        return SPLITS[word], ""
    match = _GLUED.fullmatch(word)
    if match is None or not (match["before"] or match["after"]):
        return None, ""
    return SPLITS[match["split"]], match["before"] or ""


def split_of_folders(folders: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The split that one of several nested folders stands for, the innermost first, and the other folders.

    >>> split_of_folders(("ner", "train"))
    ('train', ('ner',))
    """
    for place in reversed(range(len(folders))):
        if (split := SPLITS.get(folders[place].lower())) is not None:
            return split, (*folders[:place], *folders[place + 1 :])
    return None, tuple(folders)


def is_shard(name: str) -> bool:
    """Whether a file is one of several parts of a split, as `train-00000-of-00002.parquet` is."""
    return _SHARD.search(name) is not None
