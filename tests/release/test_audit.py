"""The audit covers every pin, and never calls silence of an advisory service good news."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
KNOWN = {
    "name": "pyyaml",
    "version": "5.3",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["5.4"]}],
}


@pytest.fixture
def answering(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts answers in the place of pip-audit's: the service's for the probe, and for each package by its name."""

    def use(probe: dict[str, Any], answers: dict[str, dict[str, Any]]) -> None:
        def audited(pins: list[str], service: str) -> list[dict[str, Any]]:
            if pins == [audit.PROBE]:
                return [probe]
            fine = [dict(zip(("name", "version"), pin.split("=="), strict=True)) | {"vulns": []} for pin in pins]
            return [answers.get(answer["name"], answer) for answer in fine]

        monkeypatch.setattr(audit, "audited", audited)
        monkeypatch.setattr(audit, "resolved", lambda requirements, constraints: ["ray==2.60.0", "torch==2.13.0+cpu"])

    return use


def test_every_pin_and_every_package_of_the_extras_is_audited_once_under_its_public_version(audit: ModuleType) -> None:
    pins = audit.merged(["Torch==2.13.0", "scipy_stubs==1.17.1.5"], ["torch==2.13.0+cpu", "ray==2.60.0"])
    assert pins == ["ray==2.60.0", "scipy-stubs==1.17.1.5", "torch==2.13.0"]


def test_requirements_of_all_extras_are_resolved(audit: ModuleType) -> None:
    found = audit.requirements_of((REPOSITORY / "pyproject.toml").read_text())
    for name in ("torch>=", "fastapi>=", "onnx>=", "ray[data]>=", "torchjd[quadprog-projector]>=", "pytest>="):
        assert any(one.startswith(name) for one in found), name


def test_service_that_finds_nothing_wrong_with_a_known_bad_package_fails_the_audit(
    audit: ModuleType, answering: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answering({"name": "pyyaml", "skip_reason": "Dependency not found on PyPI and could not be audited"}, {})
    assert audit.main([]) == 2
    assert "NOT AUDITED: the advisory service 'pypi' knows nothing of PyYAML==5.3" in capsys.readouterr().err


def test_package_that_the_service_skipped_fails_the_audit(
    audit: ModuleType, answering: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(KNOWN, {"ray": {"name": "ray", "skip_reason": "not found"}})
    assert audit.main(["--service", "osv"]) == 2
    assert "NOT AUDITED: 1 packages are unknown to 'osv': ray" in capsys.readouterr().err


def test_vulnerability_is_printed_with_its_names_and_the_mended_version(
    audit: ModuleType, answering: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"name": "torch", "version": "2.13.0", "vulns": [{"id": "GHSA-1", "aliases": ["CVE-2"], "fix_versions": []}]}
    answering(KNOWN, {"torch": bad})
    assert audit.main([]) == 1
    assert "torch 2.13.0: GHSA-1, CVE-2; mended in no version yet\n" in capsys.readouterr().out


def test_nothing_known_of_any_package_is_success_and_says_how_many(
    audit: ModuleType, answering: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(KNOWN, {})
    assert audit.main([]) == 0
    said = capsys.readouterr().out
    count = len(audit.pins_of((REPOSITORY / "constraints.txt").read_text()))
    assert f"{count} of {count} packages were audited with 'pypi'\nNo known vulnerabilities\n" in said


def test_answer_that_cannot_be_read_is_no_good_news(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> Any:
        return type("Done", (), {"stdout": "", "stderr": "Traceback\nConnectionError: no such host\n", "returncode": 1})

    monkeypatch.setattr(audit.subprocess, "run", run)
    with pytest.raises(audit.AuditError, match=r"'osv' cannot be reached: ConnectionError: no such host"):
        audit.audited(["a==1"], "osv")
