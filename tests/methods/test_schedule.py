import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.methods.schedule import (
    Schedule,
    augment_for,
    epoch_batches,
    epochs_for,
    patience_for,
    share_of,
)


@pytest.mark.parametrize(
    "examples,epochs", [(0, 40), (20, 40), (500, 40), (1000, 20), (2000, 10), (10**6, 5)]
)
def test_epochs_by_the_number_of_examples(examples: int, epochs: int) -> None:
    assert epochs_for(examples) == epochs


def test_fewer_examples_are_augmented_more() -> None:
    strengths = [augment_for(n) for n in (0, 10, 1000, 10_000, 10**5, 10**7)]
    assert strengths == [1.0, 1.0, 1.0, 0.75, 0.5, 0.5]
    assert [patience_for(e) for e in (1, 15, 40)] == [5, 5, 14]


@given(st.integers(1, 400), st.floats(0, 0.9))
@settings(deadline=None, max_examples=50)
def test_the_rate_rises_evenly_and_falls_by_a_cosine(steps: int, warmup: float) -> None:
    factors = [Schedule(steps, warmup).factor(i) for i in range(steps)]
    rise = int(warmup * steps)
    assert all(0 < f <= 1 for f in factors)
    assert factors[:rise] == [pytest.approx((i + 1) / (rise + 1)) for i in range(rise)]
    rest = steps - rise
    expected = [(1 + math.cos(math.pi * i / rest)) / 2 for i in range(rest)]
    assert factors[rise:] == [pytest.approx(e) for e in expected]


def test_behind_the_last_step_nothing_is_learned() -> None:
    assert Schedule(10, 0.1).factor(10) == Schedule(10, 0.1).factor(11) == 0.0


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 9), st.integers(1, 2))
@settings(deadline=None, max_examples=60)
def test_an_epoch_holds_every_row_once(n: int, batch: int, epoch: int, least: int) -> None:
    rows = np.arange(n) * 3
    batches = epoch_batches(rows, batch, 5, epoch, least)
    assert sorted(np.concatenate(batches).tolist()) == rows.tolist()
    assert all(len(b) == batch for b in batches[:-1])
    assert len(batches[-1]) < batch + least
    assert n < least or batch < least or all(len(b) >= least for b in batches)


def test_orders_differ_between_epochs_and_seeds_and_repeat() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_batches(np.arange(50), 7, seed, epoch, 1)).tolist()

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(s, e)) for s in range(3) for e in range(3)}) == 9


@given(st.integers(0, 40), st.integers(1, 7), st.integers(1, 3))
@settings(deadline=None, max_examples=80)
def test_shares_divide_a_batch_and_part_no_block(size: int, count: int, together: int) -> None:
    parts = [share_of(size, p, count, together) for p in range(count)]
    places = [i for part in parts for i in range(size)[part]]
    assert places == list(range(size))
    sizes = [len(range(size)[part]) for part in parts]
    assert max(sizes) - min(sizes) < 2 * together
    owners = {i // together: set() for i in range(size)}
    for process, part in enumerate(parts):
        for i in range(size)[part]:
            owners[i // together].add(process)
    assert all(len(found) == 1 for found in owners.values())
