"""The facts of a manifest."""

from __future__ import annotations

import importlib.metadata
import platform

import pytest

from manyheads.bundle.manifest import _version, versions


def test_versions_are_those_of_the_installed_packages_and_each_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def version(name: str) -> str:
        asked.append(name)
        if name == "transformers":
            raise importlib.metadata.PackageNotFoundError(name)
        return f"{name} 1"

    _version.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", version)
    try:
        found = versions()
        expected = {"python": platform.python_version(), "manyheads": "manyheads 1", "torch": "torch 1",
                    "transformers": "unknown", "tokenizers": "tokenizers 1"}  # fmt: skip
        assert found == expected
        found.clear()
        assert versions() == expected, "who changes an answer changes no other"
    finally:
        _version.cache_clear()
    assert asked == ["manyheads", "torch", "transformers", "tokenizers"]
