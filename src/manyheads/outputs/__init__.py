"""Answers to files: output rows, the input's own columns beside them, and a writer for each file type.

passthrough.py   columns of the input that are copied to the output, and their types
min_score.py     a filter by score
columns.py       output rows as Arrow tables
writers.py       files by their ending: jsonl, json, csv, tsv, parquet
"""
