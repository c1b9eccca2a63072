"""Is anything lost? Runs killed, stopped and damaged, and what they end with.

    PYTHONPATH=benchmarks python -m durability PART [--trials N] [--work DIR] [--results docs/results/durability.json]

PART: kill, faults, damage, sigterm, guards, order, processes, peers, or all. Every run is a whole one, through the
command, on the bundled corpus with a small encoder made on the spot; a trial's row is written as soon as it is known.
Needs Linux.
"""
