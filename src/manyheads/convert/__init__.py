"""`manyheads convert`: data files from one format to another.

source.py   the rows of the input, and the task type that they are for
run.py      the rows as documents or as rows of a table, written to the output
"""
