"""docs/frameworks.md: its examples run with the real packages against a server. `make test-integrations` installs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import manyheads as mh
from manyheads.start import train_run
from manyheads.training.progress import Quiet
from serve.servers import serving
from test_every_head import tasks

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
HERE = "http://127.0.0.1:8000"
TEXTS = ["Aspirin lowered fever.", "Nausea was common."]
PACKAGES = {
    "LangChain": ("langchain_openai", "langchain_cohere"),
    "LlamaIndex": ("llama_index.embeddings.openai_like", "llama_index.postprocessor.cohere_rerank"),
    "Haystack": ("haystack", "haystack_integrations.components.rankers.cohere"),
}
IMPORTS = {"langchain": "LangChain", "llama_index": "LlamaIndex", "haystack": "Haystack"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # of packages that are none of ours
]


def blocks() -> dict[str, list[str]]:
    """The Python examples of each framework, in the order of the page, as they follow one another there."""
    found: dict[str, list[str]] = {name: [] for name in PACKAGES}
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        [name] = {IMPORTS[one] for one in re.findall(r"^from (langchain|llama_index|haystack)", text, re.MULTILINE)}
        found[name].append(text)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A folder with a model, `runs/demo`, that has the tasks of the page."""
    folder = tmp_path_factory.mktemp("frameworks")
    every = tasks(folder)
    some = {"entities": every["flat"], **{name: every[name] for name in ("section", "similarity", "ranking")}}
    run = {"encoder": {"name": str(toy_encoder), "max_length": 48}, "tasks": some, "training": {"steps": 6, "device": "cpu"}}
    (folder / "run.yaml").write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    train_run(folder / "run.yaml", folder / "runs/demo", ["training.save_every=0"], Quiet())
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder / "runs/demo", "--workers", "1") as server:
        yield server.url


@pytest.fixture
def ran(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the examples of a framework and returns the names that each leaves."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")

    def run(framework: str) -> list[dict[str, Any]]:
        for package in PACKAGES[framework]:
            pytest.importorskip(package)
        names: dict[str, Any] = {"__name__": "examples"}
        left = []
        for text in blocks()[framework]:
            exec(compile(text.replace(HERE, url), str(PAGE), "exec", dont_inherit=True), names)
            left.append(dict(names))
        return left

    return run


def assert_embeds(vectors: Any, query: Any, model: mh.Model) -> None:
    assert np.allclose(vectors, model.embed(TEXTS), atol=1e-5)
    assert np.allclose(query, model.embed(["What lowers fever?"])[0], atol=1e-5)


def assert_extracts(metadata: Any, model: mh.Model) -> None:
    expected = model.predict(TEXTS[0], ["entities", "section"])[0]["tasks"]
    assert metadata == {"page": 3, **expected}


def best(model: mh.Model) -> str:
    return model.rank("What lowers fever?", TEXTS[::-1])[0]["text"]


def test_langchain(ran: Any, folder: Path) -> None:
    embedding, ranking, extracting = ran("LangChain")
    model = mh.load(folder / "runs/demo")
    assert_embeds(embedding["vectors"], embedding["query"], model)
    assert [one.page_content for one in ranking["best"]] == [best(model)]
    assert ranking["best"][0].metadata["relevance_score"] > 0
    assert_extracts(extracting["found"][0].metadata, model)


def test_llama_index(ran: Any, folder: Path) -> None:
    embedding, ranking, extracting = ran("LlamaIndex")
    model = mh.load(folder / "runs/demo")
    assert_embeds(embedding["vectors"], embedding["query"], model)
    assert [one.text for one in ranking["best"]] == [best(model)]
    assert ranking["best"][0].score > 0
    assert_extracts(extracting["found"][0].metadata, model)
    assert "Chemical" not in extracting["found"][0].get_content("embed")


def test_haystack(ran: Any, folder: Path) -> None:
    embedding, ranking, extracting = ran("Haystack")
    model = mh.load(folder / "runs/demo")
    assert_embeds([one.embedding for one in embedding["embedded"]], embedding["query"], model)
    assert [one.content for one in ranking["best"]] == [best(model)]
    assert ranking["best"][0].score > 0
    assert_extracts(extracting["found"][0].meta, model)
