"""ARCHITECTURE.md names the import order that is enforced, and files that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "manyheads"
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_import_order_is_the_one_that_is_enforced() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    block = next(block for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) if block.startswith("cli >"))
    assert [layer.strip() for layer in block.split(">")] == [layer.replace("manyheads.", "") for layer in layers]


def test_every_file_and_folder_it_names_exists() -> None:
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", PAGE))
    assert len(named) > 60
    folders = {path for path in SOURCE.rglob("*") if path.is_dir()}
    for name in sorted(named - {"src/manyheads/"}):
        known = (SOURCE / name).exists() or any((folder / name).exists() for folder in folders)
        assert known, f"ARCHITECTURE.md names {name}, which is not in src/manyheads"


def test_every_room_is_named() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    table = PAGE.partition("## Rooms")[2].partition("Imports go one way")[0]
    assert {room for room in rooms if f"`{room}/`" not in table} == set()
