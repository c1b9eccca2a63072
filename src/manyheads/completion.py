"""Completion scripts for shells, made from the command's own parser.

Made by shtab, which writes a script once; argcomplete would start Python at every press of the tab key.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import shtab

from manyheads.arguments import parser

FILES = frozenset({"MODEL", "INPUT", "ROWS"})
"""Arguments that may be paths without being parsed as such."""


def script(shell: str, run: Mapping[str, Callable[[argparse.Namespace], int]]) -> str:
    """The script for `bash` or `zsh`."""
    top = parser(run)
    _complete_paths(top)
    found: str = shtab.complete(top, shell=shell)
    return found


def _complete_paths(made: argparse.ArgumentParser) -> None:
    """Mark the arguments that are paths, in all verbs."""
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_paths(inner)
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.type is Path or action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
