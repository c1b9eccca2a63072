"""Imported by every Python with this folder in PYTHONPATH. If STUB is set, workers of a server obey commands in texts.

`STUB=model`: the real model behind the commands; `STUB=fake`: answers of the right shape without a model.
`STUB=hash`: such answers, with the hash of the model as the label of `section`. `STUB_WITHOUT_TORCH`: torch cannot be imported.
"""

import os
import sys
import time

if os.environ.get("STUB_WITHOUT_TORCH"):
    sys.modules["torch"] = None  # type: ignore[assignment]

if os.environ.get("STUB"):
    from manyheads.serve import worker
    from serve.stub_worker import answers_with_hash, fake_answers, obeying

    real = worker.load_model

    def load_model(settings):  # type: ignore[no-untyped-def]
        if os.environ.get("STUB_BROKEN"):
            raise RuntimeError("no such luck")
        time.sleep(float(os.environ.get("STUB_LOAD_S", "0")))
        kinds = {"model": real, "hash": answers_with_hash}
        return obeying(kinds.get(os.environ["STUB"], lambda _: fake_answers)(settings))

    worker.load_model = load_model
