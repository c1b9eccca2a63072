"""Run by every Python that has this folder in PYTHONPATH: workers of a server that do what texts say, when STUB is set.

`STUB=model`: the real model, before which texts are looked at; `STUB=fake`: answers of the right shape without any model.
`STUB_WITHOUT_TORCH`: as if it were not installed.
"""

import os
import sys
import time

if os.environ.get("STUB_WITHOUT_TORCH"):
    sys.modules["torch"] = None  # type: ignore[assignment]

if os.environ.get("STUB"):
    from manyheads.serve import worker
    from serve.stub_worker import fake_answers, obeying

    real = worker.loaded

    def loaded(crew):  # type: ignore[no-untyped-def]
        if os.environ.get("STUB_BROKEN"):
            raise RuntimeError("no such luck")
        time.sleep(float(os.environ.get("STUB_LOAD_S", "0")))
        return obeying(real(crew) if os.environ["STUB"] == "model" else fake_answers)

    worker.loaded = loaded
