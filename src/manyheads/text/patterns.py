"""Whether a regular expression of a stranger's tokenizer can be trusted with time.

Tokenizers run expressions by backtracking. Some take exponential time on a few dozen characters, and what the engine gives
up on ends in a panic. Decided here: an expression is judged by its form, before it meets a text. Refused are
- repeated groups whose content varies: `(a+)+`, `(a|b)*`, `(a{1,9}){2,}`; a group that is there once or not at all is good;
- more than one open repetition with something behind it that can fail: `.*.*;` takes cubic time;
- references back, recursion, conditions and other means that no tokenizer needs.
What is left takes quadratic time at worst, on a run of characters without any match. The expressions of GPT-2, GPT-4,
o200k, Llama 3, CLIP, OLMo and DeepSeek pass; most encoders have none at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import regex

LONGEST = 4096
"""Characters; the longest in use has 600."""
MANY = 32
"""Repetitions from which on `{n,m}` counts as open."""
_TOKEN = regex.compile(
    r"(?P<reference>\\(?:[1-9]|k[<'{]|g[<'{]))"
    r"|(?P<atom>\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|[^bBAzZG]))"
    r"|(?P<anchor>\\[bBAzZG]|[\^$])"
    r"|(?P<strange>\(\?(?:[({~]|<?\*)|\(\*)"
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
    """What was read of a group so far."""

    looks: bool = False
    """It is a look ahead or behind: it can fail."""
    varies: bool = False
    """Its content can match in several lengths or ways."""
    worst: int = 0
    """Over its branches: open repetitions with something behind them that can fail."""
    hangs: int = 0
    """Over its branches: open repetitions at the end of one."""
    open: int = 0
    """Open repetitions of this branch that have nothing behind them yet."""
    behind: int = 0
    """Those of this branch that have."""

    def takes(self, part: _Group, *, optional: bool) -> None:
        """A part of the branch is whole: what it holds is now in this group."""
        if not optional:
            self.behind, self.open = self.behind + self.open, 0
        self.behind += part.worst
        if not part.looks:
            self.open += part.hangs
            self.varies |= part.varies

    def repeated(self, part: _Group, times: str) -> str | None:
        """A part is repeated. A reason to refuse that, or None."""
        least, most = _bounds(times)
        if most > 1 and part.varies:
            return f"repeats ({times}) a group whose content varies, as in (a+)+"
        self.takes(part, optional=least == 0)
        self.varies |= least != most
        self.open += most >= MANY
        return None

    def ended(self) -> None:
        """The branch ends."""
        self.worst, self.hangs = max(self.worst, self.behind), max(self.hangs, self.open)
        self.behind = self.open = 0


def refusal(pattern: str) -> str | None:
    """Why an expression is refused, to follow "it"; None for a good one."""
    if len(pattern) > LONGEST:
        return f"has {len(pattern):,} characters"
    stack: list[_Group] = [_Group()]
    last: _Group | None = None  # what was read last, while it is open whether it is repeated
    place = 0
    while place < len(pattern):
        kind, text = _token(pattern, place)
        place += len(text)
        if kind in ("reference", "strange"):
            return f"uses {text[:10]!r}"
        if kind == "times" and last is not None:
            reason = stack[-1].repeated(last, text)
            if reason:
                return reason
            last = None
            continue
        if last is not None:
            stack[-1].takes(last, optional=False)
        last = None
        if kind in ("group", "ahead"):
            stack.append(_Group(looks=kind == "ahead"))
        elif kind == "close" and len(stack) > 1:
            last = stack.pop()
            last.ended()
        elif kind == "either":
            stack[-1].ended()
            stack[-1].varies = True
        elif kind != "flags":
            last = _Group()
    return _reason(stack, last)


def _reason(stack: list[_Group], last: _Group | None) -> str | None:
    """Why an expression is refused that was read to its end: its groups that are still open are closed."""
    while stack:
        group = stack.pop()
        if last is not None:
            group.takes(last, optional=False)
        group.ended()
        last = group
    return "has two open repetitions with something behind them, as in .*.*;" if last and last.worst > 1 else None


def _token(pattern: str, place: int) -> tuple[str, str]:
    """What stands at a place: its kind, and its text."""
    if pattern[place] == "[":
        return "other", pattern[place : _class_end(pattern, place)]
    found = _TOKEN.match(pattern, place)
    return (str(found.lastgroup), found[0]) if found else ("strange", pattern[place])


def _bounds(times: str) -> tuple[int, int]:
    unbounded = 1 << 30
    if times[0] != "{":
        return {"*": (0, unbounded), "+": (1, unbounded), "?": (0, 1)}[times[0]]
    low, comma, high = times.rstrip("?").strip("{}").partition(",")
    least = int(low[:9] or 0)
    return least, least if not comma else int(high[:9]) if high else unbounded


def _class_end(pattern: str, start: int) -> int:
    """The place behind a character class, which may hold others."""
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
