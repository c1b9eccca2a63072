"""One file = one format: rows of a file, each with its place (`rows.py`), from decoded lines (`lines.py`) where it has lines.

A new format is one file here, with `read(path, kind) -> Iterator[RawRow]`, and one line in `data/readers.py`.
"""
