"""Does sharing help? Each task in the shared model against the same task alone, over paired seeds.

bootstrap.py   the difference on test sets drawn again, and how much of its variance is seeds and how much test set
statistics.py  the difference with its interval and p-values; Holm's correction
verdict.py     helps, hurts, equivalent, no worse or inconclusive, and the seeds that would settle it
"""
