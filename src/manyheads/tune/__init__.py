"""Settings chosen by trials: trainings of one run file with other rates, lengths, layers of tasks' own and weights.

space.py    which settings are tried, and from where to where
study.py    what has been tried and what is tried next: Optuna's sampler, pruner and journal
trials.py   trials as work for a crew: begun, watched, stopped where they fall behind
worker.py   one trial in a process of its own
result.py   the best of them, as a table and as a run file
command.py  puts it together
"""
