"""Answers a folder of files into Parquet: resumable after a kill, with no row missing, duplicated or changed.

    parts.py     splits the input into parts that can be answered independently
    results.py   one part answered and written, completely or not at all
    manifest.py  the job that an output folder belongs to
    run.py       the missing parts, answered by this process or by Ray actors

A part's answers depend on its rows alone, so it makes no difference which process answers it, or when.
"""
