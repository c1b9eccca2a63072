"""The meaning of the columns of a CoNLL file, inferred from its first lines, or chosen by number or name.

A column has a name in CoNLL-U, after `# global.columns =` (CoNLL-U Plus), and in a header line that has the chosen names.

A property holds for a file if it holds for MOST of its first words. So a damaged line is refused itself, and does not change
how the others are read.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from manyheads.errors import RowError
from manyheads.text.spans import check_tag

LOOKED_AT = 5000
"""Lines from which the layout is inferred."""
MOST = 0.7
FEW_WORDS = 5
"""Fewer words than this may be numbers by chance."""
UNIVERSAL = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""Columns of CoNLL-U; further ones may follow."""
_GLOBAL = re.compile(r"#\s*global\.columns\s*=\s*(.*)")
_KEY = re.compile(r"#\s+(id\s+\S.*|[A-Za-z][\w.:\[\]-]*\s*=(\s|$))")
"""`# text = ...`, and MultiCoNER's `# id ... domain=en`."""
_TIGHT_KEY = re.compile(r"#[A-Za-z][\w.:-]*\s+=\s")
_RANGE = re.compile(r"\d{1,9}([-.])\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of words and tags in a file."""

    tabs: bool
    width: int
    counter: bool = False
    """The first column counts the words."""
    form: int | None = None
    """The column of the word, if it was chosen."""
    tag: int = -1
    attribute: str | None = None
    """The key in MISC (`NER=B-PER`) that holds the tag; None: the column itself."""
    misc: int | None = None
    """The column of attributes in CoNLL-U (MISC); None in other files."""
    header: bool = False
    """The first line holds the names of the columns."""
    notes: tuple[str, ...] = ()

    @property
    def word(self) -> int:
        """The column of the word."""
        return self.form if self.form is not None else 1 if self.counter else 0

    def tag_of(self, cells: Sequence[str]) -> str:
        """The tag of a word."""
        if self.attribute is not None and self.misc is not None:
            return _attributes(cells[self.misc]).get(self.attribute, "O")
        in_misc = self.misc is not None and self.tag in (-1, self.misc) and self.misc == self.width - 1
        return _bare(cells[-1]) if in_misc else cells[self.tag]

    def space_after(self, cells: Sequence[str]) -> bool:
        """Whether white space follows the word."""
        misc = "" if self.misc is None else cells[self.misc]
        return "SpaceAfter" not in misc or _attributes(misc).get("SpaceAfter") != "No"


def bare_line(line: str) -> str:
    """A line without its line ending and trailing white space."""
    return line.rstrip("\r\n").rstrip(" \t")


def is_comment(text: str, layout: Layout) -> bool:
    """Whether a line is a comment. `# O` in a file of two columns is a word, and `#tag` always is."""
    if not text.startswith("#"):
        return False
    if text.startswith(("#begin document", "#end document")) or _KEY.match(text):
        return True
    if layout.tabs and "\t" not in text and _TIGHT_KEY.match(text):
        return True
    return text.startswith("# ") and len(cells_of(text, layout)) != layout.width


def is_skipped(cell: str) -> bool:
    """Whether a first column is that of a word range (`3-4`), or of an empty node (`8.1`)."""
    return _RANGE.fullmatch(cell) is not None


def cells_of(text: str, layout: Layout) -> list[str]:
    """The columns of a line."""
    if layout.tabs:
        return [cell.strip(" ") for cell in text.split("\t")]
    return [cell for cell in text.split(" ") if cell]


def layout_of(lines: Iterable[str], columns: Mapping[str, str] | None = None) -> Layout | None:
    """The layout of a file; None if it is empty. Raises RowError if its columns lack words or tags.

    `columns`: the columns of `tokens` and `tags`, by number from 1, by name, or (tags) by an attribute of CoNLL-U.
    """
    texts = [bare_line(line) for line in islice(lines, LOOKED_AT)]
    likely = next((text for text in texts if text and not text.startswith(("#", "-DOCSTART-"))), None)
    likely = likely or next((text for text in texts if text and not _KEY.match(text) and text[:2] != "-D"), None)
    if likely is None:
        return Layout(False, 1) if any(text.startswith("-DOCSTART-") for text in texts) else None
    layout = Layout("\t" in likely, 0)
    layout = replace(layout, width=len(cells_of(likely, layout)))
    header = cells_of(likely, layout)
    if columns and set(header) >= {name for name in columns.values() if not name.isdecimal()} != set():
        layout = replace(layout, header=True)
        texts = [text for text in texts if text is not likely]
    sentences: list[list[list[str]]] = [[]]
    for text in texts:
        if not text or is_comment(text, layout) or text.startswith("-DOCSTART-"):
            sentences.append([])
        elif len(cells := cells_of(text, layout)) == layout.width:
            sentences[-1].append(cells)
    if _counts(sentences):
        if layout.width == 2:
            raise RowError(
                "has two columns and the first counts the words, so the words are missing; put them between number and tag"
            )
        layout = replace(layout, counter=True)
    names = header if layout.header else _names(texts, layout)
    if "misc" in names[: layout.width]:
        layout = replace(layout, misc=names.index("misc"))
    if columns:
        layout = _chosen(layout, names, columns)
    if layout.counter and not (columns and "tags" in columns):
        words = [cells for sentence in sentences for cells in sentence if not is_skipped(cells[0])]
        return _with_tags(layout, words)
    return layout


def _names(texts: Sequence[str], layout: Layout) -> Sequence[str]:
    """Names of the columns of CoNLL-U, in lower case; none for other files."""
    for text in texts:
        if text and not text.startswith("#"):
            break
        if found := _GLOBAL.match(text):
            return [name.lower() for name in found[1].split()]
    return UNIVERSAL if layout.counter and layout.tabs and layout.width >= len(UNIVERSAL) else ()


def _chosen(layout: Layout, names: Sequence[str], columns: Mapping[str, str]) -> Layout:
    """The layout with the columns that the data source names. Raises RowError for one that the file does not have."""
    for ours, name in columns.items():
        if ours not in ("tokens", "tags"):
            raise RowError(f"has columns for tokens and tags alone; remove '{ours[:80]}' under 'columns'")
        place = _place(layout, names, name)
        if place is not None:
            layout = replace(layout, form=place) if ours == "tokens" else replace(layout, tag=place)
        elif ours == "tags" and layout.misc is not None:
            layout = replace(layout, attribute=name)
        else:
            known = f", or by name: {', '.join(names)}" if names else ""
            raise RowError(f"has no column '{name[:80]}' (for {ours}); give its number, from 1 to {layout.width}{known}")
    return layout


def _place(layout: Layout, names: Sequence[str], name: str) -> int | None:
    if name.isdecimal():
        return int(name) - 1 if len(name) < 5 and 0 < int(name) <= layout.width else None
    known = names if layout.header else [one.lower() for one in names]
    wanted = name if layout.header else name.lower()
    return known.index(wanted) if wanted in known[: layout.width] else None


def _counts(sentences: Sequence[Sequence[Sequence[str]]]) -> bool:
    """Whether most first columns count the words of their sentence, or of the file."""
    good = total = before = longest = 0
    for sentence in sentences:
        inside = 0
        for cells in sentence:
            if is_skipped(cells[0]):
                continue
            number = int(cells[0]) if cells[0].isdecimal() and len(cells[0]) < 10 else -1
            good += number == before + 1 or (not inside and number in (0, 1))
            before = number
            inside += 1
            total += 1
        longest = max(longest, inside)
    return longest > 1 and good >= MOST * total and (total >= FEW_WORDS or good == total)


def _with_tags(layout: Layout, words: Sequence[Sequence[str]]) -> Layout:
    """The layout with the column of tags, for a file that counts words. Raises RowError if there are no tags."""
    universal, misc = layout.misc is not None, layout.misc or 0
    name = "CoNLL-U" if universal else "its first column counts the words"
    note = f"{name}: column {layout.word + 1} is read as the word and {{}} as its tag"
    in_misc = universal and misc == layout.width - 1
    last = [_bare(cells[-1]) if in_misc else cells[-1] for cells in words]
    if _mostly_tags(last) or (last and set(last) == {"O"}):
        return replace(layout, notes=(note.format("the last column"),))
    if universal:
        found: Mapping[str, list[str]] = defaultdict(list)
        for cells in words:
            for attribute, value in _attributes(cells[misc]).items():
                found[attribute].append(value)
        fitting = Counter({key: len(values) for key, values in found.items() if _mostly_tags(values)})
        if fitting:
            attribute = max(sorted(fitting), key=lambda key: (key.lower() in ("ner", "ne"), fitting[key]))
            column = "the last column" if in_misc else f"column {misc + 1}"
            return replace(layout, attribute=attribute, notes=(note.format(f"{attribute}= in {column}"),))
    columns = [k for k in range(layout.word + 1, layout.width - 1) if _mostly_tags([cells[k] for cells in words])]
    if len(columns) == 1:
        return replace(layout, tag=columns[0], notes=(note.format(f"column {columns[0] + 1}"),))
    raise RowError(
        "has no tags: neither the last column nor an attribute of CoNLL-U in it (NER=B-PER) holds O, B-, I-; add them, or "
        "name their column as in columns: {tags: 4}"
    )


def _mostly_tags(values: Sequence[str]) -> bool:
    good = [value for value in values if check_tag(value) is None]
    return len(good) >= max(1, MOST * len(values)) and any(value != "O" for value in good)


def _attributes(cell: str) -> dict[str, str]:
    """MISC: `Key=Value|Key=Value`, or `_`."""
    return dict(part.split("=", 1) for part in cell.split("|") if "=" in part)


def _bare(cell: str) -> str:
    """The part of MISC that is not an attribute, which may be a tag."""
    parts = [part for part in cell.split("|") if "=" not in part]
    return parts[0] if len(parts) == 1 else cell
