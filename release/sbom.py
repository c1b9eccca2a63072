"""The CycloneDX bill of materials: what an installed manyheads runs with, at the versions it was tested with.

Decided here:
- cyclonedx-py describes the environment of the project, licences included. Its graph also follows extras that nobody asked
  for, up to the test tools; so the packages and edges are taken from the packages' own metadata, markers evaluated.
- The packages are those that the run-time dependencies need. Extras (`manyheads[balance]`) and test tools are not in it.
- A version that is not the one of constraints.txt is refused: such a list would describe something that was not tested.
- No serial number; the time is that of the commit. Local versions (`torch 2.13.0+cpu`) are cut off: they name a build.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from distributions import KEPT_VARIABLES, ReleaseError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

Graph = dict[str, list[str]]
"""Packages by their normalised names, each with those that it needs."""
ROOT = "root-component"
"""What cyclonedx-py calls the project itself."""


def needed(direct: Sequence[str], installed: Mapping[str, Distribution]) -> Graph:
    """The packages that these requirements need, out of the installed ones. Raises ReleaseError when one is not there."""
    graph: Graph = {}
    asked: set[tuple[str, str]] = set()
    queue = [Requirement(text) for text in direct]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name not in installed:
            raise ReleaseError(f"{requirement} is not installed in the project's environment; run `make test` first")
        edges = graph.setdefault(name, [])
        for extra in ["", *sorted(requirement.extras)]:
            if (name, extra) in asked:
                continue
            asked.add((name, extra))
            wanted = [Requirement(text) for text in installed[name].requires or ()]
            wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})]
            edges += [canonicalize_name(one.name) for one in wanted]
            queue += wanted
    return {name: sorted(set(edges) - {name}) for name, edges in sorted(graph.items())}


def installed_in(site_packages: Path) -> dict[str, Distribution]:
    """The distributions of a folder by their normalised names."""
    return {canonicalize_name(found.metadata["Name"]): found for found in distributions(path=[str(site_packages)])}


def check_pins(graph: Graph, versions: Mapping[str, str], constraints: str) -> None:
    """Raises ReleaseError for a package whose version is not the one it is pinned to. Some have no pin: setuptools, CUDA."""
    lines = [line.partition("#")[0].strip() for line in constraints.splitlines()]
    split = (line.partition("==") for line in lines)
    pins: dict[str, str] = {canonicalize_name(name): pin for name, equals, pin in split if equals}
    for name in graph:
        if name in pins and public(versions[name]) != public(pins[name]):
            raise ReleaseError(f"{name} {versions[name]} is installed, but constraints.txt pins {pins[name]}; make the "
                               "environment anew (`make clean test`) or move the pin")  # fmt: skip


def public(version: str) -> str:
    """A version without the name of its build."""
    return Version(version).public


def narrowed(bom: Mapping[str, Any], graph: Graph, direct: Sequence[str]) -> dict[str, Any]:
    """A bill of an environment, cut down to a graph. Raises ReleaseError for a package that is not in the bill."""
    known: dict[str, Any] = {canonicalize_name(part["name"]): part for part in bom["components"]}
    missing = sorted(set(graph) - set(known))
    if missing:
        raise ReleaseError(f"cyclonedx-py found no {missing[0]} in the project's environment")
    parts, references = [], {}
    for name in graph:
        version = public(known[name]["version"])
        references[name] = purl = f"pkg:pypi/{name}@{version}"
        parts.append({**known[name], "bom-ref": purl, "purl": purl, "version": version})
    top = sorted({canonicalize_name(Requirement(text).name) for text in direct})
    edges = [{"ref": ROOT, "dependsOn": [references[name] for name in top]}]
    for name, needs in graph.items():
        on = [references[other] for other in needs]
        edges.append({"ref": references[name], **({"dependsOn": on} if on else {})})
    return {**bom, "components": parts, "dependencies": edges}


def sbom(tree: Path, site_packages: Path, time_s: int, hashes: Mapping[str, str]) -> str:
    """The bill of the project in a source tree, as JSON, validated. `hashes`: sha256 of the release's files by name."""
    direct = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    installed = installed_in(site_packages)
    graph = needed(direct, installed)
    versions = {name: installed[name].version for name in graph}
    check_pins(graph, versions, (tree / "constraints.txt").read_text(encoding="utf-8"))
    bom = narrowed(_environment(tree, site_packages, time_s), graph, direct)
    place = f"{sys.platform} {platform.machine()}, Python {sys.version_info[0]}.{sys.version_info[1]}"
    properties = [
        *bom["metadata"].get("properties", ()),
        {"name": "manyheads:resolved-for", "value": place},
        *({"name": f"manyheads:sha256:{name}", "value": value} for name, value in sorted(hashes.items())),
    ]
    metadata = {**bom["metadata"], "properties": properties}
    text = json.dumps({**bom, "metadata": metadata}, indent=1, sort_keys=True) + "\n"
    _validate(text)
    return text


def _environment(tree: Path, site_packages: Path, time_s: int) -> dict[str, Any]:
    """What cyclonedx-py says of the environment that a folder of packages belongs to."""
    variables = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    python = site_packages.parents[2] / "bin" / "python"
    done = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(tree / "pyproject.toml"),
         "--mc-type", "library", "--output-reproducible", "--spec-version", "1.6", "--of", "JSON", "-o", "-", str(python)],
        env={**variables, "SOURCE_DATE_EPOCH": str(time_s)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ReleaseError(f"cyclonedx-py failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _validate(text: str) -> None:
    """Raises ReleaseError unless the text follows the schema of CycloneDX 1.6."""
    from cyclonedx.schema import SchemaVersion  # type: ignore[import-not-found]  # in the environment of release tools
    from cyclonedx.validation.json import JsonStrictValidator  # type: ignore[import-not-found]

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise ReleaseError(f"the bill of materials does not follow its schema: {error}")
