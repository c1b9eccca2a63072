"""An argument parser with one-sentence errors, and the types of option values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from manyheads.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    late: Callable[[], None] | None = None
    """Completes the help, when it is printed, with text that needs an import."""

    def format_help(self) -> str:
        """The completed help."""
        if self.late is not None:
            self.late()
        return super().format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Exit with status 2 if anything is left over; a command's own parser knows the options to propose."""
        options, rest = super().parse_known_args(args, namespace)
        unknown = next((name.partition("=")[0] for name in rest if name.startswith("-")), None)
        if unknown is not None:
            self.error(f"there is no option {unknown}{_hint(unknown, self._option_string_actions)}")
        if rest:
            self.error(f"too many arguments: {' '.join(rest)}; {self._advice(rest)}")
        return options, rest

    def _advice(self, rest: list[str]) -> str:
        pairs = next((name for name, action in self._option_string_actions.items() if action.metavar == "KEY=VALUE"), None)
        if pairs and all("=" in word for word in rest):
            return f"give each KEY=VALUE its own {pairs}"
        if "--seeds" in self._option_string_actions and all(word.strip(",").isdecimal() for word in rest):
            return "give seeds with commas and no spaces, such as --seeds 0,1,2"
        return "quote a value with spaces"

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        see = " See" if message.endswith("?") else "; see"
        self.exit(UsageError.exit_status, f"error: {message}{see} {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise ArgumentError for a value that is not among the choices, with the nearest one."""
        if action.choices is not None and value not in action.choices:
            choices = list(map(str, action.choices))
            near = _hint(str(value), choices) or f"; choose from {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"there is no {value!r}{near}")


def _hint(name: str, known: Iterable[str]) -> str:
    """The nearest name as a question, to append to a message; empty if none is near. Dashes do not count.

    `text/values.did_you_mean` does not ignore dashes, and this module may not import it.
    """
    from difflib import get_close_matches  # here, so that commands without mistakes start fast

    bare = {one.lstrip("-"): one for one in known}
    near = get_close_matches(name.lstrip("-"), bare, 1)
    return f"; did you mean '{bare[near[0]]}'?" if near else ""


class Once(argparse.Action):
    """An option that may be given once; plain argparse would silently take the last value."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        """Exit with status 2 on a second value."""
        before = getattr(options, self.dest)
        if before is not None:
            parser.error(f"{option} was given twice ({before} and {value}); give it once")
        setattr(options, self.dest, value)


def seeds(text: str) -> tuple[int, ...]:
    """A comma-separated list of integers."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of integers such as 0,1,2") from None


def _number(text: str) -> float:
    """NaN, which is within no bounds, for other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def positive_number(text: str) -> float:
    """A number above 0, for argparse."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, seen {text!r}")
    return value


def positive(text: str) -> int:
    """A whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, seen {text!r}")
    return value


def margin(text: str) -> float:
    """A difference of scores between 0 and 1."""
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be a fraction between 0 and 1, such as 0.01 for 1 point, seen {text!r}")
    return value


def score_value(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, seen {text!r}")
    return value


def column(text: str) -> tuple[str, str]:
    """Our name of a column, and that of the data.

    >>> column("text=body")
    ('text', 'body')
    """
    ours, equals, theirs = text.partition("=")
    if not (ours and equals and theirs):
        raise argparse.ArgumentTypeError(f"must be OURS=THEIRS, such as text=body, seen {text!r}")
    return ours, theirs


def port(text: str) -> int:
    """A port number."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, seen {text!r}")
    return int(text)
