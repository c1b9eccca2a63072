"""Answers on their way out: the columns of tables, the input's own columns beside them, and one writer for each kind of file.

kept.py      columns of the input that are carried along, and their types
sure.py      answers without what is below a score
columns.py   output rows as Arrow tables
writers.py   files by their ending: jsonl, json, csv, tsv, parquet
"""
