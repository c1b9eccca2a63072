"""Runs cases in a process of its own, and watches what they do: `worker.py ROOT NAMES RESULTS alone|together`.

ROOT has the good things, NAMES the cases to run, one a line, each with the loaders to run it on. For each case and loader a JSON line is added to RESULTS: first
that it begins, then how it ended; so a process that is killed leaves the name of the case that killed it.

Watched are: imports of files of the case, processes, sockets, pickles, files written anywhere but in the caches of the root,
files read outside of the case (`outside/`), memory (the high-water mark of the resident set, reset before each), and time.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hostile.corpus import Case

HANG_S = 120
"""After so many seconds in one loader the process gives up."""
MOST_ADDRESSES = 8 << 30
"""Bytes of addresses, not of memory: torch and Arrow reserve gigabytes that they never touch."""
LONGEST_MESSAGE = 4000
"""Characters that a person may have to read."""
RUNNING = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn",
                     "pickle.find_class", "socket.connect", "socket.getaddrinfo"})  # fmt: skip
CHANGING = frozenset({"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate",
                      "shutil.rmtree", "shutil.move"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """How one loader ended on one artefact."""

    case: str
    loader: str
    outcome: str
    """`refused`, `answered`, or `failed` (the message says how)."""
    message: str
    seconds: float
    """Of the processor: other processes of a busy machine do not count. Who waits for ever is ended after HANG_S."""
    wall_seconds: float
    megabytes: float
    """Above what the process had before."""


PLACE = re.compile(r"\S+: ")
"""A file with its line, or a key of the run file."""
OWN = "of-the-test.yaml"
"""The run file that a loader writes around an artefact."""


class Watch:
    """What Python tells of the things that matter (audit hooks cannot be taken away, so one serves all cases)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outside = str(root / "outside")
        self.allowed = (str(root / "cache"), str(root / "temporary"), "/dev/null")
        self.box = ""
        self.on = False
        self.stderr = os.fdopen(os.dup(2), "w")
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            self._opened(*arguments)
        elif event in RUNNING or (event in CHANGING and not _place_of(event, arguments).startswith(self.allowed)):
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "exec" and str(getattr(arguments[0], "co_filename", "")).startswith(self.box):
            self.seen.append(f"ran {arguments[0].co_filename}")

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        name = os.path.abspath(os.fsdecode(path))
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(flags, int) else 0
        if (writes or set(mode or "") & set("wxa+")) and not name.startswith(self.allowed) and not name.endswith(OWN):
            self.seen.append(f"wrote {name}")
        if os.path.realpath(name).startswith(self.outside):
            self.seen.append(f"read {name}")


def _place_of(event: str, arguments: tuple[Any, ...]) -> str:
    """The path that is changed or made, also when it is given from an open folder."""
    name = os.fsdecode(arguments[event in ("os.symlink", "os.link", "os.rename")])
    folder = arguments[-1]
    if not os.path.isabs(name) and isinstance(folder, int) and folder >= 0:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    return os.path.abspath(name)


def main(root: Path, names: Path, results: Path, alone: str) -> None:
    """Run the cases that are named; `alone` is `alone` for a process of its own for each, a copy of this one."""
    settle(root)
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from hostile.corpus import all_cases
    from hostile.loaders import warm_up

    warm_up()
    gc.freeze()  # copies share what is there by now
    watch = Watch(root)
    known = {case.name: case for case in all_cases()}
    for line in names.read_text().splitlines():
        name, *loaders = line.split()
        run = partial(_run, known[name], loaders, watch, results)
        if alone == "alone":
            _in_a_copy(run)
        else:
            run()


def _in_a_copy(run: Callable[[], None]) -> None:
    """Run in a copy of this process. Ends this process too if the copy does not end well."""
    copy = os.fork()
    if not copy:
        run()
        os._exit(0)
    _, status = os.waitpid(copy, 0)
    if status:
        os._exit(1 if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _run(case: Case, loaders: Sequence[str], watch: Watch, results: Path) -> None:
    """One artefact, made and read by each loader; what came of it is added to the results."""
    from hostile.good import Good
    from hostile.loaders import LOADERS

    good, place = Good(watch.root), Path(tempfile.mkdtemp(dir=watch.root / "cases"))
    (place / "box").mkdir()
    path = case.make(good, place / "box")
    before = _listing(place)
    with results.open("a", encoding="utf-8") as file:
        for loader in loaders:
            print(json.dumps({"begins": case.name, "loader": loader}), file=file, flush=True)
            result = judged(case.name, loader, watch, place, partial(LOADERS[case.kind][loader], good, path))
            changed = sorted(set(_listing(place)) ^ set(before))
            if changed and result.outcome != "failed":
                result = _failed(result, f"files changed: {changed[:3]}")
            print(json.dumps(asdict(result)), file=file, flush=True)
    shutil.rmtree(place)


def settle(root: Path) -> None:
    """The process as the command would be, with its own home, and no more memory than it may harm nobody with."""
    for name in ("cache", "cases", "temporary", "home"):
        (root / name).mkdir(exist_ok=True)
    os.environ |= {"MANYHEADS_CACHE": str(root / "cache"), "TMPDIR": str(root / "temporary"), "HOME": str(root / "home"),
                   "HF_HOME": str(root / "home/hub"), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error",
                   "RUST_BACKTRACE": "0", "TOKENIZERS_PARALLELISM": "false",
                   "TORCHINDUCTOR_CACHE_DIR": str(root / "cache/inductor")}  # fmt: skip
    sys.dont_write_bytecode = True
    limit = MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    Path("/proc/self/oom_score_adj").write_text(
        "1000"
    )  # if memory runs out all the same, this process is the one to go
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _ends_in_mistakes(message: str) -> bool:
    """Whether the last thing said is `error: ...`, with nothing behind it but more mistakes, each at its place."""
    lines = message.splitlines()
    begins = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    return bool(begins) and all(PLACE.match(line) for line in lines[begins[-1] + 1 :])


def judged(name: str, loader: str, watch: Watch, place: Path, load: Any) -> Result:
    """One loader on one artefact."""
    from hostile.loaders import RefusedByCommandError
    from manyheads.errors import ManyheadsError

    outcome, message = "answered", ""
    watch.box, watch.seen = str(place), []
    noise = place.parent.parent / "noise.txt"
    peak = _Peak()
    faulthandler.dump_traceback_later(HANG_S, exit=True, file=watch.stderr)
    begun, worked = time.perf_counter(), time.process_time()
    with _heard(noise):
        watch.on = True
        try:
            load()
        except ManyheadsError as error:
            outcome, message = "refused", str(error)
        except RefusedByCommandError as error:
            outcome, message = "refused", error.args[1].strip()
            if error.args[0] not in (1, 2) or not _ends_in_mistakes(message) or "error: unexpected" in message:
                outcome = "failed"
        except BaseException as error:
            outcome, message = "failed", f"{type(error).__name__}: {error}"[:1000]
        finally:
            watch.on = False
    seconds, wall = time.process_time() - worked, time.perf_counter() - begun
    faulthandler.cancel_dump_traceback_later()
    result = Result(
        name, loader, outcome, message[:1000], round(seconds, 3), round(wall, 3), round(peak.megabytes(), 1)
    )
    loud = noise.read_text(encoding="utf-8", errors="replace")
    ran = [
        module for module in list(sys.modules.values()) if str(getattr(module, "__file__", "")).startswith(str(place))
    ]
    for wrong, why in (
        (watch.seen, f"did: {watch.seen[:3]}"),
        (ran, f"imported: {ran}"),
        (list(place.rglob("canary")), "the canary is there"),
        ("panicked at" in loud or "Traceback (most" in loud + message, f"a traceback: {(loud + message)[-300:]}"),
        (len(message) > LONGEST_MESSAGE or message.count("\n") > 30, f"a message of {len(message):,} characters"),
    ):
        if wrong:
            return _failed(result, why)
    return result


def _failed(result: Result, why: str) -> Result:
    return replace(result, outcome="failed", message=f"{why}; {result.message}"[:1000])


def _listing(place: Path) -> list[tuple[str, int]]:
    """Files of a case with their sizes, but for the run file that a loader of the test writes."""
    return [(str(path), path.lstat().st_size) for path in place.rglob("*") if path.name != OWN and not path.is_dir()]


class _Peak:
    """The most memory from now on, above what there is now."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._read("VmRSS")

    def megabytes(self) -> float:
        return max(0.0, (self._read("VmHWM") - self._before) / 1024)

    def _read(self, key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1])


@contextmanager
def _heard(file: Path) -> Iterator[None]:
    """What is written to the process's stderr, by whatever language, goes to a file."""
    kept = os.dup(2)
    with file.open("w") as stream:
        os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
