"""Settings of the process, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import manyheads.process as process_module
from manyheads.process import (
    disable_onednn_cache,
    enable_small_onednn_cache,
    keep_freed_memory,
    usable_cores,
    usable_threads,
    wait_without_spinning,
)

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

SHAPES = """
import random, sys
from manyheads.process import disable_onednn_cache, keep_freed_memory
keep_freed_memory()
if sys.argv[1] == "forgotten":
    disable_onednn_cache()
import torch
torch.set_num_threads(1)
up_DW, down_WD = torch.randn(64, 1536), torch.randn(1536, 64)
tokens = random.Random(0)
def held_mb():  # with what the system has put aside: some reclaim idle pages at any time
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return sum(int(lines[key].split()[0]) for key in ("RssAnon", "VmSwap")) >> 10
def a_pass(count):
    hidden_TD = torch.randn(count, 64)
    for _ in range(2):
        hidden_TD = hidden_TD + torch.nn.functional.gelu(hidden_TD @ up_DW) @ down_WD
with torch.inference_mode():
    a_pass(2400)
    before = held_mb()
    for _ in range(60):
        a_pass(tokens.randint(2000, 2400))
print(held_mb() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], check=True, capture_output=True, text=True).stdout)
        for how in ("plain", "kept")
    }
    assert faults["kept"] < 100 < faults["plain"]


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc only")
def test_memory_does_not_grow_with_the_number_of_shapes() -> None:
    plain = {name: value for name, value in os.environ.items() if name != "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}

    def grown_mb(how: str) -> int:
        command = [sys.executable, "-c", SHAPES, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, env=plain).stdout)

    assert grown_mb("forgotten") < 30
    assert any(grown_mb("kept") > 60 for _ in range(6)), "14 to 390 MB, as huge pages fall"


def test_what_the_user_says_of_shapes_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    disable_onednn_cache()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "64"


def test_bf16_keeps_a_few_shapes_where_they_were_to_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, kept in (("512", "512"), (None, None)):
        if said:
            monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", said)
        else:
            monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
        enable_small_onednn_cache()
        assert os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY") == kept, "a library sets nothing"
    disable_onednn_cache()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "0"
    enable_small_onednn_cache()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "256"


RESTART = """
import os, sys
from manyheads.process import restart_without_small_caches
print(os.getpid(), flush=True)
restart_without_small_caches()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], sys.stdin.read())
"""


def restarted(**variables: str) -> list[str]:
    """Lines of a process that may restart; ids of processes as `id`."""
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"} | variables
    command = [sys.executable, "-c", RESTART, "a b", "-x"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        output = process.communicate("rows")[0]
        assert process.returncode == 0
    return output.replace(f"{process.pid}\n", "id\n").splitlines()


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="glibc only")
def test_a_restart_is_one_and_keeps_the_process_its_arguments_and_its_input() -> None:
    assert restarted() == ["id", "id", "glibc.malloc.tcache_count=0 ['a b', '-x'] rows"]


def test_there_is_no_restart_where_the_user_has_chosen() -> None:
    assert restarted(GLIBC_TUNABLES="glibc.malloc.perturb=0") == ["id", "glibc.malloc.perturb=0 ['a b', '-x'] rows"]


def test_it_says_whether_the_system_has_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.confstr_names", {})
    assert keep_freed_memory() is False


def test_threads_sleep_soon_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in (({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")):
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        wait_without_spinning()
        assert os.environ.get("GOMP_SPINCOUNT") == expected
    monkeypatch.delenv("GOMP_SPINCOUNT")


LEAVE = """
import atexit, sys
from manyheads.process import exit_if_distributed
import torch.distributed as dist
atexit.register(print, "Python's end")
if sys.argv[1] == "several":
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
print("done")
exit_if_distributed(75)
"""


@pytest.mark.long
@pytest.mark.parametrize(("how", "status", "said"), [("several", 75, "done\n"), ("alone", 0, "done\nPython's end\n")])
def test_only_a_process_of_several_ends_without_pythons_end(how: str, status: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", LEAVE, how], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, said), done.stderr


@pytest.mark.parametrize(
    ("said", "threads"), [("1", 1), ("3,2", 3), (" 4 ", 4), ("0", None), ("many", None), ("", None)]
)
def test_a_pass_has_the_threads_that_the_variable_says(
    said: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert usable_threads() == (threads or usable_cores())


def test_cores_are_those_of_the_containers_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    share = tmp_path / "cpu.max"
    monkeypatch.setattr(process_module, "CPU_SHARE", share)
    for text, cores in [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("2000000 100000", 8)]:
        share.write_text(f"{text}\n")
        assert usable_cores() == cores
    share.unlink()
    assert usable_cores() == 8


@pytest.mark.long
def test_threads_can_be_set_when_torch_is_there_already() -> None:
    script = (
        "import torch; from manyheads.process import use_threads, usable_threads; torch.set_num_threads(2); "
        "use_threads(1); print(torch.get_num_threads(), usable_threads())"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"]
