"""Examples and their rows, against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retarget.features.views import Inputs
from retarget.methods.schedule import alike
from retarget.methods.units import Course, aligned, by_example


def inputs(counts):
    ids = np.array([f"{i:032x}" for i in range(len(counts))])
    owners = np.repeat(np.arange(len(counts)), counts)
    return Inputs("text", [f"text {i}" for i in range(len(counts))], ids, owners)


COUNTS = st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(sum)


@settings(deadline=None, max_examples=60)
@given(COUNTS, st.randoms(use_true_random=False))
def test_rows_and_examples_are_those_of_a_loop(counts, random):
    made = inputs(counts)
    order = list(range(len(counts)))
    random.shuffle(order)
    examples = np.array(order[: random.randint(1, len(order))])
    expected = [row for e in examples for row in np.flatnonzero(made.owners == e)]
    assert made.rows(examples).tolist() == expected
    assert made.counts(examples).tolist() == [counts[e] for e in examples]
    assert made.examples(np.array(expected, int)).tolist() == sorted(
        e for e in examples if counts[e]
    )


@settings(deadline=None, max_examples=60)
@given(COUNTS, st.data())
def test_taking_rows_keeps_whole_examples_and_their_rows(counts, data):
    made = inputs(counts)
    wanted = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(counts), max_size=len(counts)))
    )
    rows = np.flatnonzero(wanted[made.owners])
    taken = made.take(rows)
    kept = [i for i in range(len(counts)) if wanted[i] and counts[i]]
    assert list(taken.references) == [f"text {i}" for i in kept]
    assert taken.ids.tolist() == made.ids[kept].tolist()
    assert [taken.references[o] for o in taken.owners] == [
        f"text {o}" for o in made.owners[rows].tolist()
    ]


def test_without_owners_every_example_is_one_row():
    made = Inputs("text", list("abc"), np.array(["a", "b", "c"]))
    rows = np.array([2, 0])
    assert made.rows(rows) is rows and made.examples(rows) is rows
    assert made.counts(rows).tolist() == [1, 1]
    assert made.take(rows).references == ["c", "a"]


@settings(deadline=None, max_examples=40)
@given(COUNTS)
def test_outputs_are_aligned_with_the_words_of_a_loop(counts):
    made, examples = inputs(counts), np.arange(len(counts))[::-1].copy()
    outputs = torch.randn(len(counts), 7, 3)
    expected = [outputs[b, j] for b, e in enumerate(examples) for j in range(counts[e])]
    torch.testing.assert_close(aligned(outputs, made, examples), torch.stack(expected))
    flat = outputs[:, 0]
    assert aligned(flat, made, examples) is flat


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=8))
def test_losses_by_example_have_the_mean_and_the_error_of_clusters(counts):
    owners = np.repeat(np.arange(len(counts)) * 3 + 2, counts)
    losses = np.random.default_rng(sum(counts)).exponential(size=len(owners))
    found = by_example(losses, owners)
    mean, e, n = losses.mean(), len(counts), len(losses)
    apart = [sum(losses[owners == o] - mean) for o in np.unique(owners)]
    variance = e / (e - 1) * sum(a * a for a in apart) / n**2
    assert len(found) == e
    assert found.mean() == pytest.approx(mean)
    assert found.var(ddof=1) / e == pytest.approx(variance)
    assert by_example(losses, None) is losses


class Fed:
    """What a `Course` asks of views and of an encoder."""

    def __init__(self, made, lengths):
        self.inputs, self.encoder, self._lengths = made, self, lengths

    def buckets(self, rows):
        return None if self._lengths is None else self._lengths[rows]

    def batch_size(self, bucket, usual):
        return max(1, usual * 8 // bucket)


@pytest.mark.parametrize("lengths", [None, np.array([8, 16, 24, 8, 32, 16])])
def test_a_course_reads_all_and_gives_back_their_order(lengths):
    made = inputs([2, 1, 0, 3, 1, 2])
    examples = np.array([5, 0, 3, 4, 2])
    course = Course(Fed(made, lengths), examples, 4)
    assert sorted(np.concatenate(course.batches).tolist()) == [0, 2, 3, 4, 5]
    if lengths is not None:
        seen = lengths[np.concatenate(course.batches)]
        assert (np.diff(seen) <= 0).all()
        assert all(len(b) * lengths[b].max() <= 32 for b in course.batches)
    found = []
    for number, batch in enumerate(course.batches):
        outputs = torch.tensor([[[10.0 * e + j] for j in range(4)] for e in batch])
        found.append(course.rows(outputs, number))
    expected = [[10.0 * e + j] for e in examples for j in range(made.counts(np.array([e]))[0])]
    assert course.restored(found, 1).tolist() == expected
    assert Course(Fed(made, lengths), examples[:0], 4).restored([], 3).shape == (0, 3)


def test_batches_of_alike_examples_are_the_same_every_time_and_waste_less():
    random = np.random.default_rng(0)
    buckets = random.integers(1, 9, 1000) * 8
    batches = np.split(random.permutation(1000), range(32, 1000, 32))
    found = alike(batches, buckets, 3, 1)
    assert sorted(np.concatenate(found).tolist()) == list(range(1000))
    assert sorted(map(len, found)) == sorted(map(len, batches))
    again = alike(batches, buckets, 3, 1)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert [b.tolist() for b in found] != [b.tolist() for b in alike(batches, buckets, 3, 2)]

    def places(parts):
        return sum(len(b) * buckets[b].max() for b in parts)

    assert places(found) < 0.75 * places(batches)
