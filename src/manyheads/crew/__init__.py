"""Many trainings of one run file: those of a comparison, the trials of a tuning.

workshop.py  the run file with its data, read once; jobs, each with a folder that is named by all that determines the result
hands.py     places where a task runs in a process of its own: on this machine, or on the machines of a Ray cluster
attend.py    hands kept busy until there is nothing left to do
worker.py    what such a process does before and after its own work
"""
