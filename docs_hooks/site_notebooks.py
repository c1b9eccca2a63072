"""Notebooks as pages: their prose, code, and the outputs that are stored in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def page(path: Path) -> str:
    """The page of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *(_shown(output) for output in cell["outputs"])]


def _shown(output: dict[str, Any]) -> str:
    """An output: drawn, if it is HTML, otherwise as text."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "text/html" in data:
        lines = "".join(data["text/html"]).splitlines()
        # A blank line would end the block of HTML.
        return '<div class="output">\n' + "\n".join(line for line in lines if line.strip()) + "\n</div>"
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```"
