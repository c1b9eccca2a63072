"""The HTTP server: one queue for all tasks, packs shared by requests, workers that may die without an answer being lost.

    limits.py    what a request may be, and how much may wait
    queue.py     rows that wait, and which of them go into the next pass
    worker.py    a process that holds the model and answers rows
    pool.py      the workers: fed, watched, started again
    app.py       routes; with schema.py (what is sent and answered), keys.py (who may), measures.py and logs.py
    playground/  a page to try the model on

The process that serves never imports torch; tokenising and inference happen in the workers.
"""
