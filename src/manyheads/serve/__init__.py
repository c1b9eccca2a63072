"""The HTTP server: one queue for all tasks, passes shared between requests, workers that may die without losing an answer.

    limits.py        limits on requests and on the queue
    queue.py         which requests are accepted
    scheduling.py    which waiting rows go into the next pass
    worker.py        a process that holds the model and answers rows
    worker_pool.py   the workers: fed, watched, restarted
    service.py       from the rows of a request to their answers, without HTTP; with pending.py, served_model.py, errors.py
    middleware.py    what applies to every request: API keys (keys.py), sizes, load
    cors.py          cross-origin requests; proxy.py: below the path of a proxy
    hosted.py        a model that is loaded, replaced and unloaded, each time as a new service
    models.py        all models of a server, in bounded memory (memory.py), and which one a request belongs to (catalog.py)
    labels.py        labels that a request brings along
    routes.py        the routes; with schema.py (bodies), responses.py (errors as HTTP), openapi.py (their documentation)
    root.py          the routes of no model, of several
    v2/              the V2 inference protocol
    batches.py       files of requests, answered in the background; batch_store.py, batch_routes.py
    app.py           the web applications
    server.py        runs it until it is told to stop; metrics.py, logs.py, telemetry.py
    playground/      a page to try the model on

The serving process never imports torch; tokenization and inference happen in the workers.
"""
