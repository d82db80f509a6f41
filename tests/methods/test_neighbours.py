"""Votes of neighbours against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.methods.neighbours import PRIOR_VOTES, TEMPERATURE, unit_rows, vote


def plain_vote(similarity, votes, weights, k, kind):
    found = []
    for row in similarity:
        allowed = [j for j in range(len(row)) if np.isfinite(row[j])]
        nearest = sorted(allowed, key=lambda j: -row[j])
        left, sums, total = k, np.zeros(votes.shape[1]), 0.0
        for j in nearest:
            counted = min(left, weights[j])
            left -= counted
            force = counted * np.exp((row[j] - row[nearest[0]]) / TEMPERATURE)
            sums, total = sums + force * votes[j], total + force
        if kind == "regression":
            found.append(sums / total)
            continue
        number = sum(weights[j] for j in allowed) + 0.5 * max(votes.shape[1], 2)
        prior = (sum(weights[j] * votes[j] for j in allowed) + 0.5) / number
        share = (sums + PRIOR_VOTES * prior) / (total + PRIOR_VOTES)
        found.append(np.log(share) if kind == "classification" else np.log(share / (1 - share)))
    return np.array(found)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
@given(seed=st.integers(0, 10_000), n=st.integers(1, 30), k=st.floats(0.5, 12), even=st.booleans())
@settings(deadline=None, max_examples=30)
def test_votes_are_those_of_a_plain_loop(kind, seed, n, k, even):
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(-1, 1, size=(4, n))
    similarity[:, 1:][rng.random((4, n - 1)) < 0.3] = -np.inf
    weights = np.ones(n) if even else rng.uniform(0.3, 3, size=n)
    votes = np.eye(3)[rng.integers(3, size=n)] if kind == "classification" else rng.random((n, 3))
    got = vote(similarity, votes, weights, (k, 3.0), kind)
    for s, number in enumerate((k, 3.0)):
        expected = plain_vote(similarity, votes, weights, number, kind)
        np.testing.assert_allclose(got[s], expected, rtol=1e-9, atol=1e-9)


def test_unit_rows_have_length_one_at_any_scale_and_zeros_stay():
    x = np.array([[3, 4], [3e-30, 4e-30], [3e30, 4e30], [0, 0]], np.float32)
    unit = unit_rows(x)
    np.testing.assert_allclose(unit[:3], [[0.6, 0.8]] * 3, rtol=1e-6)
    np.testing.assert_array_equal(unit[3], [0, 0])
    assert unit.dtype == np.float32
