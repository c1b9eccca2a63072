"""Sentences of a text, by rules: offsets of each, without white space at their edges.

Design:
- A sentence ends after `.`, `!`, `?` or `…`, with the quotes and brackets that close there, before white space; in scripts
  written without spaces, after their own full stops wherever those are.
- It does not end before a word in lower case (`mRNA` and `pH` are none), inside a number, after an initial, after an
  abbreviation that stands before its word (`Dr.`, `Fig.`), nor after a number that opens it (`1. Aims`). After other
  abbreviations (`et al.`, `U.S.`, `p.m.`) it ends before a word that often opens a sentence.
- A blank line ends a sentence. A line break does too, unless the text is wrapped there: the next word would not have fitted
  on the line, as long as the longest line of its paragraph, or `WRAPPED` characters.
- Time is linear in the text: each place is looked at once, and a word at an edge is read up to `LONGEST` characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import regex

from manyheads.text.joining import between

Offsets = tuple[tuple[int, int], ...]

LONGEST = 24
"""Characters read of the word before or after an end."""
WRAPPED = 60
"""No editor wraps lines shorter than this."""
_EAST = r"。！？｡．"
_CLOSING = r"""["'”’»›\)\]\}」』）】〕》〉]"""
_OPENING = r"""["'“‘„«‹¿¡\(\[\{「『（【〔《〈*#\-–—•·]"""
_END = regex.compile(
    rf"(?<![{_EAST}])[{_EAST}]++{_CLOSING}*+"
    rf"|(?<![.!?…])[.!?…]++{_CLOSING}*+(?=\s|$)"
    rf"|[[\p{{Sentence_Terminal}}]--[.!?…{_EAST}]]++{_CLOSING}*+(?=\s|$)",
    regex.V1,
)
_NEXT = regex.compile(rf"\s*+{_OPENING}*+((?:[^\W_]|['’.-](?=\w)){{0,{LONGEST}}})")
_LAST = regex.compile(r"(?:\w|[.'’-](?=[\w.]))+$")
_NUMBERING = regex.compile(r"[\(\[]?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})(?:\.\d{1,3})*")
_LINE_BREAK = regex.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_INITIALS = regex.compile(r"(?:\p{Lu}\.)*\p{Lu}")
_AFTER_QUOTE = regex.compile(r"[\p{Hiragana}\p{Katakana}、，,]")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TITLES = _names(
    """dr mr mrs ms mx prof rev hon gen col lt sgt capt cmdr adm maj sen rep gov pres st mt ft messrs mme mlle sr sra srta
    dra"""
)
"""Abbreviations before a name, written with a capital. All are in lower case here, without their last stop."""
_BEFORE_NUMBERS = _names(
    """fig figs eq eqs ref refs tab sec sect chap ch vol vols no nos nr art pp pag bd jan feb mar apr jun jul aug sep sept
    oct nov dec"""
)
_INNER = _names("cf viz vs e.g i.e approx ca resp spp subsp incl excl z.b d.h u.a bzw vgl sog")
"""Abbreviations that no sentence ends with."""
_LAST_OR_INNER = _names("al etc inc ltd co corp bros jr dept est a.m p.m ph.d m.d b.sc m.sc usw")
"""Abbreviations that may end a sentence."""
_OPENERS = _names(
    """the this that these those there here a an in on at of for from with by to as if when while where after before during
    since until although though because however moreover furthermore therefore thus hence then also but and or nor so yet
    it its he she they we i you his her their our my your one some many most all no each both such what who why how which
    our results methods conclusions background objective patients nevertheless additionally overall finally"""
)
"""Words that often open a sentence, so that an end before them is one even after an abbreviation or a letter."""


def sentences(text: str) -> list[tuple[int, int]]:
    """Offsets of the sentences, in code points, in reading order. They hold every character that is no white space.

    >>> text = "Dr. Li gave 2.5 mg (Fig. 1). Did it help? It did."
    >>> [text[start:end] for start, end in sentences(text)]
    ['Dr. Li gave 2.5 mg (Fig. 1).', 'Did it help?', 'It did.']
    """
    found = []
    start = 0
    for end in [*_ends(text), len(text)]:
        inner = text[start:end]
        bare = inner.strip()
        if bare:
            first = start + len(inner) - len(inner.lstrip())
            found.append((first, first + len(bare)))
        start = end
    return found


def joined_sentences(texts: Sequence[str]) -> tuple[str, Offsets]:
    """Sentences as one text, separated as their script requires, and the offsets of each.

    >>> joined_sentences(["It works.", "Use it."])
    ('It works. Use it.', ((0, 9), (10, 17)))
    """
    parts: list[str] = []
    offsets, start = [], 0
    for text in texts:
        gap = between(parts[-1], text) if parts else ""
        start += len(gap)
        offsets.append((start, start + len(text)))
        parts += [gap, text]
        start += len(text)
    return "".join(parts), tuple(offsets)


def _ends(text: str) -> Iterator[int]:
    """Places at which sentences end, in order."""
    begin = 0
    for start, stop in _blocks(text):
        for match in _END.finditer(text, start, stop):
            if _is_end(text, begin, match, stop):
                yield match.end()
                begin = match.end()
        yield stop
        begin = stop


def _is_end(text: str, begin: int, match: regex.Match[str], stop: int) -> bool:
    """Whether a sentence that began at `begin` ends with a match of `_END`. `stop`: where its block ends."""
    marks, start, end = match[0], match.start(), match.end()
    if end >= stop:
        return False  # the block ends it
    if marks[0] in _EAST:
        number = marks == "．" and text[start - 1 : start].isdigit() and text[end].isdigit()
        return not number and (marks[-1] in _EAST or _AFTER_QUOTE.match(text, end) is None)
    following = _NEXT.match(text, end, stop)
    word = following[1] if following is not None else ""
    if word.islower() and word[0].islower():
        return False
    if marks[0] != "." or marks[1:2] == ".":
        return True
    before = text[max(begin, start - LONGEST) : start]
    if begin >= start - LONGEST and _NUMBERING.fullmatch(before.strip()):
        return False
    last = _LAST.search(before)
    return last is None or _ends_after(last[0], word)


def _ends_after(last: str, word: str) -> bool:
    """Whether a sentence ends after a word with a full stop, before another word."""
    name = last.lower()
    if name in _INNER:
        return False
    if name in _BEFORE_NUMBERS or (len(last) == 1 and last.islower()):
        return len(word) > 1 and not any(map(str.isdigit, word))
    if name in _LAST_OR_INNER or (name in _TITLES and last[0].isupper()) or _INITIALS.fullmatch(last):
        return word.lower() in _OPENERS
    return True


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Parts of a text that line breaks end: paragraphs, and lines that were not wrapped."""
    breaks = [(match.start(), match.end()) for match in _LINE_BREAK.finditer(text)]
    starts = [0, *(end for _, end in breaks)]
    stops = [*(start for start, _ in breaks), len(text)]
    lines = list(zip(starts, stops, strict=True))
    begin, first = 0, 0
    while first < len(lines):
        last = first
        while last + 1 < len(lines) and text[slice(*lines[last + 1])].strip():
            last += 1
        width = max(WRAPPED, *(stop - start for start, stop in lines[first : last + 1]))
        for k in range(first, last):
            word = _NEXT.match(text, lines[k + 1][0])
            size = len(word[0]) if word is not None else 0
            if lines[k][1] - lines[k][0] + 1 + size <= width:
                yield begin, lines[k][1]
                begin = lines[k][1]
        yield begin, lines[last][1]
        begin, first = lines[last][1], last + 1
