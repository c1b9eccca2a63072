"""The HTTP server: one queue for all tasks, passes shared between requests, workers that may die without losing an answer.

    limits.py        limits on requests and on the queue
    queue.py         which requests are accepted
    scheduling.py    which waiting rows go into the next pass
    worker.py        a process that holds the model and answers rows
    worker_pool.py   the workers: fed, watched, restarted
    service.py       from the rows of a request to their answers, without HTTP; with pending.py, served_model.py, errors.py
    middleware.py    what applies to every request: API keys (keys.py), sizes, load
    cors.py          cross-origin requests; proxy.py: below the path of a proxy
    routes.py        the routes; with schema.py (bodies), responses.py (errors as HTTP), openapi.py (their documentation)
    app.py           the web application
    server.py        runs it until it is told to stop; metrics.py, logs.py, telemetry.py
    playground/      a page to try the model on

The serving process never imports torch; tokenization and inference happen in the workers.
"""
