"""Found by every Python with this folder in PYTHONPATH: a worker raises inside the pass over a row that says POISON."""

from manyheads.serve import worker

real = worker.load_model


def load_model(settings):  # type: ignore[no-untyped-def]
    answer = real(settings)

    def poisoned(requests):  # type: ignore[no-untyped-def]
        answers = list(answer(requests))
        if any("POISON" in str(row.get("text")) for row, _ in requests):
            raise RuntimeError("poison")
        return answers

    return poisoned


worker.load_model = load_model
