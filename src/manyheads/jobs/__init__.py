"""Many trainings of one run file: the runs of a comparison, the trials of a tuning."""
