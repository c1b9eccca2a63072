"""Every shell block of every page runs, or says why it does not.

Pages run in bash, block after block, in a folder that has what the page assumes. The toy encoder takes the place of the default one, so
that trainings take a second; `slow` tests run the tutorials with the real one and compare what the pages show.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docs.shell import ROOT, Block, blocks_of, commands, pages, run_blocks
from docs.test_commands import command_lines
from manyheads.nn import resolve_encoder
from toys import SENTENCES, entity_rows, write_csv, write_jsonl, write_project

TUTORIALS = [ROOT / "docs" / "five-minutes.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
ELSEWHERE = {
    r"make (demo|test|check|bench|release|docs|dist|durability)\b": "what CI runs, or hours long",
    r"pip (install|uninstall)\b": "installs packages; tests/docs/test_new_task.py installs the example",
    r"(torchrun|accelerate launch)\b": "tests/training/distributed",
    r"(?:\S*/)?manyheads serve [^&|]*$": "runs until it is stopped; tests/serve",
    r"\. \.venv/bin/activate": "the commands are on PATH here",
    r"hf auth login|manyheads push|manyheads predict your-name": "needs an account; tests/hub",
    r"manyheads score ": "tests/scoring has such files",
    r"manyheads (compare|tune) ": "trains dozens of models; tests/compare, tests/tune",
}
"""Lines that are not run, on any page, and the reason or the tests that do it instead."""
DETERMINISTIC = {"init", "convert"}
"""Verbs whose output does not depend on an encoder."""


def runnable(block: Block) -> str:
    """The text of a block without the lines of ELSEWHERE; lines that they continue go with them."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return "\n".join(line for line in lines if not any(re.match(start, line) for start in ELSEWHERE))


def run_page(page: Path, folder: Path, path: Path) -> list[tuple[Block, str]]:
    """Run the blocks of a page that are not marked; returns them with what they print, of both streams in any order."""
    blocks = [block for block in blocks_of(page) if block.reason is None]
    return list(zip(blocks, run_blocks(blocks, folder, path, runnable), strict=True))


@pytest.fixture(scope="session")
def larger_toy(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """The toy encoder with 512 positions, since run files by `init` have longer windows."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("larger") / "encoder"
    shutil.copytree(toy_encoder, folder)
    config = BertConfig.from_pretrained(toy_encoder, max_position_embeddings=512)
    torch.manual_seed(7)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, larger_toy: Path, young_model: Path) -> Iterator[Path]:
    """Commands for which the default encoder is a toy. `young_model` has imported what training needs."""
    known = resolve_encoder.resolve_encoder

    def resolved(name: str, revision: str | None = None) -> resolve_encoder.ResolvedEncoder:
        return known(str(larger_toy) if name in resolve_encoder.BUNDLED else name, revision)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("nn.resolve_encoder", *USERS):
            patch.setattr(f"manyheads.{module}.resolve_encoder", resolved)
        with commands(tmp_path_factory.mktemp("bin")) as folder:
            yield folder


USERS = sorted(
    ".".join(file.relative_to(ROOT / "src" / "manyheads").with_suffix("").parts)
    for file in (ROOT / "src" / "manyheads").rglob("*.py")
    if re.search(r"^from manyheads.nn.resolve_encoder import .*\bresolve_encoder\b", file.read_text(encoding="utf-8"), re.MULTILINE)
)
"""Modules that have imported the function by name."""


@pytest.fixture
def project(tmp_path: Path, toy_encoder: Path, young_model: Path) -> Path:
    """What pages assume: a run file with its data, its model under the names that pages use, and files of texts."""
    shutil.copytree(toy_encoder, tmp_path / "encoder")
    run = write_project(tmp_path, Path("encoder"))
    text = run.read_text(encoding="utf-8").replace("steps: 12", "steps: 2").replace("evaluate_every: 6", "evaluate_every: 2")
    run.write_text(text.replace("runs/model", "runs/my-run"), encoding="utf-8")
    for name in ("demo", "my-run", "model", "clinic", "teacher"):
        shutil.copytree(young_model, tmp_path / "runs" / name)
    rows: list[dict[str, object]] = [{"text": one, "question": "What lowered fever?"} for one in SENTENCES]
    for name in ("texts", "rows", "unlabelled", "rows/a"):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    write_jsonl(tmp_path / "train.jsonl", entity_rows()[:2])
    write_csv(tmp_path / "texts.csv", ["text", "note"], [[one, "n"] for one in SENTENCES])
    new = text.partition("tasks:")[0] + "tasks:\n  part:\n    type: text-classification\n    data: {train: data/sections.csv}\n"
    (tmp_path / "new-task.yaml").write_text(new.replace("max_length: 48", "name: encoder").replace("name: encoder, name", "name"), encoding="utf-8")
    return tmp_path


def fresh(folder: Path) -> None:
    """Nothing where a page trains to."""
    for name in ("my-run", "model"):
        shutil.rmtree(folder / "runs" / name)


def trained_as_model(folder: Path) -> None:
    """The page says where its model is."""
    fresh(folder)
    run = folder / "run.yaml"
    run.write_text(run.read_text(encoding="utf-8").replace("runs/my-run", "runs/model"), encoding="utf-8")


def without_run_file(folder: Path) -> None:
    """Nothing that `init` writes, and folders for completion scripts."""
    fresh(folder)
    (folder / "run.yaml").unlink()
    (folder / ".zfunc").mkdir()
    (folder / ".local/share/bash-completion/completions").mkdir(parents=True)


PREPARED: dict[str, Callable[[Path], None]] = {
    "README.md": fresh, "annotation.md": trained_as_model, "init.md": without_run_file,
}  # fmt: skip
"""What a page changes of the project, by its name."""

NOT_RUN = {
    "SECURITY.md": "needs a published release",
    "bulk.md": "alternatives for one folder; tests/bulk",
    "convert.md": "tests/convert has files of each format",
    "durability.md": "needs an interrupted run; tests/training kills and resumes them",
    "extraction.md": "tests/scoring scores such files",
    "heads.md": "alternatives for one model; tests/heads, and docs/tutorials/adding-a-head.md",
    "kubernetes.md": "needs a cluster",
    "labels-by-name.md": "tests/docs/test_python_blocks.py trains its model",
    "new-task.md": "tests/docs/test_new_task.py runs each verb with the package",
    "serving.md": "needs a server and replaces it; tests/serve, and docs/tutorials/gpu.md",
    "several-processes.md": "needs a launcher; tests/training/distributed",
}
"""Pages whose blocks are alternatives or need more than a folder, with the reason or the tests that do it instead.

Their command lines are parsed like all others."""

OTHERS = [
    page
    for page in pages()
    if page not in TUTORIALS and page.name not in NOT_RUN and any(one.reason is None for one in blocks_of(page))
]


@pytest.mark.long
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_its_first_command_to_its_last(page: Path, tmp_path: Path, path: Path) -> None:
    for block, output in run_page(page, tmp_path, path):
        verbs = {arguments[0] for arguments in command_lines(block.text)}
        if block.output is not None and verbs <= DETERMINISTIC and not re.search("runs/|curl|python3 [a-z]", block.text):
            missing = set(block.output.splitlines()) - set(output.splitlines()) - {""}
            # `init` says which data suits the encoder, and here that is a toy.
            assert {line for line in missing if not line.startswith("check ")} == set(), block.name


@pytest.mark.long
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_run(page: Path, project: Path, path: Path) -> None:
    if page.name in PREPARED:
        PREPARED[page.name](project)
    (project / ".venv").mkdir()
    (project / ".venv" / "bin").symlink_to(path)
    run_page(page, project, path)


def test_a_command_that_fails_is_reported_with_its_place(tmp_path: Path, path: Path) -> None:
    block = Block(ROOT / "README.md", 7, "manyheads info nothing", None, None)
    with pytest.raises(AssertionError, match=r"README.md:7: a command failed\n(?s:.*)nothing is not a folder"):
        run_blocks([block], tmp_path, path)


def test_programs_that_change_more_than_the_folder_are_refused(tmp_path: Path, path: Path) -> None:
    block = Block(ROOT / "README.md", 7, "echo a && pip install nothing", None, None)
    with pytest.raises(AssertionError, match="pip is refused in tests"):
        run_blocks([block], tmp_path, path)


def test_every_page_that_is_left_out_has_blocks() -> None:
    assert set(NOT_RUN) <= {page.name for page in pages() if blocks_of(page)}


def test_a_mark_needs_a_reason_and_stands_before_its_block(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: needs a GPU -->\n```sh\na\n```\n\n```sh\nb\n```\n\n```text\nshown\n```\n", encoding="utf-8")
    first, second = blocks_of(page)
    assert (first.reason, first.output) == ("needs a GPU", None)
    assert (second.reason, second.output, second.line) == (None, "shown\n", 7)


@pytest.mark.slow  # minutes: the real encoder
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_shows_what_a_reader_sees(page: Path, tmp_path: Path) -> None:
    binaries = ROOT / ".venv" / "bin"
    if not (binaries / "manyheads").exists():
        pytest.skip("no .venv: run `make test-slow`")
    for block, output in run_page(page, tmp_path, binaries):
        missing = shape(block.output or "") - shape(output)
        assert not missing, f"{block.name}: {missing}"


def shape(output: str) -> set[str]:
    """The lines of an output without numbers, progress and answers, which differ a little between processors."""
    lines = (re.sub(r"[\d.,]+|[0-9a-f]{64}", "#", " ".join(line.split())) for line in output.splitlines())
    return {line for line in lines if line not in ("...", "") and not re.match(r"step #|\{\"|#,|\s*#", line)}


def test_shapes_ignore_numbers() -> None:
    assert shape("a  0.81\nstep 3/4 loss\n...\nb 1,024") == {"a #", "b #"}
