"""Random numbers of a step."""

from __future__ import annotations

from manyheads.balance.draw import generator


def test_a_step_always_draws_the_same_and_every_seed_and_step_its_own():
    def draws(seed: int, step: int) -> tuple[float, ...]:
        return tuple(generator(seed, step).random(3).tolist())

    assert draws(1, 2) == draws(1, 2)
    assert len({draws(seed, step) for seed in range(5) for step in range(50)}) == 250
    assert draws(11, 2) != draws(1, 12)
