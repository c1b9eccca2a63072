"""Found by every Python with this folder in PYTHONPATH: a worker raises inside the pass over a row that says POISON."""

from manyheads.serve import worker

real = worker.loaded


def loaded(crew):  # type: ignore[no-untyped-def]
    answer = real(crew)

    def poisoned(requests):  # type: ignore[no-untyped-def]
        answers = list(answer(requests))
        if any("POISON" in str(row.get("text")) for row, _ in requests):
            raise RuntimeError("poison")
        return answers

    return poisoned


worker.loaded = loaded
