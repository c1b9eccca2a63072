"""Completion scripts for shells."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from manyheads.arguments import COMMANDS
from manyheads.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_script_completes_verbs_and_options(shell, capsys, tmp_path):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert "--batch-tokens" in script
    path = tmp_path / "script"
    path.write_text(script)
    if shutil.which(shell):
        assert subprocess.run([shell, "-n", path], check=False).returncode == 0


def test_bash_completes_a_verb_and_a_choice(capsys, tmp_path):
    main(["completion", "bash"])
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out)
    for words, expected in (
        ("manyheads conv", "convert"),
        ("manyheads init --exa", "--example"),
        ("manyheads completion z", "zsh"),
    ):
        line = words.split()
        asked = (
            f"source {path}; COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; _shtab_manyheads; echo ${{COMPREPLY[@]}}"
        )
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
        assert done.stdout.split() == [expected], done.stderr


def test_help_imports_neither_the_maker_of_scripts_nor_anything_heavy():
    code = ("import sys; from manyheads.cli import parser; parser(); "
            "print([name for name in ('shtab', 'torch', 'pydantic', 'yaml', 'pyarrow') if name in sys.modules])")  # fmt: skip
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
