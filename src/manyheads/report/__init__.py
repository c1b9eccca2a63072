"""Reports: one HTML file for a run, a comparison or a tuning, to be looked at rather than read. Made of the parts in `html`.

    history.py  history.jsonl, read                             facts.py    what there is to tell of a finished run
    training.py, comparison.py, diagnostics.py  the pages       write.py    the file in a model folder
"""
