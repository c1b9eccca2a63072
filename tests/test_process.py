"""Settings of the process, in processes of their own."""

import subprocess
import sys

import pytest

from manyheads.process import keep_freed_memory

SCRIPT = """
import resource, sys
from manyheads.process import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def again():
    block = bytearray(64 << 20)
    del block
again()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    again()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], check=True, capture_output=True, text=True).stdout)
        for how in ("plain", "kept")
    }
    assert faults["kept"] < 100 < faults["plain"]


def test_it_says_whether_the_system_has_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.confstr_names", {})
    assert keep_freed_memory() is False
