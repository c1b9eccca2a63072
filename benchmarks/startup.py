"""Start-up: seconds to import manyheads and to print --help, medians of fresh processes.

python benchmarks/startup.py [--runs 9]
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python (nothing)": ["-c", "pass"],
    "import manyheads": ["-c", "import manyheads"],
    "manyheads --help": ["-m", "manyheads", "--help"],
    "manyheads train --help": ["-m", "manyheads", "train", "--help"],
    "manyheads predict --help": ["-m", "manyheads", "predict", "--help"],
}
LIMITS = {
    "import manyheads": 0.3,
    "manyheads --help": 0.5,
    "manyheads train --help": 0.5,
    "manyheads predict --help": 0.5,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    failed = 0
    for name, values in seconds.items():
        median, limit = statistics.median(values), LIMITS.get(name)
        verdict = "" if limit is None else f"must be under {limit} s: {'yes' if median < limit else 'NO'}"
        failed += limit is not None and median >= limit
        print(f"{name:26} median {median:.3f} s  (min {min(values):.3f}, max {max(values):.3f})  {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
