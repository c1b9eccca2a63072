"""Heads of a finished model: add, retrain, drop, rename and merge them, with proof that all other heads stay the same."""
