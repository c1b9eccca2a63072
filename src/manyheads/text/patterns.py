"""Whether a regular expression of an untrusted tokenizer runs in reasonable time.

Tokenizers evaluate expressions by backtracking. Some take exponential time on a few dozen characters, and the engine panics
when it gives up. So an expression is checked by its form, before it is used. Refused are
- repeated groups whose content varies: `(a+)+`, `(a|b)*`, `(a{1,9}){2,}`; optional groups are allowed;
- more than one open repetition followed by something that can fail: `.*.*;` takes cubic time;
- back references, recursion, conditions and other features that no tokenizer needs.
All others take at most quadratic time, on a run of characters without any match. The expressions of GPT-2, GPT-4, o200k,
Llama 3, CLIP, OLMo and DeepSeek pass; most encoders have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import regex

LONGEST = 4096
"""Characters; the longest in use has 600."""
MANY = 32
"""Repetitions from which `{n,m}` counts as open."""
_TOKEN = regex.compile(
    r"(?P<reference>\\(?:[1-9]|k[<'{]|g[<'{]))"
    r"|(?P<atom>\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|[^bBAzZG]))"
    r"|(?P<anchor>\\[bBAzZG]|[\^$])"
    r"|(?P<unsupported>\(\?(?:[({~]|<?\*)|\(\*)"
    r"|(?P<ahead>\(\?(?:[=!]|<[=!]))"
    r"|(?P<flags>\(\?[a-zA-Z-]+\))"
    r"|(?P<group>\((?:\?(?:[a-zA-Z-]*:|>|<\w+>|'\w+'))?)"
    r"|(?P<close>\))"
    r"|(?P<either>\|)"
    r"|(?P<times>[*+?][?+]?|\{\d*,?\d*\}\??)"
    r"|(?P<other>.)",
    regex.DOTALL,
)


@dataclass(slots=True)
class _Group:
    """A group, as far as it has been read."""

    looks: bool = False
    """It is a look-ahead or look-behind: it can fail."""
    varies: bool = False
    """Its content can match in several lengths or ways."""
    worst: int = 0
    """Maximum over its branches: open repetitions followed by something that can fail."""
    hangs: int = 0
    """Maximum over its branches: open repetitions at the end."""
    open: int = 0
    """Open repetitions of this branch not followed by anything yet."""
    behind: int = 0
    """Open repetitions of this branch that are."""

    def add(self, part: _Group, *, optional: bool) -> None:
        """Add a complete part to the current branch."""
        if not optional:
            self.behind, self.open = self.behind + self.open, 0
        self.behind += part.worst
        if not part.looks:
            self.open += part.hangs
            self.varies |= part.varies

    def repeat(self, part: _Group, times: str) -> str | None:
        """Add a repeated part. Returns a reason to refuse that, or None."""
        least, most = _bounds(times)
        if most > 1 and part.varies:
            return f"repeats ({times}) a group whose content varies, as in (a+)+"
        self.add(part, optional=least == 0)
        self.varies |= least != most
        self.open += most >= MANY
        return None

    def end_branch(self) -> None:
        """End the current branch."""
        self.worst, self.hangs = max(self.worst, self.behind), max(self.hangs, self.open)
        self.behind = self.open = 0


def refusal(pattern: str) -> str | None:
    """Why an expression is refused, to follow "it"; None if it is accepted.

    >>> refusal(r"(\\w+)+;")
    'repeats (+) a group whose content varies, as in (a+)+'
    """
    if len(pattern) > LONGEST:
        return f"has {len(pattern):,} characters"
    stack: list[_Group] = [_Group()]
    last: _Group | None = None  # the last part, which may still be repeated
    place = 0
    while place < len(pattern):
        kind, text = _token(pattern, place)
        place += len(text)
        if kind in ("reference", "unsupported"):
            return f"uses {text[:10]!r}"
        if kind == "times" and last is not None:
            reason = stack[-1].repeat(last, text)
            if reason:
                return reason
            last = None
            continue
        if last is not None:
            stack[-1].add(last, optional=False)
        last = None
        if kind in ("group", "ahead"):
            stack.append(_Group(looks=kind == "ahead"))
        elif kind == "close" and len(stack) > 1:
            last = stack.pop()
            last.end_branch()
        elif kind == "either":
            stack[-1].end_branch()
            stack[-1].varies = True
        elif kind != "flags":
            last = _Group()
    return _reason(stack, last)


def _reason(stack: list[_Group], last: _Group | None) -> str | None:
    """Close all open groups at the end of an expression. Returns a reason to refuse it, or None."""
    while stack:
        group = stack.pop()
        if last is not None:
            group.add(last, optional=False)
        group.end_branch()
        last = group
    return "has two open repetitions followed by something, as in .*.*;" if last and last.worst > 1 else None


def _token(pattern: str, place: int) -> tuple[str, str]:
    """Kind and text of the token at a place."""
    if pattern[place] == "[":
        return "other", pattern[place : _class_end(pattern, place)]
    found = _TOKEN.match(pattern, place)
    return (str(found.lastgroup), found[0]) if found else ("unsupported", pattern[place])


def _bounds(times: str) -> tuple[int, int]:
    unbounded = 1 << 30
    if times[0] != "{":
        return {"*": (0, unbounded), "+": (1, unbounded), "?": (0, 1)}[times[0]]
    low, comma, high = times.rstrip("?").strip("{}").partition(",")
    least = int(low[:9] or 0)
    return least, least if not comma else int(high[:9]) if high else unbounded


def _class_end(pattern: str, start: int) -> int:
    """The place after a character class, which may contain others."""
    depth, place = 0, start
    while place < len(pattern):
        character = pattern[place]
        if character == "\\":
            place += 1
        elif character == "[":
            depth += 1
            if pattern[place + 1 : place + 2] == "^":
                place += 1
            if pattern[place + 1 : place + 2] == "]":  # the first character of a class is itself
                place += 1
        elif character == "]":
            depth -= 1
            if not depth:
                return place + 1
        place += 1
    return place
