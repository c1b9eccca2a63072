"""Figures: one file = one figure, from data to markup. They share scales (`scale.py`) and marks (`marks.py`)."""
