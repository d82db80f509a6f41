"""Chains against the sum over all sequences of tags."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.evaluation.decoding import Steps, standard
from retarget.methods.chain import Chain, expected, last_rows, log_marginals


def random_chain(seed, k=3):
    rng = np.random.default_rng(seed)
    return Chain(rng.normal(size=(k, k)), rng.normal(size=k), rng.normal(size=k), standard(k))


def by_trying_all(emissions, chain):
    """Log normaliser, marginals and pairs of one sequence, by adding up all sequences of tags."""
    n, k = emissions.shape
    total, marginals, pairs = 0.0, np.zeros((n, k)), np.zeros((k, k))
    for tags in itertools.product(range(k), repeat=n):
        if not chain.allowed[-1, tags[0]]:
            continue
        steps = list(itertools.pairwise(tags))
        if not all(chain.allowed[a, b] for a, b in steps):
            continue
        score = emissions[np.arange(n), list(tags)].sum() + chain.start[tags[0]]
        score += chain.end[tags[-1]] + sum(chain.transitions[a, b] for a, b in steps)
        mass = np.exp(score)
        total += mass
        marginals[np.arange(n), list(tags)] += mass
        for a, b in steps:
            pairs[a, b] += mass
    return np.log(total), marginals / total, pairs / total


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 9999))
def test_what_is_expected_is_the_sum_over_all_sequences(lengths, seed):
    rng = np.random.default_rng(seed)
    sequences = np.repeat(np.arange(len(lengths)), lengths)
    emissions, chain = rng.normal(size=(len(sequences), 3)) * 3, random_chain(seed)
    weights = rng.uniform(0.5, 2, len(lengths))[sequences]
    steps = Steps.of(sequences)
    found = expected(emissions[steps.places], steps, chain, weights[steps.places])
    total, pairs = 0.0, np.zeros((3, 3))
    logs = log_marginals(emissions, sequences, chain)
    for s in range(len(lengths)):
        rows = sequences == s
        one, marginals, own = by_trying_all(emissions[rows], chain)
        weight = weights[rows][0]
        total += weight * one
        pairs += weight * own
        assert np.exp(logs[rows]) == pytest.approx(marginals, abs=1e-10)
    assert found.log_total == pytest.approx(total)
    assert found.pairs == pytest.approx(pairs, abs=1e-10)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_last_rows_are_those_before_another_sequence(lengths):
    sequences = np.repeat(np.arange(len(lengths)), lengths)
    steps = Steps.of(sequences)
    plain = np.append(sequences[1:] != sequences[:-1], True)
    assert last_rows(steps).tolist() == plain[steps.places].tolist()


def test_extremes_stay_finite_and_long_sequences_do_not_run_out():
    chain = random_chain(0, 5)
    wild = np.where(np.random.default_rng(0).random((2000, 5)) < 0.5, 1e6, -1e6)
    logs = log_marginals(wild, np.zeros(2000, int), chain)
    assert np.isfinite(logs).all()
    assert np.exp(logs).sum(axis=1) == pytest.approx(np.ones(2000))


def test_no_rows_give_none():
    assert log_marginals(np.zeros((0, 3)), np.zeros(0, int), random_chain(0)).shape == (0, 3)
