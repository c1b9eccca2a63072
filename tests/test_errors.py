"""What an error says."""

import ast
import re
from argparse import Namespace
from pathlib import Path

import manyheads
from manyheads.cli import _with_hint
from manyheads.errors import LONGEST_MESSAGE, RESUME, RowError, StoppedError, UsageError


def test_what_is_said_of_a_row_is_cut_in_the_middle_when_the_row_is_huge() -> None:
    said = str(RowError(f"'score' must be a number, seen {'9' * 100_000!r}; give one"))
    assert len(said) <= LONGEST_MESSAGE
    assert said.startswith("'score' must be a number, seen '999")
    assert said.endswith("999'; give one")
    assert str(RowError("has no 'text'")) == "has no 'text'"


def test_verbs_add_what_to_do_next_and_those_without_resume_run_again() -> None:
    error = StoppedError("stopped by SIGTERM; it is saved", hint=RESUME)
    assert str(error) == "stopped by SIGTERM; it is saved"
    assert _with_hint(Namespace(resume=False), error) == "stopped by SIGTERM; it is saved: continue with --resume"
    assert _with_hint(Namespace(), error) == "stopped by SIGTERM; it is saved: run the same command again to continue"
    assert _with_hint(Namespace(), UsageError("wrong")) == "wrong"


COMMANDS = {
    "cli.py", "verbs.py", "arguments.py", "completion.py", "argument_parser.py", "answering.py", "demo", "annotation", "bulk", "compare",
    "convert", "export", "heads", "init", "jobs", "outputs", "serve", "tune",
}  # fmt: skip
"""What only the command calls."""
OPTION = re.compile(r"(?<![\w-])-(?:o|-[a-z][a-z-]+)\b")
COMMAND = re.compile(r"`[^`]*`")
"""A whole command, which users of Python may run too."""


def test_errors_that_users_of_python_see_name_no_options_of_the_command() -> None:
    package, found = Path(manyheads.__file__).parent, []
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] in COMMANDS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                texts = [one.value for part in node.exc.args for one in ast.walk(part) if isinstance(one, ast.Constant)]
                said = COMMAND.sub("", "".join(map(str, texts)))
                found += [f"{path.relative_to(package)}:{node.lineno}: {option}" for option in OPTION.findall(said)]
    assert not found


def test_the_page_of_error_messages_has_those_that_the_code_has() -> None:
    package = Path(manyheads.__file__).parent
    page = (package.parents[1] / "docs/errors.md").read_text(encoding="utf-8")
    said = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said.append("\0".join(str(part.value) for part in node.values if isinstance(part, ast.Constant)))
            elif isinstance(node, ast.Constant):
                said.append(str(node.value))
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert len(headings) > 20
    for heading in headings:
        parts = [part.strip(" ,;:") for part in heading.replace("manyheads.json", "...").split("...")]
        assert any(all(part in text for part in parts) for text in said), heading
