"""Serving embeddings on a GPU: `manyheads serve` against sentence-transformers behind FastAPI, with many clients at once.

    python benchmarks/gpu_serving.py [--clients 64] [--seconds 10] [--work runs/gpu] [--results FILE] [--tiny]

BERT-base size with random weights; each request is one text of 5 to 250 tokens. The peer is what its documentation leads to:
one process, a route that calls `encode` in bf16 on the texts of a request, one request at a time on the device. Ours has its
defaults. Clients send the next request when they have the answer. `--tiny` runs on any machine, to see that it runs.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gpu_mix import device_name, encoder_folder, model_folder, parsed, report
from mixed_texts import texts

READY_S = 120.0
PEER = """
import sys, threading
import torch, uvicorn
from fastapi import Body, FastAPI
from sentence_transformers import SentenceTransformer
folder, port, device = sys.argv[1:]
kwargs = {"dtype": torch.bfloat16} if device == "cuda" else {}
model = SentenceTransformer(folder, device=device, model_kwargs=kwargs)
app, turn = FastAPI(), threading.Lock()
@app.get("/health/ready")
def ready(): return {}
@app.post("/v1/embeddings")
def embed(body: dict = Body()):
    with turn:
        vectors = model.encode(body["input"])
    return {"data": [{"embedding": vector} for vector in vectors.astype(float).tolist()]}
uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int) -> Iterator[float]:
    """A server while it is ready; yields the seconds until it was."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        while not is_ready(port):
            if process.poll() is not None or time.perf_counter() - started > READY_S:
                raise RuntimeError(f"{command[:4]} did not become ready")
            time.sleep(0.05)
        yield time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def is_ready(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False


def load(port: int, given: list[str], clients: int, duration_s: float) -> dict[str, float]:
    """Requests per second and their times, after a quarter of the duration to warm up."""
    began = time.perf_counter()
    first, last = began + duration_s / 4, began + duration_s * 1.25
    times: list[float] = []
    failed: list[int] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        place = number
        while (started := time.perf_counter()) < last:
            body = json.dumps({"model": "similarity", "input": [given[place % len(given)]]})
            connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            ended = time.perf_counter()
            if response.status != 200:
                failed.append(response.status)
            elif first <= ended <= last:
                times.append(ended - started)
            place += clients

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(times) or [float("nan")]
    return {
        "requests_per_second": len(times) / duration_s, "failed": len(failed), "p50_ms": 1000 * statistics.median(ordered),
        "p99_ms": 1000 * ordered[int(0.99 * (len(ordered) - 1))],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    options, device = parsed(parser)
    clients, duration = (2, 1.0) if options.tiny else (options.clients, options.seconds)
    model, encoder = (make(options.work, tiny=options.tiny) for make in (model_folder, encoder_folder))
    given, port = texts(50 if options.tiny else 2000), free_port()
    commands = {
        "ours": [sys.executable, "-m", "manyheads", "serve", str(model), "--port", str(port), "--device", str(device)],
        "sentence-transformers": [sys.executable, "-c", PEER, str(encoder), str(port), str(device)],
    }
    found: dict[str, Any] = {}
    for name, command in commands.items():
        with serving(command, port) as ready_s:
            found[name] = {"ready_s": ready_s, "one_client": load(port, given, 1, duration / 2),
                           "many_clients": load(port, given, clients, duration)}  # fmt: skip
    rates = {name: each["many_clients"]["requests_per_second"] for name, each in found.items()}
    result = {
        "device": device_name(device), "tiny": options.tiny,
        "torch": torch.__version__, "clients": clients, "servers": found,
        "ours_over_peer": rates["ours"] / max(rates["sentence-transformers"], 1e-9),
    }  # fmt: skip
    report(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
