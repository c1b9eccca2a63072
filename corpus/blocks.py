"""Blocks of lines, which both parts of the corpus consist of: `=== slug`, then lines of cells separated by `|`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SPLITS = (("train", 0.70), ("validation", 0.82), ("test", 1.0))
"""Upper ends of the shares: about 70, 12 and 18 percent of the texts."""


class CorpusError(Exception):
    """A defect: file:line and what is wrong."""


@dataclass
class Block:
    slug: str
    where: str
    lines: list[tuple[str, list[str]]] = field(default_factory=list)
    """Of each line its place and its cells."""


def split_of(slug: str) -> str:
    """The split of a text, from a hash of its slug."""
    place = int(hashlib.sha256(slug.encode()).hexdigest()[:8], 16) / 2**32
    return next(name for name, end in SPLITS if place < end)


def read_blocks(path: Path) -> list[Block]:
    """All blocks of a file. Raises CorpusError for a line before the first, and for an empty cell."""
    blocks: list[Block] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        if line.startswith("==="):
            blocks.append(Block(line.removeprefix("===").strip(), where))
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if not blocks:
            raise CorpusError(f"{where} stands before the first '=== slug'")
        if not all(cells):
            raise CorpusError(f"{where} has an empty field")
        blocks[-1].lines.append((where, cells))
    return blocks


def check_slugs(places: Iterable[tuple[str, str]]) -> None:
    """Raise CorpusError for a slug that is taken. Takes slugs with their places."""
    seen: set[str] = set()
    for slug, where in places:
        if slug in seen:
            raise CorpusError(f"{where} has the slug {slug!r}, which is taken")
        seen.add(slug)
