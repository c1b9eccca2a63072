"""Every Python example of the README and of docs/ runs, and those of the Python API pass a strict type check.

The examples of a page run in order, in one namespace and in a folder that has what the page assumes: a run file, its data and
its model. docs/serving.md and docs/frameworks.md run against a server (tests/serve/test_docs.py, test_frameworks.py).
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import manyheads as mh
from manyheads.bulk.run import Job, run_bulk
from manyheads.export import ExportRequest, export_model
from manyheads.start import train_run
from manyheads.tasks import TASK_TYPES
from manyheads.training.progress import Quiet
from report.samples import comparison
from toys import SENTENCES, write_jsonl, write_project

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"frameworks.md", "serving.md", "trackers.md"}
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
DRAWN = {
    "tour": ["token-classification", "What lowered fever?"],
    "dataframes": ["topic", "mood", "could you send me a bill"],
    "search-and-extraction": ["<div"],  # which passage is nearest depends on the model
    "shared-and-single": ["shared", "single"],
}
"""What the outputs of each notebook show."""


def blocks(page: Path) -> list[tuple[int, str]]:
    """Line and text of each Python example."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start()) + 1, match.group(1)) for match in found]


PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if blocks(page)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("python")
    shutil.copytree(toy_encoder, folder / "encoder")
    run = write_project(folder, Path("encoder"))
    train_run(run, folder / "runs/demo", ["training.steps=2", "training.save_every=0"], Quiet())
    return folder


def answered(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    write_jsonl(folder / "rows.jsonl", [{"text": text} for text in SENTENCES])
    run_bulk(Job(str(folder / "runs/demo"), folder / "rows.jsonl", folder / "answers"), None, lambda _: None)
    return {}


def exported(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    export_model(folder / "runs/demo", ExportRequest("onnx", folder / "demo-onnx", "section"), lambda _: None)
    return {}


def compared(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    (folder / "compared").mkdir()
    (folder / "compared/compare.json").write_text(json.dumps(comparison()), encoding="utf-8")
    return {}


def with_own_type(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.syspath_prepend(str(ROOT / "examples" / "ordinal-regression"))
    patch.setattr(TASK_TYPES, "_known", dict(TASK_TYPES._known))
    return {"OrdinalRegression": importlib.import_module("manyheads_ordinal").OrdinalRegression}


def searching(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The model of the page's run file, trained on its rows."""
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^```yaml\n(encoder.*?)^```$", page, re.MULTILINE | re.DOTALL)
    pair, many = (json.loads(row) for row in re.findall(r"^```json\n(\{.*?\})\n```$", page, re.MULTILINE))
    write_jsonl(folder / "pairs.jsonl", [pair] * 4)
    write_jsonl(folder / "lists.jsonl", [many] * 4)
    (folder / "search.yaml").write_text(text.replace("all-MiniLM-L6-v2", "encoder"), encoding="utf-8")
    train_run(folder / "search.yaml", folder / "runs/search", ["training.steps=2", "encoder.max_length=48", *(
        f"tasks.{name}.data.validation={file}.jsonl" for name, file in (("search", "pairs"), ("ranking", "lists")))], Quiet())  # fmt: skip
    return {}


def chatting(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A file of chats."""
    chat = {"messages": [{"role": "user", "content": "It broke."}, {"role": "assistant", "content": "bad"}]}
    (folder / "chats.jsonl").write_text(json.dumps(chat) + "\n", encoding="utf-8")
    return {}


def naming(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The models of the page's run files, trained on its rows."""
    page = (ROOT / "docs" / "labels-by-name.md").read_text(encoding="utf-8")
    runs, [intents], [notes] = (re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
                                for kind in ("yaml", "csv", "json"))  # fmt: skip
    for text, task, name, file, rows in zip(runs, ("intent", "entities"), ("intents", "notes"), ("intents.csv", "notes.jsonl"),
                                            (intents, notes), strict=True):  # fmt: skip
        (folder / file).write_text(rows, encoding="utf-8")
        (folder / f"{name}.yaml").write_text(text.replace("all-MiniLM-L6-v2", "encoder"), encoding="utf-8")
        few = ["training.steps=2", "encoder.max_length=48", f"tasks.{task}.data.validation={file}"]
        train_run(folder / f"{name}.yaml", folder / "runs" / name, few, Quiet())
    return {}


ASSUMED: dict[str, Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]] = {
    "bulk.md": answered, "export.md": exported, "report.md": compared, "new-task.md": with_own_type,
    "search.md": searching, "labels-by-name.md": naming, "data.md": chatting,
}  # fmt: skip
"""What a page needs besides a model, and the names that its text has introduced."""


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name)
def test_the_python_examples_of_a_page_run(page: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    # A Hub that has one model, and takes any.
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(project / "runs/demo"))
    monkeypatch.setattr("manyheads.hub.push.push_folder", lambda _, repo, **__: f"https://hub/{repo}")
    names = ASSUMED[page.name](project, monkeypatch) if page.name in ASSUMED else {}
    for line, text in blocks(page):
        code = compile("\n" * line + text, str(page), "exec", dont_inherit=True)  # errors name the line of the page
        exec(code, names)


@pytest.mark.slow  # a minute without mypy's cache
def test_the_examples_of_the_python_api_pass_a_strict_type_check(tmp_path: Path) -> None:
    script = tmp_path / "examples.py"
    script.write_text("\n".join(text for _, text in blocks(ROOT / "docs" / "python.md")), encoding="utf-8")
    wrong = tmp_path / "wrong.py"
    wrong.write_text('import manyheads as mh\nmh.load("m").entities("t")[0][0]["lable"]\n', encoding="utf-8")
    for path, status in ((script, 0), (wrong, 1)):
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--allow-untyped-calls",  # Tensor.backward has no types
             "--config-file", str(ROOT / "pyproject.toml"), str(path)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
    assert "lable" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws_models_and_answers(path: Path, project: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("all-MiniLM-L6-v2", "encoder")
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(project)}}).execute()
    drawn = "".join(output["data"]["text/html"] for cell in notebook.cells for output in cell.get("outputs", [])
                    if "text/html" in output.get("data", {}))  # fmt: skip
    for shown in DRAWN[path.stem]:
        assert shown in drawn


def test_notebooks_are_committed_with_outputs_and_without_paths_of_a_machine() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(DRAWN)
    for path in NOTEBOOKS:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in cells), f"{path.name}: run it from its first cell to its last"
        assert cells[-1].outputs
        outputs = [output for cell in cells for output in cell.outputs]
        assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
        assert not re.search("/(home|tmp|work|root|Users)/", json.dumps(outputs))


def test_every_public_name_is_on_the_page_of_the_python_api() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    methods = [name for name in dir(mh.Model) if not name.startswith("_")]
    missing = [name for name in (*methods, *mh.__all__) if not re.search(rf"\b{name}\b", page)]
    assert missing == []
