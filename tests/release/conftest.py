"""The scripts of release/ as modules; they are no part of the package."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[2]


def _script(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "release"))
        return import_module(name)


@pytest.fixture(scope="session")
def distributions() -> ModuleType:
    return _script("distributions")


@pytest.fixture(scope="session")
def sbom() -> ModuleType:
    return _script("sbom")


@pytest.fixture(scope="session")
def audit() -> ModuleType:
    return _script("audit")


@pytest.fixture(scope="session")
def make_release() -> ModuleType:
    return _script("make_release")
