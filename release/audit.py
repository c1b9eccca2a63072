"""`make audit`: are there known vulnerabilities in what manyheads is tested with, or in what its extras install?

    python release/audit.py [--service pypi|osv]

What is audited: every pin of constraints.txt, and what pip chooses today for all extras under those pins.

Decided here:
- pip-audit calls a package that its service does not know "skipped" and ends well: with a mirror that serves files but no
  advisories it finds nothing wrong with anything. So the service must first find what is known of an old PyYAML.
- A package that was skipped fails the audit: it was not audited.

Exit status 0: nothing known. 1: vulnerabilities, one line each. 2: the audit could not be made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[1]
PROBE = "PyYAML==5.3"
"""It has CVE-2020-1747 and CVE-2020-14343, known since 2020 and 2021."""


class AuditError(Exception):
    """The audit could not be made; the message says why."""


def requirements_of(pyproject: str) -> list[str]:
    """All requirements of a project, those of its extras included."""
    project = tomllib.loads(pyproject)["project"]
    return [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]


def pins_of(constraints: str) -> list[str]:
    """The `name==version` lines of a constraints file."""
    return [pin for line in constraints.splitlines() if "==" in (pin := line.partition("#")[0].strip())]


def merged(*lists: Iterable[str]) -> list[str]:
    """`name==version` of several lists, each once, without the names of builds (`+cpu`): advisories know none."""
    found = set()
    for pin in (pin for pins in lists for pin in pins):
        name, _, version = pin.partition("==")
        found.add(f"{canonicalize_name(name)}=={Version(version).public}")
    return sorted(found)


def resolved(requirements: Sequence[str], constraints: Path) -> list[str]:
    """What pip would install for these requirements today, as `name==version`. Nothing is installed. Raises AuditError."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-",
         "--disable-pip-version-check", "--constraint", str(constraints), *requirements],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AuditError(f"pip finds no set of packages for the extras: {_last_line(done.stderr)}")
    chosen = json.loads(done.stdout)["install"]
    return [f"{one['metadata']['name']}=={one['metadata']['version']}" for one in chosen]


def audited(pins: Sequence[str], service: str) -> list[dict[str, Any]]:
    """What pip-audit says of each pin. Raises AuditError when it says nothing that can be read."""
    with TemporaryDirectory() as folder:
        listed = Path(folder) / "pins.txt"
        listed.write_text("\n".join(pins) + "\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--requirement", str(listed), "--no-deps", "--disable-pip",
             "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off",
             "--cache-dir", str(Path(folder) / "cache")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        raise AuditError(f"the advisory service '{service}' cannot be reached: {_last_line(done.stderr)}") from None
    return found


def vulnerabilities(answers: Iterable[dict[str, Any]]) -> list[str]:
    """A line for each known vulnerability."""
    return [
        f"{answer['name']} {answer['version']}: {', '.join([one['id'], *one.get('aliases', ())])}; "
        f"mended in {', '.join(one['fix_versions']) or 'no version yet'}"
        for answer in answers
        for one in answer.get("vulns", ())
    ]


def unaudited(answers: Sequence[dict[str, Any]], pins: Sequence[str]) -> list[str]:
    """Pinned packages that the service said nothing about."""
    spoken = {canonicalize_name(answer["name"]) for answer in answers if "skip_reason" not in answer}
    return sorted({canonicalize_name(pin.partition("==")[0]) for pin in pins} - spoken)


def audit(service: str) -> list[str]:
    """Vulnerabilities of the project's packages. Raises AuditError unless each of them was audited."""
    if not vulnerabilities(audited([PROBE], service)):
        raise AuditError(f"the advisory service '{service}' knows nothing of {PROBE}, which has known vulnerabilities: "
                         "it serves packages but no advisories")  # fmt: skip
    constraints = REPOSITORY / "constraints.txt"
    requirements = requirements_of((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    pins = merged(pins_of(constraints.read_text(encoding="utf-8")), resolved(requirements, constraints))
    answers = audited(pins, service)
    found, left = vulnerabilities(answers), unaudited(answers, pins)
    sys.stdout.write(f"{len(pins) - len(left)} of {len(pins)} packages were audited with '{service}'\n")
    if left:
        sys.stdout.write("".join(f"{line}\n" for line in found))
        raise AuditError(f"{len(left)} packages are unknown to '{service}': {', '.join(left[:5])}")
    return found


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1][:300]


def main(arguments: Sequence[str]) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="where advisories come from")
    chosen = parser.parse_args(arguments)
    try:
        found = audit(chosen.service)
    except AuditError as error:
        where = "run it where pypi.org, or api.osv.dev (SERVICE=osv), can be reached"
        sys.stderr.write(f"make audit: NOT AUDITED: {error}; {where}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in found) or "No known vulnerabilities\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
