"""Docstrings for mkdocstrings: the examples, which doctest runs, become blocks of code."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^(?!\s*$).*\n?)*)+", re.MULTILINE)


class Examples(griffe.Extension):
    """Puts a fence around every example.

    >>> EXAMPLE.sub("<example>", "Adds.\\n\\n>>> 1 + 1\\n2\\n\\nNo more.")
    'Adds.\\n\\n<example>\\nNo more.'
    """

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring is not None and ">>> " in obj.docstring.value:
            fenced = EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", obj.docstring.value)
            obj.docstring.value = fenced
