"""Every `manyheads ...` line of every page is one that the argument parser takes: verbs, options and values."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from docs.shell import ROOT, blocks_of, pages
from manyheads.arguments import COMMANDS, parser

VERBS = next(
    action for action in parser(dict.fromkeys(COMMANDS, lambda _: 0))._actions if isinstance(action, argparse._SubParsersAction)
).choices
INLINE = re.compile(r"`(?:\.venv/bin/)?manyheads ([a-z]+)( [^`]*)?`")
KNOWN = {"yaml", "python", "json", "csv", "tsv", "text", "toml", "ini", "sh", "bash", "console", ""}
"""Languages of fences. Commands stand in `sh` or `bash`; a session that shows a prompt, in `console`."""


def lines_of(script: str, *, prompt: bool = False) -> list[str]:
    """The commands of a script, without the texts that it writes; with a prompt, only lines that have it."""
    script = re.sub(r"<<\s*'?(\w+)'?([^\n]*)\n.*?^\1$", r"\2", script, flags=re.MULTILINE | re.DOTALL)
    lines = re.sub(r"(?:^|\s)#\s.*", "", script.replace("\\\n", " "), flags=re.MULTILINE).splitlines()
    return [line.removeprefix("$ ") for line in lines if not prompt or line.startswith("$ ")]


def begins(before: list[str]) -> bool:
    """Whether a word after these is a command, and not an argument or a file."""
    return not before or before[-1] in {"|", "&&", "||", "do", "then", "-m"} or before[-1].endswith(";") or "=" in before[-1]


def command_lines(script: str, *, prompt: bool = False) -> list[list[str]]:
    """The arguments of each call of manyheads."""
    found = []
    for line in lines_of(script, prompt=prompt):
        words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 and line.count('"') % 2 == 0 else line.split()
        starts = [i for i, word in enumerate(words) if re.fullmatch(r"(?:\S*/)?manyheads", word) and begins(words[:i])]
        for start in starts:
            rest = words[start + 1 :]
            end = next((i for i, word in enumerate(rest) if word in {"|", "&", "&&", "||", ";"} or re.match(r"\d?[<>]", word)), None)
            found.append([word.rstrip(";") for word in rest[:end]])
    return found


def calls(page: Path) -> list[tuple[str, list[str]]]:
    """The place and the arguments of each call on a page."""
    return [(block.name, arguments) for block in blocks_of(page) for arguments in command_lines(block.text)]


CALLS = [call for page in pages() for call in calls(page)]


def parsed(arguments: list[str]) -> None:
    """Raise SystemExit for arguments that the parser refuses."""
    parser(dict.fromkeys(COMMANDS, lambda _: 0)).parse_args(arguments)


def test_every_command_line_of_every_page_is_accepted_by_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(CALLS) > 80
    wrong = []
    for place, arguments in CALLS:
        try:
            parsed(arguments)
        except SystemExit as stopped:
            if stopped.code:  # --version and --help exit with 0
                wrong.append(f"{place}: manyheads {shlex.join(arguments)}: {capsys.readouterr().err}")
    assert wrong == []


def test_a_wrong_option_a_missing_argument_and_a_wrong_verb_are_found() -> None:
    script = "echo a | manyheads predict m --tusk x > out  # a comment\nfor i in 1; do\n  manyheads train\ndone\nmanyheads trian r"
    found = command_lines(script)
    assert found == [["predict", "m", "--tusk", "x"], ["train"], ["trian", "r"]]
    for arguments in found:
        with pytest.raises(SystemExit):
            parsed(arguments)


def test_texts_that_a_script_writes_are_no_commands() -> None:
    assert command_lines("cat > a <<'END'\nmanyheads nothing\nEND\nmanyheads info m | head") == [["info", "m"]]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_the_prose_have_verbs_and_options_that_exist(page: Path) -> None:
    for verb, rest in INLINE.findall(page.read_text(encoding="utf-8")):
        if verb in {"and", "is"}:
            continue
        assert verb in VERBS, verb
        known = {name for action in VERBS[verb]._actions for name in action.option_strings}
        used = set(re.findall(r"(?<=\s)(--?[a-z][a-z-]*)", rest))
        assert used <= known, f"{verb}: {used - known}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_stand_in_blocks_of_the_shell(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in fences} <= KNOWN
    for language, body in fences:
        if language not in {"sh", "bash", "console", "text", "python", "ini"}:
            assert not re.search(r"^(?:\$ )?(?:\S*/)?(?:manyheads|pip install) ", body, re.MULTILINE), body
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"^    (?:manyheads|pip|curl) ", prose, re.MULTILINE), "write commands between ```sh and ```"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_installs_manyheads_from_an_index(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"pip install ['\"]?manyheads", text), "it is on none: link to docs/install.md"
