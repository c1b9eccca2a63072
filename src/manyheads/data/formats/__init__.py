"""Data formats, one per file: each reads a file into rows with their places (`rows.py`).

A new format is one file here with its `FORMAT` (`format.py`), and one line in `detection.py`. Texts with spans go through
`standoff.py`, texts with lists of labels through `labelled.py`, JSON exports of annotation tools through `records.py`.
"""
