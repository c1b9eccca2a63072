"""One file = one format: rows of a file, each with its place (`rows.py`), from decoded lines (`lines.py`) where it has lines.

A new format is one file here with its `FORMAT` (`format.py`), and one line in `known.py`. Texts with spans go through
`standoff.py`, texts with lists of labels through `labelled.py`, JSON of tools through `records.py`.
"""
