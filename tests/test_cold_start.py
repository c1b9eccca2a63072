"""What answering a text imports in a fresh process: a cold start is mostly imports."""

# ruff: noqa: F401, F811  fixtures are imported
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exporting import ROWS, Exports, exports
from manyheads.cli import main

NEVER = ("transformers", "datasets", "pandas", "pyarrow", "scipy", "sklearn", "sympy", "peft", "accelerate", "huggingface_hub",
         "pydantic", "yaml", "fastapi", "torch._dynamo", "torch._inductor", "torch.distributed.tensor", "manyheads.config",
         "manyheads.training")  # fmt: skip
"""Nothing of this is needed to answer, and each takes 30 ms to 2 s."""
NO_TORCH = ("torch", "ssl", "http.client", "importlib.metadata", *NEVER)
CODE = """
import json, sys
from manyheads.cli import main
status = main(["predict", *sys.argv[2:]])
print(json.dumps([status, [name for name in json.loads(sys.argv[1]) if name in sys.modules]]))
"""


def imported(names: tuple[str, ...], *arguments: str) -> list[object]:
    """The exit status of `predict` in a process of its own, and which of these modules it imported."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(names), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.long
def test_answering_a_file_imports_torch_but_neither_transformers_nor_what_it_brings(
    exports: Exports, tmp_path: Path
) -> None:
    model, _, _ = exports("hard")
    rows, answers, again = (tmp_path / name for name in ("rows.jsonl", "answers.jsonl", "again.jsonl"))
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert imported(NEVER, str(model), str(rows), "-o", str(answers)) == [0, []]
    assert main(["predict", str(model), str(rows), "-o", str(again)]) == 0
    assert len(answers.read_text().splitlines()) == len(ROWS)
    assert answers.read_bytes() == again.read_bytes()


def test_answering_a_text_with_an_export_imports_no_torch_either(exports: Exports) -> None:
    _, export, _ = exports("hard")
    assert imported(NO_TORCH, str(export), "Ada Byron wrote to London.") == [0, []]


@pytest.mark.long
def test_a_worker_of_the_server_imports_as_little(exports: Exports) -> None:
    model, _, _ = exports("hard")
    code = ("import json, sys; from manyheads.serve.worker import load_model, WorkerSettings; "
            "from manyheads.bundle import manifest_hash, read_manifest; from pathlib import Path; folder = sys.argv[2]; "
            "answer = load_model(WorkerSettings(folder, manifest_hash(read_manifest(Path(folder))), 1, 1, 1024)); "
            "list(answer([({'text': 'Ada'}, None, None)])); "
            "print([name for name in json.loads(sys.argv[1]) if name in sys.modules])")  # fmt: skip
    command = [sys.executable, "-c", code, json.dumps(NEVER), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
