"""An argument parser with one-sentence errors, and the types of option values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
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

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(UsageError.exit_status, f"error: {message}; see {self.prog} --help\n")


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


def positive_number(text: str) -> float:
    """A number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
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


def score_value(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
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
