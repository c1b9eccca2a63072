"""Process-wide settings, applied only by the command: a library must not change them silently."""

from __future__ import annotations

import gc
import math
import os
import sys
from pathlib import Path

CPU_SHARE = Path("/sys/fs/cgroup/cpu.max")
"""CPU quota of a container and its period, in microseconds."""
THREADS = "OMP_NUM_THREADS"

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's malloc.h."""
LARGE = 1 << 30
SECURE = 23
"""AT_SECURE of elf.h: a setuid-like program, for which glibc ignores GLIBC_TUNABLES."""

SHAPES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
NO_SHAPES, FEW_SHAPES = "0", "256"
"""Capacities of oneDNN's cache, which reads them on first use. A pass has about five shapes, bf16 packs some 50 lengths."""
SPINS = "1000"
"""Some microseconds: long enough for the other threads to arrive if each has its own core."""


def restart_without_small_caches() -> None:
    """Re-execute the process, with the same id and arguments, without glibc's per-thread caches of small freed blocks.

    Each thread caches seven blocks of each size, which fragment the memory between tensors: predicting 10^5 rows took 735 MB
    and 10^4 rows 639 MB; without the caches both take the same, at the same speed. glibc reads this setting only at
    start-up, hence the restart, which takes about 0.05 s. No effect without glibc, or if the user has set `GLIBC_TUNABLES`.
    """
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names or "GLIBC_TUNABLES" in os.environ:
        return
    import ctypes

    if not ctypes.CDLL(None).getauxval(SECURE):  # otherwise glibc ignores the setting, and the process would restart forever
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_freed_memory() -> bool:
    """Make malloc keep freed memory for the next tensor instead of returning it to the system; returns whether it worked.

    Every layer allocates and frees megabytes, and the kernel zeroes memory that is new to the process page by page: without
    this, a training step of 2,048 tokens has 20,000 page faults, 2 to 4 % of its time. Peak memory does not change. Only
    glibc has these settings.
    """
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        return False
    import ctypes

    malloc_option = ctypes.CDLL(None).mallopt
    return bool(malloc_option(MMAP_THRESHOLD, LARGE) and malloc_option(TRIM_THRESHOLD, LARGE))


def disable_onednn_cache() -> None:
    """Disable oneDNN's cache of primitives by shape (it computes torch's GELU); call before torch computes anything.

    Its entries, up to 1,024 shapes, lie between the tensors of the pass that created them. Packs differ in length, so every
    pack adds entries and fragments the memory: after 20 packs of 3,900 to 4,096 tokens, 387 MB of 544 were free, and growing;
    without the cache 164 of 320, and nearly constant. Recreating primitives takes 0.15 ms per layer, 0.2 % of a pack's time.
    """
    os.environ.setdefault(SHAPES, NO_SHAPES)


def enable_small_onednn_cache() -> None:
    """Give oneDNN a small cache after `disable_onednn_cache`, for bf16; call before anything is computed.

    oneDNN compiles bf16 products for each shape, about 5 ms each; without a cache every layer compiles its own, and bf16 took
    25 ms per row where float32 took 19. All layers of a pass have the same shapes, and bf16 packs have few lengths (see
    `text/pack.py`). No effect if `disable_onednn_cache` was not called.
    """
    if os.environ.get(SHAPES) == NO_SHAPES:
        os.environ[SHAPES] = FEW_SHAPES


def collect_garbage_rarely() -> None:
    """Run the garbage collector after 100,000 new objects instead of 700.

    Importing torch and transformers creates a million permanent objects; scanning them repeatedly takes a quarter of a cold
    start.
    """
    gc.set_threshold(100_000, 50, 100)


def usable_cores() -> int:
    """CPU cores available to this process, by affinity and container quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_SHARE.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def use_threads(count: int) -> None:
    """Set the number of threads of torch, and of ONNX graphs loaded from now on."""
    os.environ[THREADS] = str(count)
    torch = sys.modules.get("torch")  # which reads the variable on import
    if torch is not None:
        torch.set_num_threads(count)


def usable_threads() -> int:
    """Threads for one pass: OMP_NUM_THREADS, read as torch and numpy do, else one per core."""
    value = os.environ.get(THREADS, "").split(",")[0].strip()
    return int(value) if value.isdecimal() and int(value) > 0 else usable_cores()


def set_up() -> None:
    """Apply all settings for a process that predicts or trains; call before importing torch."""
    keep_freed_memory()
    disable_onednn_cache()
    collect_garbage_rarely()


def wait_without_spinning() -> None:
    """Make waiting OpenMP threads sleep early; call before importing torch.

    By default libgomp spins for milliseconds, which blocks cores when other programs are busy: with one on 2 cores, a short
    text took 603 ms, and with this setting 17 ms; on an idle machine there was no difference. The user's OMP_WAIT_POLICY and
    GOMP_SPINCOUNT take precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def exit_if_distributed(status: int) -> None:
    """Exit immediately if torch.distributed is initialised, since gloo's threads do not shut down cleanly.

    All files are closed by then; standard output and error are flushed.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def skip_final_collection() -> None:
    """Skip the final garbage collection at exit, which takes 0.5 s with torch and transformers."""
    gc.freeze()
