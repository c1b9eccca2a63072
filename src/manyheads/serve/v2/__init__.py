"""The Open Inference Protocol (V2) of KServe, Triton and their clients, over HTTP.

    tensors.py   tensors as JSON, and in the binary extension
    routes.py    the routes
"""
