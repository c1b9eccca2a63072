"""The manifest of an output folder: which job it belongs to, and its parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from manyheads.bulk.parts import Part
from manyheads.durable import UNFINISHED, replace_file
from manyheads.errors import UsageError

MANIFEST = "manifest.json"
LOCK = ".lock"
FORMAT = 2
"""Format 1 identified input files by their first and last megabyte."""


def check_folders(source: Path, output: Path) -> None:
    """Raise UsageError if input and output overlap, or the output holds files of something else."""
    real_source, real_output = source.resolve(), output.resolve()
    if real_source == real_output or real_source in real_output.parents or real_output in real_source.parents:
        raise UsageError(
            f"{output} and the input {source} overlap, so answers would become input; give a separate folder"
        )
    if not real_output.is_dir() or (real_output / MANIFEST).exists():
        return
    own = (UNFINISHED, LOCK)  # of a job stopped before it wrote a manifest
    foreign = sorted(path.name for path in real_output.iterdir() if not path.name.endswith(own))
    if foreign:
        raise UsageError(f"{output} holds {foreign[0][:80]} but no {MANIFEST} of a job; give an empty folder")


def check_same_job(output: Path, job: Mapping[str, Any]) -> None:
    """Raise UsageError if the output's manifest belongs to another job, or is not one."""
    path = output / MANIFEST
    if not path.exists():
        return
    try:
        seen = {"keep": False, **json.loads(path.read_text(encoding="utf-8"))}  # older manifests have no `keep`
        changed = [key for key in job if seen.get(key) != job[key]]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); give an empty folder") from None
    if len(changed) >= len(job) - 1:
        raise UsageError(f"{path} is not the manifest of a job; give an empty folder")
    if changed:
        raise UsageError(f"{output} holds another job: {', '.join(changed)} differ; give an empty folder")


def write_manifest(output: Path, job: Mapping[str, Any], parts: Sequence[Part], **results: Any) -> None:
    """Write the manifest; `results` once all parts are finished."""
    facts = {**job, "parts": [asdict(part) for part in parts], **results}
    replace_file(output / MANIFEST, json.dumps(facts, indent=1) + "\n")


def read_parts(output: Path) -> list[Part] | None:
    """The parts of a job that has a manifest."""
    path = output / MANIFEST
    if not path.exists():
        return None
    return [Part(**part) for part in json.loads(path.read_text(encoding="utf-8"))["parts"]]
