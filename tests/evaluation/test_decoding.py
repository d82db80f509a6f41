"""Constrained decoding: never invalid, and the best there is."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.evaluation.decoding import Steps, allowed, decode, standard, starts_of

TAGS = ("O", "B-a", "I-a", "B-b", "I-b")


def is_valid(tags, sequences, classes=TAGS):
    """By a plain loop."""
    before = {}
    for tag, sequence in zip((classes[t] for t in tags), sequences, strict=True):
        last = before.get(sequence, "O")
        if tag.startswith("I-") and last not in (f"B-{tag[2:]}", tag):
            return False
        before[sequence] = tag
    return True


def best_by_trying_all(log_probs, classes):
    rows = range(len(log_probs))
    tried = itertools.product(range(len(classes)), repeat=len(log_probs))
    fine = [t for t in tried if is_valid(t, [0] * len(t), classes)]
    return max(log_probs[rows, list(t)].sum() for t in fine)


def lengths_to_sequences(lengths):
    return np.repeat(np.arange(len(lengths)) * 3 + 2, lengths)


def test_allowed_follows_from_the_names_in_any_order():
    found = allowed(("I-x", "O", "B-y", "B-x", "I-y"))
    assert found[:, 0].tolist() == [True, False, False, True, False, False]
    assert found[:, 4].tolist() == [False, False, True, False, True, False]
    assert found[:, 1:4].all()


def test_tags_of_one_type_alone_are_told_apart_from_longer_names():
    found = allowed(("O", "B-a", "I-a-b"))
    assert not found[:2, 2].any()
    assert found[2, 2]


def test_strange_tags_are_named():
    with pytest.raises(ValueError, match="'S-a', 'x'"):
        allowed(("O", "S-a", "x"))
    with pytest.raises(ValueError, match="4 tags"):
        standard(4)


def test_standard_is_that_of_the_order_of_tagging():
    assert (standard(5) == allowed(TAGS)).all()
    assert standard(1).tolist() == [[True], [True]]


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 9999))
def test_decoding_equals_trying_all(lengths, seed):
    rng = np.random.default_rng(seed)
    sequences = lengths_to_sequences(lengths)
    z = rng.normal(size=(len(sequences), 5)) * 2
    tags = decode(z, sequences, standard(5))
    assert is_valid(tags, sequences)
    for own in np.unique(sequences):
        rows = np.flatnonzero(sequences == own)
        reached = z[rows, tags[rows]].sum()
        assert reached == pytest.approx(best_by_trying_all(z[rows], TAGS))


@settings(deadline=None, max_examples=150)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    data=st.data(),
)
def test_decoding_is_never_invalid(lengths, data):
    sequences = lengths_to_sequences(lengths)
    values = st.sampled_from([-np.inf, -1e300, -1e9, -700.0, -1.0, 0.0, 50.0, 1e300])
    rows = data.draw(
        st.lists(
            st.lists(values, min_size=5, max_size=5),
            min_size=len(sequences),
            max_size=len(sequences),
        )
    )
    tags = decode(np.array(rows), sequences, standard(5))
    assert is_valid(tags, sequences)


def test_nothing_known_decodes_to_o():
    sequences = np.zeros(4, int)
    for value in (0.0, -np.inf):
        assert decode(np.full((4, 5), value), sequences, standard(5)).tolist() == [0] * 4


def test_a_certain_inside_brings_its_beginning():
    z = np.full((2, 5), -np.inf)
    z[0, 0] = z[1, 4] = 0.0
    z[0, 3] = -5.0
    assert decode(z, np.zeros(2, int), standard(5)).tolist() == [3, 4]


def test_no_rows_and_what_does_not_fit():
    assert decode(np.zeros((0, 5)), np.zeros(0, int), standard(5)).shape == (0,)
    with pytest.raises(ValueError, match="below infinity"):
        decode(np.full((1, 5), np.nan), np.zeros(1, int), standard(5))
    with pytest.raises(ValueError, match="don't fit"):
        decode(np.zeros((2, 5)), np.zeros(3, int), standard(5))
    with pytest.raises(ValueError, match="don't fit"):
        decode(np.zeros((2, 5)), np.zeros(2, int), standard(3))


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=9))
def test_steps_hold_every_row_once_in_order_of_its_place(lengths):
    sequences = lengths_to_sequences(lengths)
    steps = Steps.of(sequences)
    assert sorted(steps.places) == list(range(len(sequences)))
    assert len(steps) == max(lengths)
    starts = dict(zip(np.unique(sequences), starts_of(sequences), strict=True))
    order = sequences[steps.places[steps.at(0)]]
    for t in range(len(steps)):
        rows = steps.places[steps.at(t)]
        assert all(row - starts[sequences[row]] == t for row in rows)
        assert (sequences[rows] == order[: len(rows)]).all()


def test_a_hundred_thousand_words_take_no_second():
    rng = np.random.default_rng(0)
    sequences = np.repeat(np.arange(100_000), rng.integers(1, 40, 100_000))[:100_000]
    z = rng.normal(size=(100_000, 13))
    started = time.thread_time()
    decode(z, sequences, standard(13))
    assert time.thread_time() - started < 1.0
