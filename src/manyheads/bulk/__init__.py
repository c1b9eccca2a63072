"""Answering a folder of files: parts of rows in, Parquet out, resumable after a kill with no row missing, doubled or changed.

    parts.py     an input cut into parts that can be answered one by one, by anybody
    columns.py   output rows as Arrow tables
    work.py      one part answered and written, whole or not at all
    run.py       the parts that are left, by this process or by actors of Ray; the manifest

What a part holds depends on its rows alone, so it makes no difference who answers it, or when.
"""
