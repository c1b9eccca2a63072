"""Figures, one per file, as functions from data to markup. They share scales (`scale.py`) and marks (`marks.py`)."""
