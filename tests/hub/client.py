"""The client of `huggingface_hub` on an imitation of the Hub, with an empty cache: a fixture to import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants as constants
import pytest
from huggingface_hub.utils import close_session

from hub.imitation import WRITER, Hub, imitated_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An imitation that the client asks. HF_ENDPOINT and the like are read when it is imported, long before."""
    with imitated_hub() as made:
        values = {
            "ENDPOINT": made.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": made.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(tmp_path / "hub-cache"),
            "HF_TOKEN_PATH": str(tmp_path / "no-token"),
        }
        for key, value in values.items():
            monkeypatch.setattr(constants, key, value)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        close_session()
        yield made
        close_session()
