"""What benchmarks/quality.py measures: cells of task x size, and methods that all get the same rows of a cell.

`sets.py` reads the public sets; `draw.py` draws a cell's rows; `scores.py` turns any method's answers into metrics and into
what a bootstrap needs; `kept.py` keeps results; `methods.py` lists the methods, one file each: `frozen.py`, `trainer.py`
(with `texts.py`, `words.py`, `spans.py`, one for each kind of task), `pairs.py`, `few_shot.py`, `ours.py`. `table.py` and
`plot.py` show what was found.
"""
