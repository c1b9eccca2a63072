"""Answers and rows to files.

passthrough.py        columns of the input that are copied to the output, and their types
min_score.py          a filter by score
columns.py            output rows as Arrow tables
writers.py            output rows as files, by their ending: jsonl, json, csv, tsv, parquet
rows.py, cells.py     rows with all their columns as files; lines of csv and tsv
documents.py          annotated texts in memory
from_rows.py          documents of gold rows
from_answers.py       documents of a model's answers; `answer_documents.py` chooses its tasks
formats/              annotated texts as bytes, a file for each format
losses.py             what a format cannot hold, removed and counted
put.py                bytes to a file or a folder
"""
