"""Settings of the whole process, which the command makes at its start. A library must not make them behind one's back."""

from __future__ import annotations

import gc
import math
import os
import sys
from pathlib import Path

CPU_SHARE = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of a period that a container may use, and the period."""
THREADS = "OMP_NUM_THREADS"

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of settings, from glibc's malloc.h."""
LARGE = 1 << 30
SECURE = 23
"""AT_SECURE of elf.h: a program with more rights than its user, which glibc allows no settings."""

SHAPES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
NO_SHAPES, FEW_SHAPES = "0", "256"
"""Of oneDNN's cache, read when it is first used; a pass has about five shapes of products, packs in bf16 some 50 lengths."""
SPINS = "1000"
"""Some microseconds: longer than it takes the other threads to come when all have a core."""


def restart_without_small_caches() -> None:
    """Begin the process anew, same id and arguments, with glibc's caches of small freed blocks off.

    Each thread keeps seven blocks of each size, and those lie where tensors met: what is free between them never becomes one
    again. Rows of input took 735 MB for 10^5 and 639 MB for 10^4; without the caches both take the same, and answering
    is no slower. glibc reads this setting at the start alone, hence the restart, of about 0.05 s. Nothing happens where the
    user has set `GLIBC_TUNABLES`, nor without glibc.
    """
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names or "GLIBC_TUNABLES" in os.environ:
        return
    import ctypes

    if not ctypes.CDLL(None).getauxval(SECURE):  # else the setting would be dropped, and the restart have no end
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed for the next tensor, instead of giving it back to the system; whether it could.

    Tensors of megabytes come and go with every layer, and memory that is new to the process is zeroed by the kernel page by
    page: without this a training step of 2,048 tokens takes 20,000 page faults, 2 to 4 % of its time, with it none. The peak
    of memory stays what it is. Only glibc has these settings.
    """
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        return False
    import ctypes

    malloc_option = ctypes.CDLL(None).mallopt
    return bool(malloc_option(MMAP_THRESHOLD, LARGE) and malloc_option(TRIM_THRESHOLD, LARGE))


def forget_shapes() -> None:
    """Let oneDNN, which computes torch's GELU, keep nothing for each shape it meets; before torch computes anything.

    What it keeps, of 1,024 shapes, lies amid the tensors of the pass that made it, and stays. Packs differ in length, so each
    leaves another one, and what is free between them fits no later tensor: after 20 packs of 3,900 to 4,096 tokens 387 MB
    of 544 were free, and growing; with nothing kept 164 of 320, and little more later. Making it anew takes 0.15 ms a layer,
    0.2 % of the time of such a pack.
    """
    os.environ.setdefault(SHAPES, NO_SHAPES)


def remember_few_shapes() -> None:
    """Take `forget_shapes` back as far as products in bf16 need it, before anything is computed.

    oneDNN compiles them for each shape, some 5 ms each. With nothing kept every layer compiles its own: answers in bf16 took
    25 ms a row where float32 took 19. All layers of a pass have the same shapes, and packs in bf16 come in few lengths
    (`eighth_of` in `text/pack.py`). Nothing is changed where `forget_shapes` was not called.
    """
    if os.environ.get(SHAPES) == NO_SHAPES:
        os.environ[SHAPES] = FEW_SHAPES


def collect_rarely() -> None:
    """Look for garbage after 100,000 new objects, not after 700.

    Importing torch and transformers makes a million objects that stay: looking through them again and again takes a
    quarter of a cold start.
    """
    gc.set_threshold(100_000, 50, 100)


def usable_cores() -> int:
    """Cores that this process may use: of the machine, of its affinity, or of its container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_SHARE.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def use_threads(count: int) -> None:
    """Compute with so many threads: torch, and graphs that are loaded from now on."""
    os.environ[THREADS] = str(count)
    torch = sys.modules.get("torch")  # which has read it already if it is there
    if torch is not None:
        torch.set_num_threads(count)


def usable_threads() -> int:
    """Threads for one pass: what OMP_NUM_THREADS says, as torch and numpy read it, else one for each core."""
    said = os.environ.get(THREADS, "").split(",")[0].strip()
    return int(said) if said.isdecimal() and int(said) > 0 else usable_cores()


def set_up() -> None:
    """All that a process of our own which is going to answer or train sets, before torch is imported."""
    keep_freed_memory()
    forget_shapes()
    collect_rarely()


def wait_without_spinning() -> None:
    """Have threads that wait for one another sleep soon: to be called before torch is imported.

    libgomp lets them spin for milliseconds by default, on cores that the thread they wait for needs where another program is
    busy too. With one on 2 cores a short text took 603 ms, with this 17 ms; on a quiet machine no difference was seen. What
    the user says in OMP_WAIT_POLICY or GOMP_SPINCOUNT holds.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def leave_at_once(status: int) -> None:
    """End the process here and now if it is one of several that talk to one another: gloo's threads do not end well.

    All files are closed by then, and what was printed is flushed.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def leave_lightly() -> None:
    """Spare the last look for garbage at the end of the process: 0.5 s with torch and transformers."""
    gc.freeze()
