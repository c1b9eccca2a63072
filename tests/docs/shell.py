"""The shell blocks of pages, and a bash that runs them without starting an interpreter for every command.

`manyheads` and `python3` on its PATH are small programs that hand their arguments, folder and standard files to a process which has
imported torch already, and forks for each of them. So pages run as a reader runs them, with pipes, loops and background jobs.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from manyheads.cli import main

ROOT = Path(__file__).parents[2]
LANGUAGES = ("sh", "bash", "console")
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\n\Z", re.DOTALL)
PR_SET_PDEATHSIG = 1
REFUSED = ("pip", "pip3", "uv", "docker", "make", "git", "hf", "sudo")
"""Programs that change more than the folder of a test. A page that calls one fails, however the call is written."""
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
socket.send_fds(server, [json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd()]).encode()], [0, 1, 2])
pid = int(server.recv(16))
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: os.kill(pid, number))
status = server.recv(16)
sys.exit(int(status) if status else 128 + signal.SIGKILL)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Of the first line of its text."""
    text: str
    reason: str | None
    """Why it is not run, as the comment before it says."""
    output: str | None
    """The text block that follows it directly."""

    @property
    def name(self) -> str:
        """The page with the line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The shell blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(rf"^```(?:{'|'.join(LANGUAGES)})\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        marked = NOT_RUN.search(text[: match.start()])
        shown = re.match(r"\n+```text\n(.*?)^```$", text[match.end() :], re.MULTILINE | re.DOTALL)
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(page, line, match[1], marked and marked[1], shown and shown[1]))
    return found


def pages() -> list[Path]:
    """All pages of the documentation, README first."""
    top = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "ARCHITECTURE", "CHANGELOG")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


@contextmanager
def commands(folder: Path) -> Iterator[Path]:
    """A folder for PATH with `manyheads` and `python3`, served by forks of this process until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    address = str(folder / "socket")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(address)
    listening.listen(8)
    for name in ("manyheads", "python3"):
        (folder / name).write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
        (folder / name).chmod(0o755)
    pid = os.fork()
    if pid == 0:
        _serve(listening)
    listening.close()
    try:
        yield folder
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(listening: socket.socket) -> None:
    """Fork for every command. Never returns."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        request, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if os.fork() == 0:
            _run(connection, request, files)
        for file in files:
            os.close(file)
        connection.close()


def _run(connection: socket.socket, request: bytes, files: list[int]) -> None:
    """Run one command and tell its exit status. Never returns."""
    status = 70
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # nothing outlives the tests
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for place, file in enumerate(files):
            os.dup2(file, place)
        sys.stdin, sys.stdout, sys.stderr = open(0, closefd=False), open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        name, arguments, folder = json.loads(request)
        os.chdir(folder)
        connection.sendall(str(os.getpid()).encode())
        status = main(arguments) if name == "manyheads" else _python(arguments)
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            connection.sendall(str(status).encode())
        os._exit(status)


def _python(arguments: list[str]) -> int:
    """`python3` with a file, `-c` or `-`."""
    source, *rest = arguments
    if source in ("-", "-c"):
        code = sys.stdin.read() if source == "-" else rest.pop(0)
        sys.argv = [source, *rest]
        exec(compile(code, source, "exec", dont_inherit=True), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(source, run_name="__main__")
    return 0


def run_blocks(
    blocks: list[Block], folder: Path, path: Path, text_of: Callable[[Block], str] = lambda block: block.text
) -> list[str]:
    """Run blocks in one bash, in a folder, with `path` on PATH, after programs that stand for those of REFUSED; returns their outputs.

    Raises AssertionError if a command fails, with the place in the page and all output.
    """
    outputs = []
    refusing = folder / ".refused"
    refusing.mkdir()
    for name in REFUSED:
        (refusing / name).write_text(f"#!/bin/sh\necho '{name} is refused in tests'\nexit 97\n", encoding="utf-8")
        (refusing / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{refusing}:{path}:{os.environ['PATH']}", "HOME": str(folder)}
    # In a group of its own, so that nothing stays in the background when a block fails.
    shell = subprocess.Popen(["bash"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, start_new_session=True)  # fmt: skip
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        for number, block in enumerate(blocks):
            script = folder / f".block-{number}.sh"
            script.write_text(f"set -e\n{text_of(block)}\nset +e\n", encoding="utf-8")
            shell.stdin.write(f". ./{script.name}\necho; echo '@@ done'\n")
            shell.stdin.flush()
            lines: list[str] = []
            for line in shell.stdout:
                if line == "@@ done\n":
                    break
                lines.append(line)
            else:
                raise AssertionError(f"{block.name}: a command failed\n{block.text}\n{''.join(lines)}")
            outputs.append("".join(lines).removesuffix("\n"))
        shell.stdin.write("wait\n")  # jobs that the page has ended pass the signal on
        shell.stdin.close()
        shell.wait(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return outputs
