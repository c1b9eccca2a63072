"""HTML reports of a run, a comparison or a tuning, one file each, built from the parts in `html`.

    summary.py, history.py  a finished run: its scores, mistakes and steps
    training.py, learning.py, baselines.py  the page of a run; write.py puts it in the model folder
    comparison.py, paired_runs.py, single_models.py, diagnostics.py  the page of a comparison, read by results.py
    tuning.py  the page of a tuning; provenance.py ends every page
"""
