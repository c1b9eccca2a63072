"""Every hostile artefact ends with one of our errors or an answer: no code runs, nothing is written, no process dies.

The default test gives each artefact of the short corpus to the loader that reads the most of it, some processes for all of
them. The slow test gives every artefact to every loader; `benchmarks/hostile.py` does so in a process each, and measures.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hostile.corpus import Case, all_cases
from hostile.good import Good, make_good
from hostile.loaders import LOADERS
from hostile.runner import GAPS, complaints, run_cases

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured by /proc")
CASES = all_cases()
SHARES = ("model", "encoder", "run", "data")


@pytest.fixture(scope="module")
def all_good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    """The good things, made once."""
    return make_good(tmp_path_factory.mktemp("good") / "hostile")


@pytest.fixture
def good(all_good: Good, tmp_path: Path) -> Good:
    """The good things, in a folder of this test."""
    return Good(shutil.copytree(all_good.root, tmp_path / "hostile"))


def _of(share: str) -> list[Case]:
    return [case for case in CASES if case.kind == share or (share == "data" and case.kind not in SHARES)]


def test_the_corpus_is_large_and_names_each_artefact_once() -> None:
    counts = Counter(case.kind for case in CASES)
    assert len({case.name for case in CASES}) == len(CASES) >= 200
    assert set(counts) == set(LOADERS)
    assert min(counts.values()) >= 10
    assert sum(case.quick for case in CASES) >= 200


def test_artefacts_are_the_same_bytes_each_time(good: Good, tmp_path: Path) -> None:
    for case in [case for case in CASES if case.quick][::19]:
        made = []
        for _ in range(2):
            box = tmp_path / "case" / "box"
            box.mkdir(parents=True)
            case.make(good, box)
            files = sorted(path for path in box.rglob("*") if path.is_file() and not path.is_symlink())
            made.append({path: path.read_bytes() for path in files})
            shutil.rmtree(box.parent)
        assert made[0] == made[1], case.name


@pytest.mark.long
@pytest.mark.parametrize("shares", [SHARES[:2], SHARES[2:]], ids=" and ".join)  # a process takes five seconds to begin
def test_hostile_artefacts_are_refused_or_answered(shares: tuple[str, ...], good: Good) -> None:
    cases = [case for share in shares for case in _of(share) if case.quick and case.name not in GAPS]
    assert complaints(cases, list(run_cases(good.root, cases, loaders=1))) == []


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
def test_hostile_artefacts_are_refused_or_answered_by_every_loader(share: str, good: Good) -> None:
    cases = [case for case in _of(share) if case.name not in GAPS]
    assert complaints(cases, list(run_cases(good.root, cases))) == []


MISDEEDS = {
    "writes a file": "(root / 'x.txt').write_text('x')",
    "writes into the artefact": "(place / 'box' / 'x.txt').write_text('x')",
    "reads what is outside": "(root / 'outside' / 'secret.txt').read_text()",
    "reads through a link": "(place / 'box' / 'link').read_text()",
    "starts a process": "subprocess.run(['true'])",
    "makes a folder": "(root / 'x').mkdir()",
    "opens a socket": "socket.create_connection(('localhost', 1))",
    "reads a pickle": "pickle.loads(pickle.dumps(Path('x')))",
    "imports a file": "sys.path.insert(0, str(place / 'box')); import stranger",
    "makes the canary": "(root / 'cache' / 'x').symlink_to('y'); os.rename(root / 'cache' / 'x', place / 'canary')",
    "ends with an error that is not ours": "raise RecursionError",
    "panics": "os.write(2, b'thread panicked at x')",
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_the_watch_notices(misdeed: str, good: Good) -> None:
    place = good.root / "cases" / "1"
    (place / "box").mkdir(parents=True)
    (place / "box" / "link").symlink_to(good.secret / "secret.txt")
    (place / "box" / "stranger.py").write_text("x = 1\n")
    program = f"""
import json, os, pickle, socket, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from hostile.worker import Watch, judged, settle
root, place = Path({str(good.root)!r}), Path({str(place)!r})
settle(root)
watch = Watch(root)
def load():
    {MISDEEDS[misdeed]}
print(judged("case", "loader", watch, place, load).outcome)
print(judged("case", "loader", watch, place, lambda: None).outcome)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=good.root)
    lasting = {"writes into the artefact", "makes the canary", "imports a file"}  # what is there stays there
    assert done.stdout.split()[0] == "failed", done.stdout + done.stderr
    assert misdeed in lasting or done.stdout.split()[1] == "answered"


def test_gaps_are_cases_and_say_what_is_wanting() -> None:
    names = {case.name for case in CASES}
    assert all(name in names and reason for name, reason in GAPS.items()), json.dumps(GAPS)
