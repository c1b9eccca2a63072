"""Results, one file each: facts, scores and the answer to every row, under a key of all that determines them.

A peer's key holds the versions of its packages and of its method, so it never runs twice. Ours holds a hash of the library's
source, so it runs again whenever the library changed. `summary` is what is committed: everything but answers; the evidence of
intervals is in a compressed file beside it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import manyheads
from cells.draw import VERSION, Cell, On
from cells.methods import METHODS
from manyheads.durable import replace_bytes, replace_file

Result = dict[str, Any]


def key(cell: Cell, method: str, on: On) -> dict[str, Any]:
    """What determines a result."""
    made_by: dict[str, Any] = {name: version(name) for name in METHODS[method].packages}
    if method == "ours":
        made_by = {"source": source_hash()}
    return {"set": cell.set, "size": cell.size, "seed": cell.seed, "method": method, "on": on,
            "rows_version": VERSION, "method_version": METHODS[method].version, "made_by": made_by}  # fmt: skip


def path(work: Path, key: Mapping[str, Any]) -> Path:
    name = f"{key['set']}-{key['size'] or 'all'}-seed{key['seed']}-{key['method']}-{key['on']}"
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return work / "results" / f"{name}-{digest[:10]}.json.gz"


def save(work: Path, result: Result) -> None:
    to = path(work, result["key"])
    to.parent.mkdir(parents=True, exist_ok=True)
    replace_bytes(to, gzip.compress(json.dumps(result).encode(), mtime=0))


def load(work: Path) -> list[Result]:
    """All results of a work folder, oldest first."""
    found = [json.loads(gzip.decompress(each.read_bytes())) for each in (work / "results").glob("*.json.gz")]
    return sorted(found, key=lambda result: result["date"])


def summary(results: list[Result]) -> list[Result]:
    return [
        {name: value for name, value in result.items() if name not in ("answers", "evidence")} for result in results
    ]


def write_summary(file: Path, results: list[Result]) -> list[Result]:
    """Adds results to those of a file, one line each; returns them all, oldest first."""
    known = read_summary(file)
    evidence = {_name(result): result["evidence"] for result in [*known, *results] if "evidence" in result}
    merged = {_name(result): result for result in summary([*known, *results])}
    ordered = [merged[name] for name in sorted(merged)]
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(result, sort_keys=True) for result in ordered)
    replace_file(file, f'{{"results": [\n{lines}\n]}}\n')
    replace_bytes(_evidence_file(file), gzip.compress(json.dumps(evidence, sort_keys=True).encode(), mtime=0))
    return sorted(ordered, key=lambda result: result["date"])


def read_summary(file: Path) -> list[Result]:
    if not file.exists():
        return []
    found: list[Result] = json.loads(file.read_text(encoding="utf-8"))["results"]
    kept = _evidence_file(file)
    evidence = json.loads(gzip.decompress(kept.read_bytes())) if kept.exists() else {}
    return [
        {**result, "evidence": evidence[name]} if (name := _name(result)) in evidence else result for result in found
    ]


def _name(result: Result) -> str:
    return json.dumps(result["key"], sort_keys=True)


def _evidence_file(summary: Path) -> Path:
    return summary.with_suffix(".evidence.json.gz")


def source_hash() -> str:
    root = Path(manyheads.__file__).parent
    digest = hashlib.sha256()
    for each in sorted([*root.rglob("*.py"), *root.rglob("*.yaml")]):
        digest.update(f"{each.relative_to(root)}\n".encode() + each.read_bytes())
    return digest.hexdigest()[:12]
