"""The HTTP server: one queue for all tasks, packs shared by requests, workers that may die without an answer being lost.

    limits.py    what a request may be, and how much may wait
    queue.py     what is taken and what is refused at once
    turns.py     rows that wait, and which of them go into the next pass
    worker.py    a process that holds the model and answers rows
    pool.py      the workers: fed, watched, started again
    service.py   from the rows of a request to their answers
    gate.py      what every request passes: keys, sizes, load
    outside.py   pages of other origins, and proxies
    app.py       routes; with schema.py (what is sent and answered), keys.py (who may), measures.py and logs.py
    start.py     a server from settings, until it is told to stop
    playground/  a page to try the model on

The process that serves never imports torch; tokenising and inference happen in the workers.
"""
