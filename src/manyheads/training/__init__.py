"""Training: batches of packs, the loop, the optimizer, and the log of a run."""
